"""``jailctl usage [NAME...]``"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ..errors import JailkitError
from .output import Settings, emit, escape, say, table
from .progress import Progress
from .verb import complete_jail, complete_plan, complete_template, verb

if TYPE_CHECKING:
    from ..provision.state import Row
    from ..provision.usage import Disk, Usage
    from ..provision.usage_db import Sample

_EXAMPLES = """
jailctl usage                          all jails: disk now; CPU, memory and sessions of the last 30 days
jailctl usage alice --since day        of the last 24 hours
jailctl usage alice --history month    a line a month, for ever
jailctl usage --plan small --json      for a billing system
jailctl usage 'web-*'                  patterns as with every verb on many jails
jailctl usage alice --measure          walk her home now, where the file system does not count
"""
_SPANS = click.Choice(["hour", "day", "month"])
_UNITS = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))
_FORMATS = {"hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}


@verb(
    "What jails use: disk and inodes now, with their limits; CPU time, most memory at once, and sessions since an "
    "hour, a day or 30 days ago; or over time. Disk is the file system's own count where that has quotas, else what a "
    "walk has counted, with its age. Times are UTC.",
    _EXAMPLES,
)
@click.argument("names", metavar="[NAME...]", nargs=-1, shell_complete=complete_jail)
@click.option("--plan", metavar="PLAN", shell_complete=complete_plan, help="Those of a plan.")
@click.option("--template", metavar="NAME", shell_complete=complete_template, help="Those of a template.")
@click.option("--since", type=_SPANS, default="month", show_default=True, help="Sum up the last hour, day or 30 days.")
@click.option("--history", type=_SPANS, help="One line an hour (7 days), a day (13 months) or a month (for ever).")
@click.option("--measure", is_flag=True, help="Count disk and inodes anew where only a walk can.")
@click.option("--sample", is_flag=True, help="What the hourly timer does: take up what was used, and say nothing.")
def command(
    settings: Settings, names: tuple[str, ...], plan: str | None, template: str | None, since: str,
    history: str | None, measure: bool, sample: bool,
) -> None:  # fmt: skip
    from ..paths import Paths
    from ..provision import usage
    from ..provision.usage_db import UsageDb

    if sample and (names or plan or template or history or measure):
        raise JailkitError("usage.sample", "--sample is of all jails, and shows nothing", "give it alone")
    paths = Paths(settings.root)
    rows = _rows(settings, names, plan, template)
    if not rows and not os.path.exists(paths.usage_db):  # a look at a host without jails changes nothing on it
        _show(settings, [], since, history)
        return
    db = UsageDb(paths.usage_db)
    try:
        with Progress(settings, "adding up") as progress:

            def walked(name: str, inodes: int) -> None:
                progress.step(f"counting what {name} has: {inodes} inodes")

            if sample:
                usage.sample(paths, db, rows, walked)
                found = []
            else:
                usage.take(paths, db, rows)
                for row in usage.unmeasured(paths, db, rows, measure):
                    walked(row.name, 0)
                    db.put_measured(row.base, usage.measure(paths, row, walked))
                found = usage.usage(paths, db, rows, since, history)  # type: ignore[arg-type]
    finally:
        db.close()
    _show(settings, found, since, history, silent=sample)


def _rows(settings: Settings, names: tuple[str, ...], plan: str | None, template: str | None) -> list[Row]:
    from ..paths import Paths
    from ..provision.host import Host
    from .many import chosen

    host = Host(Paths(settings.root))
    try:
        state = host.known_state
        if not names and plan is None and template is None:
            return state.all() if state else []
        return [host.there(name) for name in chosen(settings, names, plan, template, False)]
    finally:
        host.close()


def _show(settings: Settings, found: list[Usage], since: str, history: str | None, silent: bool = False) -> None:
    if settings.json:
        emit({"since": since, "jails": [_data(usage) for usage in found]})
    elif not found and not silent:
        say(settings, "There are no jails. Make one: jailctl add-user NAME --key FILE")
    elif history is not None:
        for usage in found:
            _history(settings, usage, history)
    elif found and not settings.quiet:
        table(
            ("name", "disk", "limit", "inodes", "limit", "counted", "cpu", "memory", "sessions"),
            [_line(usage) for usage in found],
        )


def _line(usage: Usage) -> list[object]:
    disk = usage.disk
    return [
        usage.name, size(disk.bytes), size(disk.bytes_limit) if disk.bytes_limit else "",
        "" if disk.inodes is None else disk.inodes, disk.inodes_limit or "", _age(disk), _seconds(usage.cpu),
        size(usage.memory) if usage.memory else "", usage.sessions,
    ]  # fmt: skip


def _history(settings: Settings, usage: Usage, span: str) -> None:
    if settings.quiet:
        return
    print(escape(usage.name))
    rows = [
        [
            datetime.fromtimestamp(one.start, UTC).strftime(_FORMATS[span]), size(one.disk),
            "" if one.inodes is None else one.inodes, _seconds(one.cpu / 1e6), size(one.memory) if one.memory else "",
            one.sessions,
        ]
        for one in usage.history or []
    ]  # fmt: skip
    table((span, "disk", "inodes", "cpu", "memory", "sessions"), rows)


def _data(usage: Usage) -> dict[str, Any]:
    disk = usage.disk
    return {
        "name": usage.name,
        "disk": {
            "bytes": disk.bytes, "bytes_limit": disk.bytes_limit or None, "inodes": disk.inodes,
            "inodes_limit": disk.inodes_limit or None, "measured": disk.measured,
        },
        "cpu_seconds": usage.cpu,
        "memory_bytes": usage.memory,
        "sessions": usage.sessions,
        "since": usage.since,
        "history": None if usage.history is None else [_sample(one) for one in usage.history],
    }  # fmt: skip


def _sample(one: Sample) -> dict[str, Any]:
    return {
        "start": one.start, "cpu_seconds": one.cpu / 1e6, "memory_bytes": one.memory, "sessions": one.sessions,
        "disk_bytes": one.disk, "inodes": one.inodes,
    }  # fmt: skip


def size(number: int | None) -> str:
    """As ``1.5M``; "" for what is not known."""
    if number is None:
        return ""
    for unit, letter in _UNITS:
        if number >= unit:
            return f"{number / unit:.1f}{letter}"
    return str(number)


def _seconds(number: float) -> str:
    if number < 60:
        return f"{number:.1f} s"
    hours, minutes = divmod(int(number) // 60, 60)
    return f"{hours}:{minutes:02} h" if hours else f"{minutes}:{int(number) % 60:02} min"


def _age(disk: Disk) -> str:
    if disk.measured is None:
        return "now" if disk.bytes is not None else "never"
    seconds = max(0, int(time.time()) - disk.measured)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return "just now"
