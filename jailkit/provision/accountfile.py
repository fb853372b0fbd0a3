"""One of the files passwd(5), shadow(5), group(5), gshadow(5), as bytes: lines of others are never taken apart and put
together again."""

from __future__ import annotations

import contextlib
import datetime
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence

from ..errors import JailkitError

_SEARCHES = 64
"""Searches through a file that take no longer than looking at each of its lines once."""


class AccountFile:
    """status: None where the file is missing. touched: names whose line is new or changed."""

    def __init__(self, etc: str, name: str) -> None:
        self.name = name
        self.path = os.path.realpath(f"{etc}/{name}")  # shadow follows a link as well (commonio.c, lrename)
        self.status: os.stat_result | None = None
        self.touched: dict[bytes, None] = {}
        self._old = b""
        self._attributes: list[tuple[str, bytes]] = []
        with contextlib.suppress(FileNotFoundError):
            self._read()
        if self._old and not self._old.endswith(b"\n"):
            self._old += b"\n"
        self._index: dict[bytes, int] | None = None
        self._numbers: set[bytes] | None = None
        self._asked = self._counted = 0
        self._changed: dict[int, tuple[int, bytes | None]] = {}  # where a line begins: its end, and what it becomes
        self._new: dict[bytes, bytes] = {}

    def _read(self) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != 0:
                raise JailkitError("unsafe.file", f"{self.path} is not a plain file of root", f"ls -l {self.path}")
            self._old = file.read()
            with contextlib.suppress(OSError):  # a file system without any
                self._attributes = [(key, os.getxattr(fd, key)) for key in os.listxattr(fd)]
            self.status = status

    # -- looking

    def get(self, name: bytes) -> list[bytes] | None:
        """Fields of the line of ``name``, as it is to be."""
        line = self._line(name)
        return None if line is None else line.split(b":")

    def _start(self, name: bytes) -> int | None:
        """Where the line of ``name`` begins; of two, the first counts, as in the C library. One is searched for; for
        many an index is made, which costs as much as a hundred searches."""
        if self._index is None:
            self._asked += 1
            if self._asked <= _SEARCHES:
                if self._old.startswith(name + b":"):
                    return 0
                return self._old.find(b"\n" + name + b":") + 1 or None
            self._index = {}
            for start, line in self._each():
                name_of, colon, _ = line.partition(b":")
                if colon:
                    self._index.setdefault(name_of, start)
        return self._index.get(name)

    def _each(self) -> Iterator[tuple[int, bytes]]:
        """Every line as it was, with where it begins."""
        start = 0
        for line in self._old.split(b"\n")[:-1]:
            yield start, line
            start += len(line) + 1

    def _was(self, start: int) -> bytes:
        return self._old[start : self._old.index(b"\n", start)]

    def _line(self, name: bytes) -> bytes | None:
        start = self._start(name)
        if start is None:
            return self._new.get(name)
        return self._changed[start][1] if start in self._changed else self._was(start)

    def lines_of(self, names: Iterable[bytes], old: bool = False) -> list[bytes]:
        """The lines of ``names``, as they are to be or as they were; of a group without its members."""
        found = []
        for name in names:
            start = self._start(name)
            line = self._line(name) if not old else None if start is None else self._was(start)
            if line is not None:
                shared = self.name in ("group", "gshadow") and line.count(b":") == 3
                found.append(line.rpartition(b":")[0] + b":" if shared else line)
        return found

    def has_number(self, number: bytes) -> bool:
        """Whether ``number`` is the third field of a line, as it was: a uid or a gid."""
        if self._numbers is None:
            self._counted += 1
            if self._counted <= _SEARCHES:
                return self._find_number(number)
            self._numbers = {fields[2] for _, line in self._each() if len(fields := line.split(b":", 3)) > 3}
        return number in self._numbers

    def _find_number(self, number: bytes) -> bool:
        wanted, at = b":" + number + b":", -1
        while (at := self._old.find(wanted, at + 1)) >= 0:
            if self._old.count(b":", self._old.rfind(b"\n", 0, at) + 1, at) == 1:
                return True
        return False

    def lists(self, name: bytes) -> list[bytes]:
        """Names of the groups that ``name`` is a member of."""
        fields = (line.split(b":") for _, line in self._each())
        return [one[0] for one in fields if len(one) == 4 and name in one[3].split(b",") and one[0] != name]

    # -- changing

    def put(self, fields: Sequence[bytes]) -> None:
        """Replace the line of that name, or add it."""
        name, line = fields[0], b":".join(fields)
        if self._line(name) == line:
            return
        start = self._start(name)
        if start is None:
            self._new[name] = line
        else:
            self._change(start, line)
        self.touched[name] = None

    def drop(self, name: bytes) -> None:
        """Remove the line of ``name``, if there is one."""
        start = self._start(name)
        if start is not None:
            self._change(start, None)

    def _change(self, start: int, line: bytes | None) -> None:
        self._changed[start] = self._old.index(b"\n", start) + 1, line

    def put_list(self, fields: list[bytes], column: int, names: list[bytes]) -> None:
        """Make ``names`` the list in one field of a line."""
        self.put([*fields[:column], b",".join(names), *fields[column + 1 :]])

    def without(self, names: set[bytes], columns: Sequence[int]) -> None:
        """Take ``names`` out of the lists in ``columns`` of every line."""
        for start, line in self._each():
            now = self._changed[start][1] if start in self._changed else line
            fields = now.split(b":") if now is not None else []
            if len(fields) != 4:
                continue
            for column in columns:
                have = fields[column].split(b",")
                if not names.isdisjoint(have):
                    fields[column] = b",".join(name for name in have if name not in names)
                    self._change(start, b":".join(fields))
                    self.touched[fields[0]] = None

    # -- writing

    def content(self) -> bytes:
        """New lines come last, but before those of NIS (shadow's commonio.c, add_one_entry_nis)."""
        signs = [0] if self._old[:1] in (b"+", b"-") else []
        signs += [at + 1 for at in (self._old.find(b"\n+"), self._old.find(b"\n-")) if at >= 0]
        nis = min(signs, default=len(self._old))
        new = b"".join(line + b"\n" for line in self._new.values())
        pieces, at = [], 0
        for start, (end, line) in sorted([*self._changed.items(), (nis, (nis, None))]):
            pieces.append(self._old[at:start])
            if start == end == nis:
                pieces.append(new)
            elif line is not None:
                pieces.append(line + b"\n")
            at = end
        return b"".join([*pieces, self._old[at:]])

    def write(self) -> bool:
        """Write ``FILE+`` beside the old file, on the disk when this returns. False: it would be the same."""
        self.discard()  # of a run that was killed, ours or shadow's: whoever has the lock may
        if self.status is None or not (self._changed or self._new):
            return False
        fd = os.open(f"{self.path}+", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb", closefd=False) as file:
                file.write(self.content())
            os.fchown(fd, self.status.st_uid, self.status.st_gid)
            os.fchmod(fd, stat.S_IMODE(self.status.st_mode))
            for key, value in self._attributes:
                os.setxattr(fd, key, value)
            os.fsync(fd)
        except BaseException:
            self.discard()
            raise
        finally:
            os.close(fd)
        return True

    def discard(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.path}+")

    def publish(self) -> None:
        """The old file stays as ``FILE-``, as shadow's tools leave it; then the new one takes its place."""
        with contextlib.suppress(OSError):  # it is a comfort, no condition
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.path}-+")
            os.link(self.path, f"{self.path}-+")
            os.rename(f"{self.path}-+", f"{self.path}-")
        os.rename(f"{self.path}+", self.path)


