"""``jailctl rename OLD NEW``"""

from __future__ import annotations

import click

from .output import Settings, escape, say
from .verb import complete_jail, verb

_EXAMPLES = """
jailctl rename alice alison           then: ssh alison@this-host
jailctl rename alice alison --stop    her sessions end first
"""


@verb(
    "Give the user of a jail another name: account, group, home (where it goes by the name), spec, keys, mail box and "
    "crontab. Uid, password, files and settings stay. An account that was taken with --existing keeps its name. Killed "
    "at any point, the same command goes on.",
    _EXAMPLES,
)
@click.argument("old", shell_complete=complete_jail)
@click.argument("new")
@click.option("--stop", is_flag=True, help="End sessions and processes; else a jail that runs is refused.")
@click.option("--dry-run", is_flag=True, help="Show the steps and why; change nothing.")
def command(settings: Settings, old: str, new: str, stop: bool, dry_run: bool) -> None:
    from ..login.verify import require_other_name
    from ..names import user_name
    from ..paths import Paths
    from ..provision.host import Host
    from . import provisioning

    require_other_name(user_name(new))
    host = Host(Paths(settings.root))
    try:
        plan = host.plan_rename(old, new, stop)
        if not dry_run:
            provisioning.apply(settings, host, plan)
    finally:
        host.close()
    if provisioning.report(settings, plan, dry_run, {"old": old}) and plan.operations:
        say(settings, f"\n{escape(old)} is {escape(new)} now.\nLog in with:   {provisioning.ssh_line(new, plan.level)}")
