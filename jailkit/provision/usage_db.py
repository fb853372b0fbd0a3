"""``usage.db``: what jails have used, by the hour (kept for 7 days), the day (13 months) and the month (for ever).

By the first id of a jail's own range, which nobody else ever gets: a later jail of the same name is another one. Times
are seconds since the epoch; hours, days and months are those of UTC. A jail that was not used and did not grow has no
row. SQLite in WAL mode; a sample is one transaction."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from ..errors import JailkitError

Span = Literal["hour", "day", "month"]
SPANS: tuple[Span, ...] = ("hour", "day", "month")
_KEPT = {"hour": 7 * 86400, "day": 400 * 86400}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (
    base INTEGER NOT NULL, span TEXT NOT NULL CHECK (span IN ('hour', 'day', 'month')), start INTEGER NOT NULL,
    name TEXT NOT NULL, cpu INTEGER NOT NULL, sessions INTEGER NOT NULL, memory INTEGER NOT NULL,
    disk INTEGER, inodes INTEGER,
    PRIMARY KEY (base, span, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS last (
    base INTEGER PRIMARY KEY, boot TEXT NOT NULL, cpu INTEGER NOT NULL, sessions INTEGER NOT NULL, at INTEGER NOT NULL,
    disk INTEGER, inodes INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS measured (
    base INTEGER PRIMARY KEY, disk INTEGER NOT NULL, inodes INTEGER NOT NULL, at INTEGER NOT NULL
) STRICT;
"""
_ADD = """
INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (base, span, start) DO UPDATE SET
    name = excluded.name, cpu = cpu + excluded.cpu, sessions = sessions + excluded.sessions,
    memory = max(memory, excluded.memory), disk = coalesce(excluded.disk, disk),
    inodes = coalesce(excluded.inodes, inodes)
"""


@dataclass(frozen=True)
class Sample:
    """start: of the hour, day or month. cpu: microseconds. sessions: that were opened. memory: bytes, most at once.
    disk: bytes, inodes: their number, as they were last; None: not known."""

    start: int
    cpu: int = 0
    sessions: int = 0
    memory: int = 0
    disk: int | None = None
    inodes: int | None = None


@dataclass(frozen=True)
class Last:
    """What the counters of a jail said when they were last taken up. boot: of that boot; they begin anew with each."""

    boot: str = ""
    cpu: int = 0
    sessions: int = 0
    at: int = 0
    disk: int | None = None
    inodes: int | None = None


@dataclass(frozen=True)
class Measured:
    """What a walk has counted, and when."""

    disk: int
    inodes: int
    at: int


def start_of(span: Span, at: float) -> int:
    """When the hour, day or month began that ``at`` is in."""
    if span != "month":
        length = 3600 if span == "hour" else 86400
        return int(at) // length * length
    found = datetime.fromtimestamp(at, UTC)
    return int(datetime(found.year, found.month, 1, tzinfo=UTC).timestamp())


class UsageDb:
    """Opened by one process at a time or several; raises ``io.state``."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._errors():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, timeout=20, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")  # after a crash of the host the last sample may be missing
            if self._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'measured'").fetchone()[0] == 0:
                self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            hint = f"df -h {os.path.dirname(self._path)}; a damaged one can be moved away: only the history is in it"
            raise JailkitError("io.state", f"{self._path}: {error}", hint) from None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All within it, or nothing."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def last(self) -> dict[int, Last]:
        with self._errors():
            return {base: Last(*rest) for base, *rest in self._db.execute("SELECT * FROM last")}

    def put_last(self, base: int, last: Last) -> None:
        values = (base, last.boot, last.cpu, last.sessions, last.at, last.disk, last.inodes)
        self._db.execute("INSERT OR REPLACE INTO last VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def add(self, base: int, name: str, at: float, sample: Sample) -> None:
        """Add what was used around ``at`` to its hour, day and month."""
        rest = (sample.cpu, sample.sessions, sample.memory, sample.disk, sample.inodes)
        for span in SPANS:
            self._db.execute(_ADD, (base, span, start_of(span, at), name, *rest))

    def measured(self) -> dict[int, Measured]:
        with self._errors():
            return {base: Measured(*rest) for base, *rest in self._db.execute("SELECT * FROM measured")}

    def put_measured(self, base: int, found: Measured) -> None:
        with self._errors():
            values = (base, found.disk, found.inodes, found.at)
            self._db.execute("INSERT OR REPLACE INTO measured VALUES (?, ?, ?, ?)", values)

    def samples(self, base: int, span: Span, since: int = 0) -> list[Sample]:
        """Of one jail, the oldest first."""
        query = (
            "SELECT start, cpu, sessions, memory, disk, inodes FROM samples "
            "WHERE base = ? AND span = ? AND start >= ? ORDER BY start"
        )
        with self._errors():
            return [Sample(*row) for row in self._db.execute(query, (base, span, since))]

    def prune(self, now: float) -> None:
        """Forget hours and days that are too old."""
        with self._errors():
            for span, kept in _KEPT.items():
                self._db.execute("DELETE FROM samples WHERE span = ? AND start < ?", (span, int(now) - kept))