def ageing(etc: str) -> list[bytes]:
    """Fields 3 to 9 of a new line of shadow(5), by login.defs(5) and useradd(8)'s own defaults, as useradd writes them:
    day of the change, minimum, maximum, warning, inactivity, expiry, reserved. Raise ``host.useradd``."""
    defs, defaults = _settings(f"{etc}/login.defs", None), _settings(f"{etc}/default/useradd", "=")
    today = int(time.time()) // 86400
    numbers = [defs.get(key, "-1") for key in ("PASS_MIN_DAYS", "PASS_MAX_DAYS", "PASS_WARN_AGE")]
    numbers += [defaults.get("INACTIVE", "-1") or "-1", defaults.get("EXPIRE", "") or "-1"]
    try:
        if "-" in numbers[4][1:]:
            numbers[4] = str((datetime.date.fromisoformat(numbers[4]) - datetime.date(1970, 1, 1)).days)
        found = [today or -1, *(int(number, 0) for number in numbers)]
    except ValueError as error:
        raise JailkitError(
            "host.useradd", f"a limit of passwords in {etc}/login.defs or {etc}/default/useradd is no number: {error}"
        ) from None
    return [b"" if number < 0 else b"%d" % number for number in found] + [b""]


def _settings(path: str, separator: str | None) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            pairs = [line.strip().split(separator, 1) for line in file if not line.lstrip().startswith("#")]
    except FileNotFoundError:
        return {}
    return {pair[0]: pair[1].strip().strip('"') for pair in pairs if len(pair) == 2}
