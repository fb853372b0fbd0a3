"""``jailctl start NAME...``"""

from __future__ import annotations

import click

from .output import Settings, emit, escape, say
from .progress import Progress
from .verb import complete_jail, verb

_EXAMPLES = """
jailctl start alice          it stays up until `jailctl stop alice` or a reboot
jailctl start alice bob
"""


@verb(
    "Start jails before anybody logs in. A login starts a jail by itself, so this is only needed for one that should "
    "be up all the time: it then does not end with its last session.",
    _EXAMPLES,
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_jail)
def command(settings: Settings, names: tuple[str, ...]) -> None:
    from ..jail import recipe, runtime, start
    from ..names import user_name
    from ..paths import Paths

    paths = Paths(settings.root)
    started = []
    with Progress(settings, "starting"):
        for name in map(user_name, names):
            was = runtime.running(paths, recipe.load(paths, name).uid)
            record = start.start(paths, name, forever=True)
            started.append({"name": name, "uid": record.uid, "pid": record.pid or None, "changed": was is None})
            text = "started" if was is None else "runs already"
            text += f", process {record.pid}" if record.pid else ""
            say(settings, f"{escape(name)}: {text}; it stays until `jailctl stop {escape(name)}`")
    if settings.json:
        emit({"jails": started})
