"""Telling the people in a jail something: a line on each of their terminals."""

from __future__ import annotations

import contextlib
import os
import stat

from ..kernel import proc

_PTS_MAJOR = range(136, 144)
"""Character devices of /dev/pts (Documentation/admin-guide/devices.txt)."""


def tell(uid: int, text: str) -> int:
    """Write ``text`` on every terminal of a session of ``uid``; return how many. A terminal that takes nothing at the
    moment is left out, as one that its reader has stopped would stop us.

    A session's terminal is that of its processes in the host's pid namespace, the door's: inside the jail the same
    numbers mean the jail's own terminals. It must be the user's own."""
    mine = proc.namespace(os.getpid(), "pid")
    numbers = {_terminal(pid) for pid in proc.of_uid(uid) if proc.namespace(pid, "pid") == mine}
    line = "\r\n" + "".join(c if c.isprintable() else "?" for c in text) + "\r\n"
    return sum(_write(f"/dev/pts/{number}", uid, line.encode()) for number in numbers if number is not None)


def _terminal(pid: int) -> int | None:
    """Number of the controlling terminal below /dev/pts (proc_pid_stat(5), tty_nr), or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            data = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    device = int(data[data.rindex(b")") + 2 :].split(b" ")[4])
    major, minor = os.major(device), os.minor(device)
    return minor + 256 * (major - _PTS_MAJOR.start) if major in _PTS_MAJOR else None


def _write(path: str, uid: int, data: bytes) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        status = os.fstat(fd)
        if not stat.S_ISCHR(status.st_mode) or status.st_uid != uid:
            return False
        with contextlib.suppress(OSError):
            return os.write(fd, data) == len(data)
    finally:
        os.close(fd)
    return False
