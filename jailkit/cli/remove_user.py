"""``jailctl remove-user NAME``"""

from __future__ import annotations

import os

import click

from ..errors import JailkitError
from .output import Settings, emit, escape, say
from .verb import complete_jail, verb

_EXAMPLES = """
jailctl remove-user alice                                 with her home and all that is in it
jailctl remove-user alice --archive /root/alice.tar.gz    her home into a tar file first
jailctl remove-user alice --keep-home                     the home stays, as root's
jailctl remove-user alice --dry-run
"""


@verb(
    "End the user's sessions and processes, prove that nothing is mounted in her home, and remove what jailkit made: "
    "jail, keys, account and home. An account that was taken with --existing gets its shell back and keeps its home. "
    "Killed at any point, the same command goes on.",
    _EXAMPLES,
)
@click.argument("name", shell_complete=complete_jail)
@click.option("--keep-home", is_flag=True, help="Leave the home where it is.")
@click.option(
    "--archive", metavar="FILE", type=click.Path(), help="Write the home to FILE (.tar, .tar.gz) before it is removed."
)
@click.option("--dry-run", is_flag=True, help="Show the steps and why; change nothing.")
def command(settings: Settings, name: str, keep_home: bool, archive: str | None, dry_run: bool) -> None:
    from ..names import user_name
    from ..paths import Paths
    from ..provision.host import Host
    from . import provisioning

    if keep_home and archive is not None:
        raise JailkitError("usage.remove", "--keep-home and --archive exclude each other", "leave one out")
    host = Host(Paths(settings.root))
    try:
        plan = host.plan_remove(user_name(name), keep_home, os.path.abspath(archive) if archive else None)
        if not dry_run:
            provisioning.apply(settings, host, plan)
    finally:
        host.close()
    if settings.json:
        emit({**provisioning.plan_data(plan, dry_run), "archive": os.path.abspath(archive) if archive else None})
        return
    provisioning.show_plan(settings, plan, dry_run)
    if not dry_run:
        say(settings, f"\n{escape(plan.name)} has no jail any more.")
