"""What jails use, now and over time: disk and inodes by quota or by a walk, CPU, memory and sessions by what hook and
stop leave in the runtime directory (jail/meter.py). An hourly ``jailctl usage --sample`` takes that up; so does whoever
asks. Nothing of it is on the way of a login."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import JailkitError
from ..jail import meter as meters
from ..jail import runtime
from ..kernel import quota, walk
from ..paths import Paths
from .quota import trees
from .state import Row
from .usage_db import SPANS, Last, Measured, Sample, Span, UsageDb, start_of

DAY = 86400
_BACK: dict[Span, tuple[Span, int]] = {"hour": ("hour", 3600), "day": ("hour", DAY), "month": ("day", 30 * DAY)}
Progress = Callable[[str, int], None]
"""Called while a tree is walked: the jail's name, inodes so far."""


@dataclass(frozen=True)
class Disk:
    """bytes, inodes: None where nobody has counted. bytes_limit, inodes_limit: 0 for none. measured: when a walk
    counted; None: the file system does, this is now."""

    bytes: int | None = None
    inodes: int | None = None
    bytes_limit: int = 0
    inodes_limit: int = 0
    measured: int | None = None


@dataclass(frozen=True)
class Usage:
    """Of one jail. cpu: seconds, memory: bytes at once, sessions: opened; all since ``since`` (seconds since the
    epoch). history: a sample an hour, a day or a month, the oldest first; None where it was not asked for."""

    name: str
    disk: Disk
    cpu: float
    memory: int
    sessions: int
    since: int
    history: list[Sample] | None = None

    def data(self) -> dict[str, Any]:
        return asdict(self)


def disk_of(paths: Paths, row: Row, measured: Measured | None) -> Disk:
    """By quota where everything that is the jail's own counts for it; else as it was measured."""
    found: dict[object, quota.Usage | None] = {}
    counted = True
    for tree in trees(paths, row.name, row.home):
        place = quota.place(tree)
        found[place] = found.get(place) or quota.usage(tree, row.base)
        counted = counted and found[place] is not None and quota.counts(tree, row.base)
    uses = [use for use in found.values() if use is not None]
    limits = max((use.bytes_limit for use in uses), default=0), max((use.inodes_limit for use in uses), default=0)
    if counted and uses:
        size = sum(use.bytes for use in uses)
        inodes = [use.inodes for use in uses]
        known = None if None in inodes else sum(number or 0 for number in inodes)
        if known is None and measured is not None:
            return Disk(size, measured.inodes, *limits, measured.at)
        return Disk(size, known, *limits)
    if measured is None:
        return Disk(None, None, *limits)
    return Disk(measured.disk, measured.inodes, *limits, measured.at)


def measure(paths: Paths, row: Row, progress: Progress) -> Measured:
    """Walk all that is the jail's own. Raise ``busy.files``, OSError."""
    size, inodes = 0, 0
    for tree in trees(paths, row.name, row.home):
        before = inodes
        try:
            found = walk.measure(tree, lambda number, before=before: progress(row.name, before + number))  # type: ignore[misc]
        except BlockingIOError:
            hint = f"jailctl stop {row.name}; then again"
            raise JailkitError("busy.files", f"{row.name} moves directories while they are counted", hint) from None
        size, inodes = size + found.bytes, inodes + found.inodes
    return Measured(size, inodes, int(time.time()))


def take(paths: Paths, db: UsageDb, rows: Sequence[Row], now: float | None = None) -> None:
    """Take up what these jails have used since it was last done, into the hour, day and month in whose middle that
    time lies. Raise ``io.state``, OSError."""
    now = time.time() if now is None else now
    boot, lasts, measured = _boot(), db.last(), db.measured()
    meters_now = {row.base: _meter(paths, row.uid) for row in rows}
    with db.transaction():
        for row in rows:
            last = lasts.get(row.base, Last())
            disk = disk_of(paths, row, measured.get(row.base))
            new, sample = _step(last, boot, meters_now[row.base], disk, now)
            if sample is not None:
                begun = max(last.at, now - 3600) if last.at else now
                db.add(row.base, row.name, (begun + now) / 2, sample)
            if new != last:
                db.put_last(row.base, new)


