"""``jailctl start NAME...``"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import many
from .output import Settings, escape, say
from .verb import verb

if TYPE_CHECKING:
    from ..provision.host import Host

_EXAMPLES = """
jailctl start alice          it stays up until `jailctl stop alice` or a reboot
jailctl start alice bob
jailctl start 'web-*' --jobs 2
"""


@verb(
    "Start jails before anybody logs in. A login starts a jail by itself, so this is only needed for one that should "
    "be up all the time: it then does not end with its last session.",
    _EXAMPLES,
)
@many.choice()
def command(
    settings: Settings, words: tuple[str, ...], plan: str | None, template: str | None, every: bool, jobs: int
) -> int:
    from ..jail import recipe, runtime, start

    names = many.chosen(settings, words, plan, template, every)

    def work(host: Host, name: str, step: many.Step) -> many.Entry:
        was = runtime.running(host.paths, recipe.load(host.paths, name).uid)
        record = start.start(host.paths, name, forever=True)
        return {"uid": record.uid, "pid": record.pid or None, "changed": was is None}

    def show(entry: many.Entry) -> None:
        name = escape(entry["name"])
        text = "started" if entry["changed"] else "runs already"
        text += f", process {entry['pid']}" if entry["pid"] else ""
        say(settings, f"{name}: {text}; it stays until `jailctl stop {name}`")

    return many.each(settings, names, work, show, "starting", jobs)
