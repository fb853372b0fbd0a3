"""A process is (pid, start time), never a pid alone (psutil's rule; CVE-2019-6133)."""

from __future__ import annotations

import os

from .libc import syscall

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    _T = TypeVar("_T")


def start_time(pid: int) -> int | None:
    """Start of ``pid`` in clock ticks since boot, or None if there is no such process, or only its zombie.

    proc_pid_stat(5), field 22, counted from the *last* ')': a command may hold blanks and parentheses."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            data = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = data[data.rindex(b")") + 2 :].split(b" ")
    return None if fields[0] in b"ZX" else int(fields[19])


def parent(pid: int) -> int:
    """Parent's pid of ``pid``; 0 where there is none or the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            data = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(data[data.rindex(b")") + 2 :].split(b" ")[1])


def look(function: Callable[[str], _T], pid: int, name: str) -> _T | None:
    """What ``function`` (os.stat, os.readlink) says of the link /proc/PID/NAME, or None if the process is gone. Raise
    PermissionError.

    The kernel says EACCES also where the process was there when the name was looked up and gone when it was followed
    (proc_ns_get_link, proc_pid_get_link in fs/proc): a second look tells the two apart."""
    path = f"/proc/{pid}/{name}"
    for last in (False, True):
        try:
            return function(path)
        except (FileNotFoundError, ProcessLookupError):
            return None
        except PermissionError:
            if last:
                raise
    return None


def namespace(pid: int, kind: str) -> int | None:
    """Inode of the namespace ``kind`` ("user", "mnt", ...) of ``pid``, or None if the process is gone. Raise
    PermissionError."""
    found = look(os.stat, pid, f"ns/{kind}")
    return None if found is None else found.st_ino


def open_same(pid: int, start: int) -> int | None:
    """A pidfd of the process that is ``pid`` and began at ``start``, or None. The start time is read *after* the
    descriptor was made, so what it names cannot change any more."""
    try:
        fd = os.pidfd_open(pid)
    except (ProcessLookupError, OSError):
        return None
    if start_time(pid) == start:
        return fd
    os.close(fd)
    return None


def send(pidfd: int, number: int) -> bool:
    """Signal through a pidfd. Return False if the process has ended."""
    try:
        syscall("pidfd_send_signal", pidfd, number, None, 0)
    except ProcessLookupError:
        return False
    return True


def kill(pid: int, still: Callable[[int], bool]) -> int | None:
    """SIGKILL to ``pid`` if ``still(pid)`` holds. It is asked after a pidfd was made: should the number have gone to
    another process meanwhile, the signal goes to the one that has ended. Return the pidfd, to be waited for and closed
    by the caller, or None if nothing was sent."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    if still(pid) and send(fd, 9):
        return fd
    os.close(fd)
    return None


def cgroup(pid: int) -> str:
    """Control group of ``pid`` in the v2 hierarchy, or in systemd's own of a v1 host; "" if there is none
    (cgroups(7), /proc/pid/cgroup)."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            rows = [line.rstrip("\n").split(":", 2) for line in file]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    found = {controllers: path for _, controllers, path in rows}
    return found.get("name=systemd") or found.get("", "")


def maps_itself(pid: int, uid: int) -> bool:
    """Whether the user namespace of ``pid`` maps ``uid``, alone, to itself: so does that of a jail of ``uid``, unlike
    the host's (which maps all) and those of other tools' containers (user_namespaces(7))."""
    try:
        with open(f"/proc/{pid}/uid_map", "rb") as file:
            return any(line.split() == [b"%d" % uid, b"%d" % uid, b"1"] for line in file)
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait(pidfd: int, seconds: float) -> bool:
    """Wait until the process behind ``pidfd`` (any process, not only a child) has ended. False: it has not."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(int(seconds * 1000)))


def of_uid(uid: int) -> Iterator[int]:
    """Pids of all processes, in this pid namespace and below, one of whose ids is ``uid``. Zombies are left out."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and has_uid(int(entry), uid):
            yield int(entry)


def uids() -> set[int]:
    """The user ids of all processes, as :func:`of_uid` looks at them."""
    return {int(uid) for entry in os.listdir("/proc") if entry.isdigit() for uid in _uids(int(entry))}


def has_uid(pid: int, uid: int) -> bool:
    """Whether ``pid`` is a process, not a zombie, one of whose four user ids is ``uid`` (proc_pid_status(5))."""
    return str(uid).encode() in _uids(pid)


def _uids(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read(1024).split(b"\n")
    except (FileNotFoundError, ProcessLookupError):
        return []
    fields = {line.split(b":")[0]: line.split()[1:] for line in lines if b":" in line}
    return fields.get(b"Uid", []) if fields.get(b"State", [b"Z"])[0] != b"Z" else []


def fresh_session_keyring() -> None:
    """Leave the caller's session keyring: keys of the process that called us are nobody's business (keyctl(2))."""
    syscall("keyctl", 1, None, what="keyctl join session keyring")
