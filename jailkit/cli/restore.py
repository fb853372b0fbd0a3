"""``jailctl restore NAME FILE``"""

from __future__ import annotations

import click

from . import backups
from .output import Settings
from .verb import complete_jail, verb

_EXAMPLES = """
jailctl restore alice /srv/backup/alice.tar.zst             made again if she is gone; else her home as it was
jailctl restore alice /srv/backup/alice.tar.zst --as anna   a new jail, beside hers
jailctl restore alice alice.tar.gz --home-only --strip-components 1
"""


@verb(
    "Bring back what `jailctl backup` has written. A jail that is gone is made again, by the spec in the backup, as a "
    "new account; its template must be here. Of one that is there, home and writable root become what they were, "
    "in one step: sessions end, and the spec stays. The whole file is checked before anything of it is written. "
    "Killed at any point, the same command goes on.",
    _EXAMPLES,
)
@click.argument("name", shell_complete=complete_jail)
@click.argument("file", type=click.Path())
@click.option("--as", "into", metavar="NEWNAME", help="Into this jail, which is made if need be.")
@click.option(
    "--home-only", is_flag=True, help="The home alone, into a jail that is there; FILE may be any tar of a home."
)
@click.option(
    "--strip-components", "strip", type=click.IntRange(0, 100), default=0, metavar="N",
    help="Leave N leading directories out of the names in a tar of a home.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Check the file, show the steps and why; change nothing.")
def command(
    settings: Settings, name: str, file: str, into: str | None, home_only: bool, strip: int, dry_run: bool
) -> None:  # fmt: skip
    from ..paths import Paths
    from ..provision.backup.plans import Restore
    from ..provision.host import Host
    from .progress import Progress

    host = Host(Paths(settings.root))
    try:
        with Progress(settings, f"checking {file}") as progress:
            plan = host.asked(into or name, Restore(name, file, into, home_only, strip))
            jail = None
            if not dry_run:
                jail = host.apply(plan, lambda number, total, what: progress.step(f"{number}/{total} {what}"))
    finally:
        host.close()
    backups.report(settings, plan, dry_run, jail, ("names", "files", "bytes"), "restored")