def last(paths: Paths, row: Row) -> None:
    """Take up what a jail that is about to go has used. Raise as :func:`take`."""
    if meters.read(paths, row.uid) is None:
        return
    db = UsageDb(paths.usage_db)
    try:
        take(paths, db, [row])
    finally:
        db.close()


def _step(last: Last, boot: str, meter: meters.Meter | None, disk: Disk, now: float) -> tuple[Last, Sample | None]:
    """The next state of the counters, and what is to be added; None: nothing happened."""
    meter = meter or meters.Meter()
    same = last.boot == boot and meter.cpu >= last.cpu and meter.logins >= last.sessions
    cpu = meter.cpu - last.cpu if same else meter.cpu
    sessions = meter.logins - last.sessions if same else meter.logins
    changed = (disk.bytes, disk.inodes) != (last.disk, last.inodes)
    if not (cpu or sessions or meter.peak or changed):
        return last, None
    new = Last(boot, meter.cpu, meter.logins, int(now), disk.bytes, disk.inodes)
    return new, Sample(0, cpu, sessions, meter.peak, disk.bytes, disk.inodes)


def _meter(paths: Paths, uid: int) -> meters.Meter | None:
    """What the jail has used since the boot, taken. None: it was not used."""
    if meters.read(paths, uid) is None:
        return None
    with runtime.Locked(paths, uid):
        record = runtime.running(paths, uid)
        return meters.settle(paths, uid, record.cgroups if record else None, taken=True)


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def unmeasured(paths: Paths, db: UsageDb, rows: Sequence[Row], anew: bool = False) -> list[Row]:
    """Jails of which only a walk can tell disk or inodes, and no walk ever has; anew: all of which only that can."""
    measured = db.measured()
    return [row for row in rows if (anew or row.base not in measured) and not _told(disk_of(paths, row, None))]


def _told(disk: Disk) -> bool:
    return disk.bytes is not None and disk.inodes is not None


def _stale(paths: Paths, db: UsageDb, rows: Sequence[Row]) -> list[Row]:
    """Those that no walk has told of for a day. One that was not used since has not changed."""
    now, measured, lasts = time.time(), db.measured(), db.last()
    found = []
    for row in unmeasured(paths, db, rows, anew=True):
        have = measured.get(row.base)
        if have is None or (now - have.at >= DAY and lasts.get(row.base, Last()).at >= have.at):
            found.append(row)
    return found


def usage(
    paths: Paths, db: UsageDb, rows: Sequence[Row], since: Span = "month", history: Span | None = None
) -> list[Usage]:
    """What jails use now and have used since an hour, a day or 30 days ago."""
    span, back = _BACK[since]
    start, measured = start_of(span, time.time() - back), db.measured()
    found = []
    for row in rows:
        samples = db.samples(row.base, span, start)
        used = Usage(
            row.name, disk_of(paths, row, measured.get(row.base)), sum(each.cpu for each in samples) / 1e6,
            max((each.memory for each in samples), default=0), sum(each.sessions for each in samples), start,
            db.samples(row.base, history) if history else None,
        )  # fmt: skip
        found.append(used)
    return found


def sample(paths: Paths, db: UsageDb, rows: Sequence[Row], progress: Progress) -> int:
    """What the timer does: take up, measure what only a walk can tell, forget what is old. Return how many were
    walked. One that cannot be walked now is left for the next time."""
    take(paths, db, rows)
    walked = 0
    for row in _stale(paths, db, rows):
        try:
            db.put_measured(row.base, measure(paths, row, progress))
        except (JailkitError, OSError):
            continue
        walked += 1
    if walked:
        take(paths, db, rows)
    db.prune(time.time())
    return walked


__all__ = ["SPANS", "Disk", "Span", "Usage", "last", "measure", "sample", "take", "unmeasured", "usage"]
