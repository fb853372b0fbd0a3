"""``state.db``: what was applied, every id ever given, and the journal of plans under way.

SQLite in WAL mode with synchronous=FULL: a commit that returned is on the disk. Transactions are short, one or two
rows; who works on a jail holds that jail's lock, never the database."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import JailkitError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jails (
    name TEXT PRIMARY KEY,
    uid INTEGER NOT NULL UNIQUE,
    gid INTEGER NOT NULL,
    base INTEGER NOT NULL UNIQUE,
    phase TEXT NOT NULL CHECK (phase IN ('adding', 'present', 'removing')),
    existing INTEGER NOT NULL,
    old_shell TEXT NOT NULL,
    was_member INTEGER NOT NULL,
    home TEXT NOT NULL,
    image TEXT NOT NULL,
    spec TEXT NOT NULL,
    created INTEGER NOT NULL,
    level TEXT NOT NULL DEFAULT 'namespaces'
) STRICT;
CREATE TABLE IF NOT EXISTS given (
    base INTEGER PRIMARY KEY,
    uid INTEGER,
    name TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS plans (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    direction TEXT NOT NULL CHECK (direction IN ('forward', 'back')),
    at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS steps (
    plan INTEGER NOT NULL REFERENCES plans (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    operation TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('todo', 'doing', 'done')),
    note TEXT NOT NULL,
    PRIMARY KEY (plan, number)
) STRICT;
"""
_RENAMED = """
CREATE TABLE IF NOT EXISTS renamed (base INTEGER NOT NULL, name TEXT NOT NULL, at INTEGER NOT NULL) STRICT
"""
_COLUMNS = "name, uid, gid, base, phase, existing, old_shell, was_member, home, image, spec, created, level"

_TEMPLATE, _PLAN = "json_extract(spec, '$.template')", "json_extract(spec, '$.plan')"
"""Of the index as of the queries: SQLite takes an index on an expression where the two read the same."""


@dataclass(frozen=True)
class Row:
    """What was applied to one jail. phase: "adding", "present", "removing". spec: of the last plan (JSON of JailSpec).
    old_shell, was_member: what an ``existing`` account is given back. created: seconds since the epoch. level: of
    confinement, which says what the home is; it stays as it is."""

    name: str
    uid: int
    gid: int
    base: int
    phase: str
    existing: bool
    old_shell: str
    was_member: bool
    home: str
    image: str
    spec: dict[str, Any]
    created: int
    level: str = "namespaces"


@dataclass(frozen=True)
class OpenPlan:
    """A plan that was begun and not ended. steps: (operation as JSON data, state, note)."""

    id: int
    name: str
    kind: str
    direction: str
    steps: list[tuple[dict[str, Any], str, dict[str, Any]]]


