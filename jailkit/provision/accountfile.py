"""One of the files passwd(5), shadow(5), group(5), gshadow(5), as bytes: lines of others are never taken apart and put
together again."""

from __future__ import annotations

import contextlib
import datetime
import os
import stat
import time
from collections.abc import Iterable, Sequence

from ..errors import JailkitError


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
        self._lines = self._old.removesuffix(b"\n").split(b"\n") if self._old else []
        # of two lines of one name the first counts, as in the C library
        self._index = {line.split(b":", 1)[0]: number for number, line in reversed(list(enumerate(self._lines)))}
        self._changed: dict[int, bytes | None] = {}
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

    def _line(self, name: bytes) -> bytes | None:
        number = self._index.get(name)
        if number is None:
            return self._new.get(name)
        return self._changed.get(number, self._lines[number])

    def lines_of(self, names: Iterable[bytes], old: bool = False) -> list[bytes]:
        """The lines of ``names``, as they are to be or as they were; of a group without its members."""
        found = []
        for name in names:
            number = self._index.get(name)
            line = self._line(name) if not old else None if number is None else self._lines[number]
            if line is not None:
                shared = self.name in ("group", "gshadow") and line.count(b":") == 3
                found.append(line.rpartition(b":")[0] + b":" if shared else line)
        return found

    def numbers(self) -> set[bytes]:
        """The third field of each line: uids or gids."""
        return {fields[2] for fields in (line.split(b":", 3) for line in self._lines) if len(fields) > 3}

    def lists(self, name: bytes) -> list[bytes]:
        """Names of the groups that ``name`` is a member of."""
        fields = (line.split(b":") for line in self._lines)
        return [one[0] for one in fields if len(one) == 4 and name in one[3].split(b",") and one[0] != name]

    # -- changing

    def put(self, fields: Sequence[bytes]) -> None:
        """Replace the line of that name, or add it."""
        name, line = fields[0], b":".join(fields)
        if self._line(name) == line:
            return
        number = self._index.get(name)
        if number is None:
            self._new[name] = line
        else:
            self._changed[number] = line
        self.touched[name] = None

    def drop(self, name: bytes) -> None:
        """Remove the line of ``name``, if there is one."""
        number = self._index.get(name)
        if number is not None:
            self._changed[number] = None

    def put_list(self, fields: list[bytes], column: int, names: list[bytes]) -> None:
        """Make ``names`` the list in one field of a line."""
        self.put([*fields[:column], b",".join(names), *fields[column + 1 :]])

    def without(self, names: set[bytes], columns: Sequence[int]) -> None:
        """Take ``names`` out of the lists in ``columns`` of every line."""
        for number, line in enumerate(self._lines):
            fields = line.split(b":")
            if self._changed.get(number, line) is None or len(fields) != 4:
                continue
            for column in columns:
                have = fields[column].split(b",")
                if not names.isdisjoint(have):
                    self.put_list(fields, column, [name for name in have if name not in names])
                    fields = (self._changed[number] or line).split(b":")

    # -- writing

    def content(self) -> bytes:
        """New lines come last, but before those of NIS (shadow's commonio.c, add_one_entry_nis)."""
        lines = [self._changed.get(number, line) for number, line in enumerate(self._lines)]
        nis = next((number for number, line in enumerate(self._lines) if line[:1] in (b"+", b"-")), len(lines))
        whole = [*lines[:nis], *self._new.values(), *lines[nis:]]
        return b"".join(line + b"\n" for line in whole if line is not None)

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
