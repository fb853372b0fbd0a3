"""``jailctl plan remove NAME``"""

from __future__ import annotations

import click

from ..output import Settings, emit, escape, say
from ..verb import complete_plan, verb

_EXAMPLES = """
jailctl plan remove small
"""


@verb("Remove a plan. While a jail has it, that is refused.", _EXAMPLES)
@click.argument("name", shell_complete=complete_plan)
@click.option("--dry-run", is_flag=True, help="Say whether it could be removed; change nothing.")
def command(settings: Settings, name: str, dry_run: bool) -> None:
    from ...paths import Paths
    from ...provision import plans
    from ...provision.host import Host

    host = Host(Paths(settings.root))
    try:
        plans.remove(host.paths, host.state, name, dry_run)
    finally:
        host.close()
    if settings.json:
        emit({"name": name, "changed": not dry_run, "dry_run": dry_run})
    else:
        say(settings, f"Plan {escape(name)} {'would be' if dry_run else 'is'} removed.")
