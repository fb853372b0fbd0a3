"""``jailctl suspend NAME...``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import JailkitError
from . import many
from .output import Settings
from .verb import verb

if TYPE_CHECKING:
    from ..provision.host import Host, Plan

_EXAMPLES = """
jailctl suspend alice --message "Your bill is not paid: https://example.org/billing"
jailctl suspend 'web-*' --plan trial --jobs 4
jailctl suspend alice --dry-run
"""
MESSAGE = "This account is suspended."


@verb(
    "Shut jails: sessions and processes end now, and every way in is blocked with the message. Home, keys, password "
    "and settings stay as they are, for `jailctl resume`. It works whatever state the jail's template is in.",
    _EXAMPLES,
)
@many.choice()
@click.option("--message", metavar="TEXT", help=f"What the user is told, one line.  [default: {MESSAGE}]")
@click.option("--dry-run", is_flag=True, help="Show the steps and why; change nothing.")
def command(
    settings: Settings, words: tuple[str, ...], plan: str | None, template: str | None, every: bool, jobs: int,
    message: str | None, dry_run: bool,
) -> int:  # fmt: skip
    from . import provisioning

    names = many.chosen(settings, words, plan, template, every)

    def work(host: Host, name: str, step: many.Step) -> many.Entry:
        with provisioning.turn(host, name, dry_run):
            return provisioning.carried_out(host, _plan(host, name, message), dry_run, step)

    def show(entry: many.Entry) -> None:
        provisioning.show_entry(settings, entry, len(names) > 1, "suspended")

    return many.each(settings, names, work, show, "suspending", jobs)


def _plan(host: Host, name: str, message: str | None) -> Plan:
    """Without a message, one that is suspended keeps what is said of it."""
    from ..spec.settings import changed

    try:
        spec, force = host.declared(name), False
    except JailkitError as error:
        if error.code.partition(".")[0] not in ("invalid", "unsafe"):
            raise
        spec, force = host.applied(name), True
    return host.plan(changed(spec, {"suspended": message or spec.suspended or MESSAGE}), force=force)
