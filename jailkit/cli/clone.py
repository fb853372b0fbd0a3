"""``jailctl clone NAME NEW``"""

from __future__ import annotations

import click

from . import backups
from .output import Settings
from .verb import complete_jail, verb

_EXAMPLES = """
jailctl clone web-live web-test --key dev.pub     a copy of its home and its writable root, and the same settings
jailctl clone alice anna --same-keys
"""


@verb(
    "Make a new jail as another one is: the same settings, a copy of its home and its writable root, held still "
    "meanwhile. The copy shares blocks where the file system can. It is a new account: who may log in is said with "
    "--key, and no password comes along.",
    _EXAMPLES,
)
@click.argument("name", shell_complete=complete_jail)
@click.argument("new")
@click.option(
    "--key", "keys", metavar="FILE", multiple=True, help="Public keys that may log in; - is standard input. Repeatable."
)
@click.option("--same-keys", is_flag=True, help="Those of the first jail may log in as well.")
@click.option("--dry-run", is_flag=True, help="Show the steps and why; change nothing.")
def command(
    settings: Settings, name: str, new: str, keys: tuple[str, ...], same_keys: bool, dry_run: bool
) -> None:  # fmt: skip
    from ..paths import Paths
    from ..provision.backup.plans import Clone
    from ..provision.host import Host
    from . import provisioning
    from .add_user import read_keys

    host = Host(Paths(settings.root))
    try:
        plan = host.asked(new, Clone(name, new, tuple(read_keys(keys)), same_keys))
        jail = None if dry_run else provisioning.apply(settings, host, plan)
    finally:
        host.close()
    told = ("names", "files", "bytes", "cloned", "left_out")
    backups.report(settings, plan, dry_run, jail, told, f"as {name}")
