"""``jailctl archive NAME FILE``"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from ..errors import JailkitError
from . import backups, many
from .output import Settings, escape, say
from .verb import verb

if TYPE_CHECKING:
    from ..provision.host import Host

_EXAMPLES = """
jailctl archive alice /srv/backup/alice.tar.zst
jailctl archive --plan trial --to /srv/backup
jailctl restore alice /srv/backup/alice.tar.zst      brings her back
"""


@verb(
    "Write a backup of a jail and remove it, as `jailctl backup` and `jailctl remove-user` in one: nothing is removed "
    "before the backup is whole and on the disk. Killed at any point, the same command goes on.",
    _EXAMPLES,
)
@many.choice("NAME... FILE")
@click.option("--to", metavar="DIR", type=click.Path(), help="One file a jail in DIR: NAME-TIME.tar.zst.")
@click.option("--dry-run", is_flag=True, help="Show the steps and why; change nothing.")
def command(
    settings: Settings, words: tuple[str, ...], plan: str | None, template: str | None, every: bool, jobs: int,
    to: str | None, dry_run: bool,
) -> int:  # fmt: skip
    from . import provisioning

    names, file_of = backups.files(settings, words, to, plan, template, every)
    if file_of(names[0]) == "-":
        raise JailkitError("usage.archive", "what is removed afterwards goes into a file", "jailctl backup NAME -")

    def work(host: Host, name: str, step: many.Step) -> many.Entry:
        file = file_of(name)
        made = host.plan_remove(name, archive=file, whole=True)
        data = provisioning.carried_out(host, made, dry_run, step)
        return backups.entry(made, data, file, f"jailctl restore {name} {shlex.quote(file)}")

    def show(entry: many.Entry) -> None:
        provisioning.show_entry(settings, entry, len(names) > 1, "has no jail any more")
        if len(names) > 1 and not dry_run:
            say(settings, f"  {escape(entry['restore'])}")
        else:
            backups.show(settings, entry)

    return many.each(settings, names, work, show, "archiving", jobs)
