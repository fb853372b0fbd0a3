"""``jailctl stop NAME...``"""

from __future__ import annotations

import click

from .output import Settings, emit, escape, say
from .progress import Progress
from .verb import complete_jail, verb

_EXAMPLES = """
jailctl stop alice             her sessions and background processes end now; she may log in again
jailctl stop alice --wait 30   how long to wait for processes to end (seconds)
"""


@verb(
    "End jails: their sessions and all their processes, at once. Homes and settings stay; the next login starts "
    "the jail again.",
    _EXAMPLES,
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_jail)
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 600),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until every process has ended.",
)
def command(settings: Settings, names: tuple[str, ...], wait: float) -> None:
    from ..jail import recipe, stop
    from ..names import user_name
    from ..paths import Paths

    paths = Paths(settings.root)
    stopped = []
    with Progress(settings, "ending sessions and processes"):
        for name in map(user_name, names):
            uid = recipe.load(paths, name).uid
            ended = stop.stop(paths, uid, name, wait)
            stopped.append({"name": name, "uid": uid, "changed": ended})
            say(settings, f"{escape(name)}: {'stopped' if ended else 'was not running'}")
    if settings.json:
        emit({"jails": stopped})
