"""The runtime directory of a jail: lock, entry record, sessions. All of it is gone after a reboot."""

from __future__ import annotations

import fcntl
import os

from ..errors import JailkitError
from ..kernel import proc
from ..paths import Paths
from .record import FLAG_CHROOT, Record, Session, read_record, read_session


def prepare(paths: Paths, uid: int, gid: int, user: str) -> None:
    """Make the runtime directories of one jail; the user may pass and read, never write.

    Raise ``unsafe.runtime`` if something there is not what we would have made."""
    for path, mode, group in (
        (paths.run, 0o755, 0),
        (paths.run_jails, 0o711, 0),
        (paths.run_names, 0o711, 0),
        (paths.mount_point, 0o700, 0),
        (paths.run_jail(uid), 0o750, gid),
        (paths.sessions(uid), 0o750, gid),
    ):
        directory(path, mode, group)
    link, target = f"{paths.run_names}/{user}", f"../jails/{uid}"
    try:
        if os.readlink(link) == target:
            return
        os.unlink(link)
    except FileNotFoundError:
        pass
    try:
        os.symlink(target, link)
    except FileExistsError:
        pass


def directory(path: str, mode: int, group: int = 0) -> None:
    """Make ``path``, root's. Raise ``unsafe.runtime`` if it is something else."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    status = os.lstat(path)
    if (status.st_mode & 0o170000) != 0o040000 or status.st_uid != 0:
        raise JailkitError("unsafe.runtime", f"{path} is not a directory of root", f"remove it: rm -r {path}")
    if status.st_gid != group:
        os.chown(path, 0, group)
    if status.st_mode & 0o7777 != mode:
        os.chmod(path, mode)


class Locked:
    """Context that holds the lock of one jail: starts, stops and the opening of sessions exclude each other
    (flock(2))."""

    def __init__(self, paths: Paths, uid: int) -> None:
        self._path = paths.lock(uid)

    def __enter__(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except BaseException:
            os.close(self._fd)
            raise

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def write_file(path: str, data: bytes, gid: int) -> None:
    """Write a record atomically, root:gid 0640."""
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchown(fd, 0, gid)
        os.fchmod(fd, 0o640)
        if os.write(fd, data) != len(data):
            raise OSError(28, f"short write to {path}")
    finally:
        os.close(fd)
    os.rename(temporary, path)


def publish(paths: Paths, record: Record) -> None:
    """Write the entry record: from now on the hook admits. Raise ``io.record``."""
    path = paths.record(record.uid)
    try:
        write_file(path, record.pack(), record.gid)
    except OSError as error:
        raise JailkitError("io.record", f"cannot write {path}: {error.strerror}", "df -h /run") from None


def running(paths: Paths, uid: int) -> Record | None:
    """The record of a jail that runs: keeper alive, start time and user namespace as recorded. A chroot jail has no
    keeper; it runs from its start until it is stopped, or has been without a session for a while. None: it is cold."""
    try:
        record = read_record(paths.record(uid))
    except ValueError:
        return None
    if record is None or record.uid != uid:
        return None
    if record.flags & FLAG_CHROOT:
        return record
    fd = keeper(record)
    if fd is None:
        return None
    os.close(fd)
    return record


def keeper(record: Record) -> int | None:
    """A pidfd of the keeper, or None when it is not (any more) the process that the record means, or there is none."""
    if record.flags & FLAG_CHROOT:
        return None
    fd = proc.open_same(record.pid, record.start)
    if fd is None:
        return None
    if proc.namespace(record.pid, "user") != record.userns or not proc.send(fd, 0):
        os.close(fd)
        return None
    return fd


def sessions(paths: Paths, uid: int) -> list[Session]:
    """Live sessions; records whose process has ended are removed. Call with the lock held."""
    alive = []
    try:
        names = os.listdir(paths.sessions(uid))
    except FileNotFoundError:
        return []
    for name in sorted(names):
        path = f"{paths.sessions(uid)}/{name}"
        try:
            session = read_session(path)
        except ValueError:
            session = None
        if session is not None and proc.start_time(session.pid) == session.start:
            alive.append(session)
        else:
            _unlink(path)
    return alive


def clear(paths: Paths, record_uid: int, user: str) -> None:
    """Forget a jail that has ended: entry record first, so that no door looks for its keeper any more."""
    for path in (paths.record(record_uid), paths.chroot(record_uid), f"{paths.run_names}/{user}"):
        _unlink(path)


def complain(text: str) -> None:
    """A line in the system log by ``jailctl-start``, for what hinders no start and nobody would see otherwise."""
    import syslog

    syslog.openlog("jailctl-start", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_ERR, "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text))


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
