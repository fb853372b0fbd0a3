"""``jailctl enter NAME``"""

from __future__ import annotations

import click

from .output import Settings, emit
from .verb import complete_jail, verb

_EXAMPLES = """
jailctl enter alice      the shell that alice gets; leave it with ^D
"""


@verb(
    "Open a login shell in a jail, as its user and with no more rights than she has. It is admitted, recorded and "
    "confined like a login of hers. There is no way to enter as root.",
    _EXAMPLES,
)
@click.argument("name", shell_complete=complete_jail)
def command(settings: Settings, name: str) -> int:
    from ..jail import enter
    from ..names import user_name
    from ..paths import Paths

    status = enter.run(Paths(settings.root), user_name(name), None)
    if settings.json:
        emit({"name": name, "status": status})
    return status