class State:
    """The database. One object may be used by several threads; each process opens its own."""

    def __init__(self, path: str) -> None:
        """Open or make it, root's alone from its first byte. Raise ``io.state``."""
        self._path = path
        self._lock = threading.RLock()
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            # 20 seconds: writers come one at a time, each for milliseconds
            self._db = sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from None
        try:
            with self._errors():
                self._prepare()
        except JailkitError:
            self._db.close()
            raise

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA secure_delete = ON")  # a step may hold a password's hash
        if self._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'steps'").fetchone()[0] == 0:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        with self._transaction() as db:  # of two at once, the second finds it
            if "level" not in {column[1] for column in db.execute("PRAGMA table_info(jails)")}:
                db.execute("ALTER TABLE jails ADD COLUMN level TEXT NOT NULL DEFAULT 'namespaces'")
            db.execute(_RENAMED)
            for key in ("plan", "manifest"):
                db.execute(f"CREATE INDEX IF NOT EXISTS jails_{key} ON jails (json_extract(spec, '$.{key}'))")
            # the highest is asked for at each addition
            db.execute("CREATE INDEX IF NOT EXISTS given_uid ON given (uid)")
            # and at each switch of a tag, the levels of its jails
            db.execute(f"CREATE INDEX IF NOT EXISTS jails_template ON jails ({_TEMPLATE}, {_PLAN}, level)")

    def close(self) -> None:
        self._db.close()

    def _failure(self, error: Exception) -> JailkitError:
        return JailkitError(
            "io.state", f"{self._path}: {error}", f"df -h {os.path.dirname(self._path)}; jailctl doctor"
        )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._failure(error) from None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            if self._db.in_transaction:  # of together(), in this thread: the lock is ours
                yield self._db
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """All changes within are one transaction, on the disk when this ends. Keep it short: it holds the database."""
        with self._transaction():
            yield

    # -- jails

    def get(self, name: str) -> Row | None:
        with self._errors():
            found = self._db.execute(f"SELECT {_COLUMNS} FROM jails WHERE name = ?", (name,)).fetchone()
        return _row(found) if found else None

    def rows(self, names: Sequence[str]) -> dict[str, Row]:
        """Those of ``names`` (some hundreds) that there are."""
        marks = ", ".join("?" * len(names))
        with self._errors():
            found = self._db.execute(f"SELECT {_COLUMNS} FROM jails WHERE name IN ({marks})", tuple(names)).fetchall()
        return {row[0]: _row(row) for row in found}

    def all(self) -> list[Row]:
        with self._errors():
            return [_row(found) for found in self._db.execute(f"SELECT {_COLUMNS} FROM jails ORDER BY name")]

    def names(self, plan: str | None = None) -> list[str]:
        """Names of all jails, or of those with this plan, sorted."""
        where, values = ("", ()) if plan is None else (f"WHERE {_PLAN} = ?", (plan,))  # by the index of plans
        with self._errors():
            return [str(name) for (name,) in self._db.execute(f"SELECT name FROM jails {where} ORDER BY name", values)]

    def of_manifest(self, manifest: str) -> list[str]:
        """Names of the jails that a manifest has made or taken over; the cost does not grow with those of others."""
        query = "SELECT name FROM jails WHERE json_extract(spec, '$.manifest') = ? ORDER BY name"
        with self._errors():
            return [str(name) for (name,) in self._db.execute(query, (manifest,))]

    def named(self) -> list[tuple[str, str | None, str | None]]:
        """Of all jails what their specs name: (name of the jail, template or tag, plan), by name."""
        with self._errors():
            return list(self._db.execute(f"SELECT name, {_TEMPLATE}, {_PLAN} FROM jails ORDER BY name"))

    def templates(self) -> list[tuple[str | None, str | None, str, int]]:
        """How many jails there are by what their specs name: (template or tag, plan, level, how many)."""
        with self._errors():
            return list(self._db.execute(f"SELECT {_TEMPLATE}, {_PLAN}, level, count(*) FROM jails GROUP BY 1, 2, 3"))

    def reserve(self, row: Row, choose: Any) -> Row:
        """Insert ``row`` with the ids that ``choose(highest uid given or 0, last base given or None)`` returns as (uid,
        gid, base), and remember them for ever, in one transaction: two that run at once get different ones."""
        with self._transaction() as db:
            uid = db.execute("SELECT coalesce(max(uid), 0) FROM given").fetchone()[0]
            base = db.execute("SELECT max(base) FROM given").fetchone()[0]
            new_uid, new_gid, new_base = choose(uid, base)
            given_uid = None if row.existing else new_uid
            db.execute(
                "INSERT INTO given (base, uid, name, at) VALUES (?, ?, ?, ?)",
                (new_base, given_uid, row.name, row.created),
            )
            values = (row.name, new_uid, new_gid, new_base, row.phase, int(row.existing), row.old_shell,
                      int(row.was_member), row.home, row.image, json.dumps(row.spec), row.created,
                      row.level)  # fmt: skip
            db.execute(f"INSERT INTO jails ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        found = self.get(row.name)
        assert found is not None
        return found

    def update(self, name: str, **values: Any) -> None:
        """Set columns of a jail: phase, image, spec (as data)."""
        if "spec" in values:
            values["spec"] = json.dumps(values["spec"])
        names = ", ".join(f"{column} = ?" for column in values)
        with self._transaction() as db:
            db.execute(f"UPDATE jails SET {names} WHERE name = ?", (*values.values(), name))

    def rename(self, old: str, new: str, spec: dict[str, Any]) -> None:
        """Give a jail another name and the spec that has it. What it was called is remembered."""
        with self._transaction() as db:
            (base,) = db.execute("SELECT base FROM jails WHERE name = ?", (old,)).fetchone()
            db.execute("DELETE FROM renamed WHERE base = ? AND name = ?", (base, new))
            db.execute("INSERT INTO renamed VALUES (?, ?, ?)", (base, old, int(time.time())))
            db.execute("UPDATE jails SET name = ?, spec = ? WHERE name = ?", (new, json.dumps(spec), old))

    def was_called(self, name: str, earlier: str) -> bool:
        """Whether the jail of ``name`` was once that of ``earlier``."""
        query = "SELECT count(*) FROM renamed JOIN jails USING (base) WHERE jails.name = ? AND renamed.name = ?"
        with self._errors():
            return bool(self._db.execute(query, (name, earlier)).fetchone()[0])

    def forget(self, name: str) -> None:
        """Delete a jail's row. The ids stay in ``given``."""
        with self._transaction() as db:
            db.execute("DELETE FROM jails WHERE name = ?", (name,))

    # -- the journal

    def begin(self, name: str, kind: str, operations: list[dict[str, Any]], at: int) -> int:
        """Write a plan down before its first step. Raise ``busy.plan`` if one of that name is open."""
        with self._transaction() as db:
            try:
                cursor = db.execute(
                    "INSERT INTO plans (name, kind, direction, at) VALUES (?, ?, 'forward', ?)", (name, kind, at)
                )
            except sqlite3.IntegrityError:
                raise JailkitError("busy.plan", f"an earlier change of {name} is not ended", "run it again") from None
            rows = [(cursor.lastrowid, number, json.dumps(data)) for number, data in enumerate(operations)]
            db.executemany("INSERT INTO steps VALUES (?, ?, ?, 'todo', '{}')", rows)
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def step(self, plan: int, number: int, state: str) -> None:
        with self._transaction() as db:
            db.execute("UPDATE steps SET state = ? WHERE plan = ? AND number = ?", (state, plan, number))

    def mark(self, done: Iterable[tuple[int, int]], doing: Iterable[tuple[int, int, dict[str, Any]]]) -> None:
        """Of many plans at once: steps (plan, number) that are done, and those that are begun, each with its note."""
        with self._transaction() as db:
            db.executemany("UPDATE steps SET state = 'done' WHERE plan = ? AND number = ?", list(done))
            rows = [(json.dumps(note), plan, number) for plan, number, note in doing]
            db.executemany("UPDATE steps SET state = 'doing', note = ? WHERE plan = ? AND number = ?", rows)

    def note(self, plan: int, number: int, note: dict[str, Any]) -> None:
        """Remember what a step is about to make (a random name, an inode), so that the next run knows its own."""
        with self._transaction() as db:
            db.execute("UPDATE steps SET note = ? WHERE plan = ? AND number = ?", (json.dumps(note), plan, number))

    def turn_back(self, plan: int) -> None:
        with self._transaction() as db:
            db.execute("UPDATE plans SET direction = 'back' WHERE id = ?", (plan,))

    def end(self, plan: int, name: str, phase: str | None) -> None:
        """Forget a plan that was carried out or undone; with it, set the jail's phase (None: leave it)."""
        with self._transaction() as db:
            if phase is not None:
                db.execute("UPDATE jails SET phase = ? WHERE name = ?", (phase, name))
            db.execute("DELETE FROM plans WHERE id = ?", (plan,))

    def open_plan(self, name: str) -> OpenPlan | None:
        with self._errors():
            found = self._db.execute("SELECT id, name, kind, direction FROM plans WHERE name = ?", (name,)).fetchone()
            if found is None:
                return None
            rows = self._db.execute(
                "SELECT operation, state, note FROM steps WHERE plan = ? ORDER BY number", (found[0],)
            ).fetchall()
        steps = [(json.loads(operation), state, json.loads(note)) for operation, state, note in rows]
        number, found_name, kind, direction = found
        return OpenPlan(number, found_name, kind, direction, steps)

    def open_names(self) -> list[str]:
        """Jails with a plan that is not ended: under way now, or interrupted."""
        with self._errors():
            return [name for (name,) in self._db.execute("SELECT name FROM plans ORDER BY id")]


def _row(found: tuple[Any, ...]) -> Row:
    name, uid, gid, base, phase, existing, old_shell, was_member, home, image, spec, created, level = found
    return Row(
        name, uid, gid, base, phase, bool(existing), old_shell, bool(was_member), home, image, json.loads(spec),
        created, level,
    )  # fmt: skip
