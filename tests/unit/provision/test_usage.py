"""What is added up of counters that begin anew, by hour, day and month."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from jailkit.jail.meter import Meter
from jailkit.provision.usage import Disk, _step
from jailkit.provision.usage_db import Last, Measured, Sample, UsageDb, start_of


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_where_a_span_begins() -> None:
    moment = at("2027-03-15T13:47:05")
    assert start_of("hour", moment) == at("2027-03-15T13:00:00")
    assert start_of("day", moment) == at("2027-03-15T00:00:00")
    assert start_of("month", moment) == at("2027-03-01T00:00:00")


STEPS = [
    # last, meter, disk: cpu, sessions that are to be added (None: nothing to add)
    (Last(), None, Disk(), None),
    (Last(), Meter(logins=2, cpu=70, peak=5), Disk(), (70, 2)),
    (Last("b", 70, 2, 1), Meter(logins=2, cpu=70), Disk(), None),
    (Last("b", 70, 2, 1), Meter(logins=3, cpu=90), Disk(), (20, 1)),
    (Last("b", 70, 2, 1), Meter(logins=1, cpu=30), Disk(), (30, 1)),  # the jail was removed and made anew
    (Last("a", 70, 2, 1), Meter(logins=3, cpu=90), Disk(), (90, 3)),  # another boot
    (Last("b", 70, 2, 1), Meter(logins=2, cpu=70), Disk(4096, 1), (0, 0)),  # only the home has grown
    (Last("b", 70, 2, 1, 4096, 1), Meter(logins=2, cpu=70), Disk(4096, 1), None),
]


@pytest.mark.parametrize(("last", "meter", "disk", "added"), STEPS)
def test_what_is_added(last: Last, meter: Meter | None, disk: Disk, added: tuple[int, int] | None) -> None:
    new, sample = _step(last, "b", meter, disk, 10)
    assert (None if sample is None else (sample.cpu, sample.sessions)) == added
    again, nothing = _step(new, "b", meter and Meter(meter.logins, cpu=meter.cpu), disk, 11)
    assert (again, nothing) == (new, None), "taken up once"


def test_samples_add_up_and_age(tmp_path: Path) -> None:
    db = UsageDb(str(tmp_path / "usage.db"))
    try:
        moment = at("2027-03-15T13:47:05")
        with db.transaction():
            db.add(7, "alice", moment, Sample(0, cpu=10, sessions=1, memory=100, disk=4096, inodes=3))
            db.add(7, "alice", moment + 60, Sample(0, cpu=5, sessions=2, memory=50, disk=None, inodes=None))
            db.add(7, "alice", moment + 3600, Sample(0, cpu=1, sessions=0, memory=200, disk=8192, inodes=4))
            db.add(8, "alice", moment, Sample(0, cpu=1000))
        assert [(one.cpu, one.sessions, one.memory, one.disk) for one in db.samples(7, "hour")] == [
            (15, 3, 100, 4096),
            (1, 0, 200, 8192),
        ]
        assert [(one.cpu, one.memory, one.inodes) for one in db.samples(7, "month")] == [(16, 200, 4)]
        assert [one.cpu for one in db.samples(8, "day")] == [1000], "a later jail of that name"
        db.prune(moment + 8 * 86400)
        assert (len(db.samples(7, "hour")), len(db.samples(7, "day"))) == (0, 1)
        db.prune(moment + 401 * 86400)
        assert (len(db.samples(7, "day")), len(db.samples(7, "month"))) == (0, 1)
        db.put_measured(7, Measured(1, 2, 3))
        db.put_last(7, Last("b", 1, 2, 3, None, None))
        assert db.measured() == {7: Measured(1, 2, 3)} and db.last() == {7: Last("b", 1, 2, 3, None, None)}
    finally:
        db.close()
