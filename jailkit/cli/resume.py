"""``jailctl resume NAME...``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import many
from .output import Settings
from .verb import verb

if TYPE_CHECKING:
    from ..provision.host import Host

_EXAMPLES = """
jailctl resume alice
jailctl resume --plan gold --jobs 4
"""


@verb("Let the users of suspended jails log in again.", _EXAMPLES)
@many.choice()
@click.option("--dry-run", is_flag=True, help="Show the steps and why; change nothing.")
def command(
    settings: Settings, words: tuple[str, ...], plan: str | None, template: str | None, every: bool, jobs: int,
    dry_run: bool,
) -> int:  # fmt: skip
    from . import provisioning

    names = many.chosen(settings, words, plan, template, every)

    def work(host: Host, name: str, step: many.Step) -> many.Entry:
        with provisioning.turn(host, name, dry_run):
            spec = host.declared(name).model_copy(update={"suspended": None})
            return provisioning.carried_out(host, host.plan(spec), dry_run, step)

    def show(entry: many.Entry) -> None:
        provisioning.show_entry(settings, entry, len(names) > 1, "open again")

    return many.each(settings, names, work, show, "resuming", jobs)
