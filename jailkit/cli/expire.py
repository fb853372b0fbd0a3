"""``jailctl expire NAME...``"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from ..errors import JailkitError
from . import many
from .output import Settings
from .verb import verb

if TYPE_CHECKING:
    from ..provision.host import Host

_EXAMPLES = """
jailctl expire alice --at 2027-01-31                  at the beginning of that day, UTC
jailctl expire alice --at 2027-01-31T18:00:00+01:00
jailctl expire 'trial-*' --in 30d                     from now: m, h, d or w
jailctl expire alice --never
"""
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@verb(
    "Say when logins to jails end. At that time sessions end and no more are let in; nothing is deleted. "
    "`jailctl expire NAME --never`, or a later time, opens the jail again.",
    _EXAMPLES,
)
@many.choice()
@click.option("--at", metavar="TIME", help="A day, or a time with Z or its distance from UTC.")
@click.option("--in", "within", metavar="NUMBER", help="From now: 90m, 12h, 30d, 8w.")
@click.option("--never", is_flag=True, help="Logins do not end.")
@click.option("--dry-run", is_flag=True, help="Show the steps and why; change nothing.")
def command(
    settings: Settings, words: tuple[str, ...], plan: str | None, template: str | None, every: bool, jobs: int,
    at: str | None, within: str | None, never: bool, dry_run: bool,
) -> int:  # fmt: skip
    from . import provisioning

    if (at is not None) + (within is not None) + never != 1:
        raise JailkitError("usage.expire", "it must be said when logins end", "one of --at, --in and --never")
    when = None if never else _at(at) if at is not None else _in(within or "")
    names = many.chosen(settings, words, plan, template, every)

    def work(host: Host, name: str, step: many.Step) -> many.Entry:
        with provisioning.turn(host, name, dry_run):
            spec = host.declared(name).model_copy(update={"expires": when})
            return {**provisioning.carried_out(host, host.plan(spec), dry_run, step), "expires": when}

    def show(entry: many.Entry) -> None:
        provisioning.show_entry(settings, entry, len(names) > 1, f"expires {when}" if when else "never expires")

    return many.each(settings, names, work, show, "changing", jobs)


def _at(text: str) -> str:
    """As the spec has it: UTC, to the second. A time that does not say of which place would be read in two ways."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise JailkitError("usage.time", f"{text!r} is no time", "as 2027-01-31 or 2027-01-31T18:00:00Z") from None
    if parsed.tzinfo is None:
        if len(text) > len("2027-01-31"):
            raise JailkitError("usage.time", f"{text!r} does not say of which zone", f"{text}Z, or {text}+01:00")
        parsed = parsed.replace(tzinfo=UTC)
    return _shown(lambda: parsed, text)


def _in(text: str) -> str:
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", text)
    if found is None:
        raise JailkitError("usage.time", f"{text!r} is no distance in time", "as 90m, 12h, 30d or 8w")
    return _shown(lambda: datetime.now(UTC) + timedelta(**{_UNITS[found.group(2)]: int(found.group(1))}), text)


def _shown(when: Callable[[], datetime], text: str) -> str:
    try:
        return when().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError:
        raise JailkitError("usage.time", f"{text!r} is beyond the calendar", "jailctl expire NAME --never") from None
