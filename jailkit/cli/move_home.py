"""``jailctl move-home NAME PATH``"""

from __future__ import annotations

import os

import click

from ..errors import JailkitError
from .output import Settings, escape, say
from .verb import complete_jail, verb

_EXAMPLES = """
jailctl move-home alice /srv/disk2/alice
jailctl move-home alice /srv/disk2/alice --stop    her sessions end first
jailctl set alice home=                            back to the default place
"""


@verb(
    "Move the home of NAME to PATH, where nothing may be yet, in a directory that is root's alone. On one file system "
    "it is renamed; to another one it is copied by a process with the user's rights only, and the old one is deleted "
    "when the new one is in use. Killed at any point, the same command goes on.",
    _EXAMPLES,
)
@click.argument("name", shell_complete=complete_jail)
@click.argument("path", type=click.Path())
@click.option("--stop", is_flag=True, help="End sessions and processes; else a jail that runs is refused.")
@click.option("--dry-run", is_flag=True, help="Show the steps and why; change nothing.")
def command(settings: Settings, name: str, path: str, stop: bool, dry_run: bool) -> None:
    from ..paths import Paths
    from ..provision.host import Host
    from ..spec.settings import changed
    from . import provisioning

    if not os.path.isabs(path):
        raise JailkitError("usage.path", f"{path!r} is not an absolute path", "give the home's full path")
    host = Host(Paths(settings.root))
    try:
        with provisioning.turn(host, name, dry_run):
            plan = host.plan(changed(host.declared(name), {"home": path}), force=stop)
            if not dry_run:
                provisioning.apply(settings, host, plan)
    finally:
        host.close()
    if provisioning.report(settings, plan, dry_run, {"home": path}) and plan.operations:
        say(settings, f"\nThe home of {escape(name)} is {escape(path)} now.")
