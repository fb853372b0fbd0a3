"""``jailctl remove-user NAME``"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from ..errors import JailkitError
from . import many
from .output import Settings
from .verb import verb

if TYPE_CHECKING:
    from ..provision.host import Host

_EXAMPLES = """
jailctl remove-user alice                                 with her home and all that is in it
jailctl remove-user alice --archive /root/alice.tar.gz    her home into a tar file first
jailctl remove-user alice --keep-home                     the home stays, as root's
jailctl remove-user --match 'trial-*' --jobs 2
jailctl remove-user alice --dry-run
"""


@verb(
    "End the user's sessions and processes, prove that nothing is mounted in her home, and remove what jailkit made: "
    "jail, keys, account and home. An account that was taken with --existing gets its shell back and keeps its home. "
    "Killed at any point, the same command goes on.",
    _EXAMPLES,
)
@many.choice()
@click.option("--match", is_flag=True, help="NAMEs may be patterns, as 'trial-*'.")
@click.option("--keep-home", is_flag=True, help="Leave the home where it is.")
@click.option(
    "--archive", metavar="FILE", type=click.Path(), help="Write the home to FILE (.tar, .tar.gz) before it is removed."
)
@click.option("--dry-run", is_flag=True, help="Show the steps and why; change nothing.")
def command(
    settings: Settings, words: tuple[str, ...], plan: str | None, template: str | None, every: bool, jobs: int,
    match: bool, keep_home: bool, archive: str | None, dry_run: bool,
) -> int:  # fmt: skip
    from . import provisioning

    if keep_home and archive is not None:
        raise JailkitError("usage.remove", "--keep-home and --archive exclude each other", "leave one out")
    names = many.chosen(settings, words, plan, template, every, match)
    if len(names) > 1 and archive is not None:
        raise JailkitError("usage.remove", "one file cannot hold several homes", "remove them one by one")
    file = os.path.abspath(archive) if archive else None

    def work(host: Host, name: str, step: many.Step) -> many.Entry:
        made = host.plan_remove(name, keep_home, file)
        return {**provisioning.carried_out(host, made, dry_run, step), "archive": file}

    def show(entry: many.Entry) -> None:
        provisioning.show_entry(settings, entry, len(names) > 1, "has no jail any more")

    return many.each(settings, names, work, show, "removing", jobs)
