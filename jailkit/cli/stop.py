"""``jailctl stop NAME...``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import many
from .output import Settings, escape, say
from .verb import verb

if TYPE_CHECKING:
    from ..provision.host import Host

_EXAMPLES = """
jailctl stop alice             her sessions and background processes end now; she may log in again
jailctl stop alice --wait 30   how long to wait for processes to end (seconds)
jailctl stop --template web    those that run an old image take the new one at their next start
"""


@verb(
    "End jails: their sessions and all their processes, at once. Homes and settings stay; the next login starts "
    "the jail again.",
    _EXAMPLES,
)
@many.choice()
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 600),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until every process has ended.",
)
def command(
    settings: Settings, words: tuple[str, ...], plan: str | None, template: str | None, every: bool, jobs: int,
    wait: float,
) -> int:  # fmt: skip
    from ..jail import recipe, stop

    names = many.chosen(settings, words, plan, template, every)

    def work(host: Host, name: str, step: many.Step) -> many.Entry:
        uid = recipe.load(host.paths, name).uid
        return {"uid": uid, "changed": stop.stop(host.paths, uid, name, wait)}

    def show(entry: many.Entry) -> None:
        say(settings, f"{escape(entry['name'])}: {'stopped' if entry['changed'] else 'was not running'}")

    return many.each(settings, names, work, show, "ending sessions and processes", jobs)
