"""``jailctl template check NAME...``"""

from __future__ import annotations

import click

from ...errors import EXITS
from ..output import Settings, emit, escape, say
from ..verb import complete_template, verb

_EXAMPLES = """
jailctl template check mine
jailctl template check mine other --json | jq '.templates[].errors'
"""


@verb(
    "Say all that is wrong with templates, at once: their files and those that they include, each rendered with sample "
    "values, and what they take from this host. Nothing is built. Exits with 5 if anything is wrong.",
    _EXAMPLES,
    needs_root=False,
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_template)
def command(settings: Settings, names: tuple[str, ...]) -> int:
    from ...image.check import check
    from ...paths import Paths

    paths = Paths(settings.root)
    found = {name: check(paths, name) for name in names}
    rows = [{"name": name, "valid": not faults, "errors": [f.data() for f in faults]} for name, faults in found.items()]
    if settings.json:
        emit({"templates": rows})
    for name, faults in found.items():
        if not faults:
            say(settings, f"{name}: valid")
        for fault in faults:
            say(settings, f"{name}: {escape(fault)}")
    return EXITS["invalid"][0] if any(found.values()) else 0
