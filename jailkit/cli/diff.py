"""``jailctl diff NAME``"""

from __future__ import annotations

import click

from .image import common
from .output import Settings, emit, escape, note
from .progress import Progress
from .verb import complete_jail, verb

_EXAMPLES = """
jailctl diff alice
jailctl diff alice --json | jq -r '.changes[].path'
"""


@verb(
    'What a jail with root = "overlay" has changed in its root: A, added; C, changed; D, removed (of a directory, with '
    "all below it). What no image could have, such as a socket, is named on standard error.",
    _EXAMPLES,
)
@click.argument("name", shell_complete=complete_jail)
def command(settings: Settings, name: str) -> None:
    from ..names import user_name
    from ..paths import Paths
    from ..provision import layers

    with Progress(settings, f"reading what {name} has changed"):
        found = layers.diff(Paths(settings.root), user_name(name))
    if settings.json:
        changes = [change.data() for change in found.changes]
        emit({"name": name, "changes": changes, "left_out": list(found.left_out)})
        return
    common.say_changes(settings, found.changes)
    for line in found.left_out:
        note(settings, f"jailctl: note: in no image: {escape(line)}")
