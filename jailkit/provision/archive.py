"""Archives of homes, written by a process that can do nothing but read that home.

Root opens the file and the home, forks, and waits. The child makes the home its root, takes the tenant's ids for good,
drops every capability, and writes a tar of what it then can reach. It has imported all that it needs before: nothing of
Python's own is looked up in the tenant's tree (docker CVE-2019-14271). It runs no program, and follows no link."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import stat
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from ..errors import JailkitError
from ..kernel import caps

_BLOCK = 1 << 20
_SHOWN = 20
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def check_target(path: str) -> None:
    """Raise unless an archive may be made at ``path``: absolute, nothing there, in a directory where only root can
    replace what root makes (its own, or a sticky one such as /tmp)."""
    if not os.path.isabs(path) or os.path.normpath(path) != path:
        raise JailkitError("usage.archive", f"{path!r} is not an absolute path", "give the archive's full path")
    directory = os.path.realpath(os.path.dirname(path))
    if not os.path.isdir(directory):
        raise JailkitError("missing.directory", f"there is no directory {directory}", f"mkdir {directory}")
    if os.path.lexists(path):
        raise JailkitError("conflict.archive-exists", f"{path} exists already", "choose another name")
    while True:
        status = os.stat(directory)
        open_to_all = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if status.st_uid != 0 or open_to_all:
            raise JailkitError("unsafe.path", f"{directory} is not root's alone", "choose a directory of root's")
        if directory == "/":
            return
        directory = os.path.dirname(directory)


def write(home: int, output: int, uid: int, gid: int, user: str, compress: bool) -> dict[str, Any]:
    """Write the tree behind the descriptor ``home`` to the descriptor ``output`` as tar (PAX), gzip'ed on demand.

    Return ``{"files": n, "skipped": n, "names": [first 20 skipped]}``; sockets, FIFOs, devices, other file systems and
    what is neither the user's nor readable by her are skipped. Raise ``io.archive``."""
    _warm_up(compress)
    report, report_in = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(report)
            answer = _child(home, output, uid, gid, user, compress)
            os.write(report_in, json.dumps(answer).encode())
            status = 0
        except BaseException as error:  # noqa: BLE001 - a forked child must not unwind into its parent's code
            with contextlib.suppress(OSError):
                os.write(report_in, json.dumps({"error": f"{error}"[:500]}).encode())
        finally:
            os._exit(status)
    os.close(report_in)
    try:
        with os.fdopen(report, "rb") as file:
            data = file.read()
    finally:
        _, status = os.waitpid(pid, 0)
    answer = json.loads(data) if data else {"error": f"the writer ended with status {status}"}
    if status != 0 or "error" in answer:
        raise JailkitError(
            "io.archive", f"cannot archive the home of {user}: {answer.get('error')}", "nothing was deleted"
        )
    return dict(answer)


def _warm_up(compress: bool) -> None:
    """Load every codec and module that the child will use, while ``/`` is still the host's."""
    with tarfile.open(fileobj=io.BytesIO(), mode="w|gz" if compress else "w|", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("n\u00e4me\udcff" + "x" * 300)
        info.linkname, info.uname, info.mtime = "t\u00e4rget", "user", 1.5
        tar.addfile(info)
    json.dumps({"a": ["\udcff"]})


def _child(home: int, output: int, uid: int, gid: int, user: str, compress: bool) -> dict[str, Any]:
    with contextlib.suppress(ValueError, OSError):  # one descriptor a level of the tree
        resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
    os.fchdir(home)
    os.chroot(".")
    os.chdir("/")
    caps.become(uid, gid, keep_caps=True)  # emptying the bounding set takes CAP_SETPCAP; all goes with the next call
    caps.drop_all()
    caps.die_with_parent()
    writer = _Writer(home, user)
    with open(output, "wb", buffering=_BLOCK, closefd=False) as file:
        mode = "w|gz" if compress else "w|"
        with tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT, bufsize=_BLOCK) as tar:  # type: ignore[call-overload]
            writer.directory(tar, home, ".")
    return {"files": writer.files, "skipped": writer.skipped, "names": writer.names}


class _Writer:
    def __init__(self, home: int, user: str) -> None:
        self.files = 0
        self.skipped = 0
        self.names: list[str] = []
        self._user = user
        self._device = os.fstat(home).st_dev
        self._uid = os.getuid()
        self._linked: dict[int, str] = {}

    def directory(self, tar: tarfile.TarFile, fd: int, name: str) -> None:
        status = os.fstat(fd)
        tar.addfile(self._info(name, status, tarfile.DIRTYPE))
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid == self._uid:  # that of a chroot jail is root's
            os.fchmod(fd, mode | 0o700)
        stack: list[tuple[int, str, Iterator[str], int | None]] = []
        restore = mode if status.st_uid == self._uid else None
        stack.append((os.dup(fd), name, iter(sorted(os.listdir(fd))), restore))
        try:
            while stack:
                parent, base, entries, restore = stack[-1]
                entry = next(entries, None)
                if entry is None:
                    if restore is not None:
                        os.fchmod(parent, restore)
                    os.close(stack.pop()[0])
                    continue
                child = self._entry(tar, parent, entry, f"{base}/{entry}")
                if child is not None:
                    stack.append((child[0], f"{base}/{entry}", iter(sorted(os.listdir(child[0]))), child[1]))
        finally:
            for descriptor, *_ in stack:
                os.close(descriptor)

    def _entry(self, tar: tarfile.TarFile, parent: int, entry: str, name: str) -> tuple[int, int | None] | None:
        """Add one name. Return the descriptor of a directory, whose content comes next, and its mode to be restored."""
        try:
            status = os.stat(entry, dir_fd=parent, follow_symlinks=False)
        except PermissionError:  # in somebody else's directory
            self._skip(name)
            return None
        if status.st_dev != self._device:
            self._skip(name)
        elif stat.S_ISLNK(status.st_mode):
            info = self._info(name, status, tarfile.SYMTYPE)
            info.linkname = os.readlink(entry, dir_fd=parent)
            tar.addfile(info)
        elif stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            opened = self._open(parent, entry, status)
            if opened is None:
                self._skip(name)
                return None
            fd, restore = opened
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                tar.addfile(self._info(name, status, tarfile.DIRTYPE))
                return fd, restore
            with os.fdopen(fd, "rb") as file:
                self._file(tar, file, name, status)
                if restore is not None:
                    os.fchmod(fd, restore)
        else:
            self._skip(name)
        return None

    def _open(self, parent: int, entry: str, status: os.stat_result) -> tuple[int, int | None] | None:
        """A descriptor, and the mode to set again when it was read; None for what is not the user's to read, such as a
        hard link to somebody's secret."""
        mode, needs = stat.S_IMODE(status.st_mode), 0o500 if stat.S_ISDIR(status.st_mode) else 0o400
        if status.st_uid != self._uid or mode & needs == needs:
            try:
                return os.open(entry, _FLAGS, dir_fd=parent), None
            except PermissionError:
                return None
        # the user's own, with a mode that keeps her out
        os.chmod(entry, mode | 0o700, dir_fd=parent)
        return os.open(entry, _FLAGS, dir_fd=parent), mode

    def _file(self, tar: tarfile.TarFile, file: BinaryIO, name: str, seen: os.stat_result) -> None:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            self._skip(name)
            return
        first = self._linked.get(status.st_ino) if status.st_nlink > 1 else None
        if first is not None:
            info = self._info(name, seen, tarfile.LNKTYPE)
            info.linkname = first
            tar.addfile(info)
            return
        if status.st_nlink > 1:
            self._linked[status.st_ino] = name
        info = self._info(name, seen, tarfile.REGTYPE)
        info.size = status.st_size
        tar.addfile(info, _Exactly(file, status.st_size))  # type: ignore[arg-type]
        self.files += 1

    def _info(self, name: str, status: os.stat_result, kind: bytes) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.type = kind
        info.mode = stat.S_IMODE(status.st_mode) & 0o1777  # no set-id bit ever comes out of an archive of ours
        info.mtime = int(status.st_mtime)
        info.uid, info.gid = status.st_uid, status.st_gid
        info.uname = self._user if status.st_uid == self._uid else ""
        return info

    def _skip(self, name: str) -> None:
        self.skipped += 1
        if len(self.names) < _SHOWN:
            self.names.append(name)


class _Exactly:
    """Reads as many bytes as the header says: a file that shrinks meanwhile is filled up with zeros."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int) -> bytes:
        size = min(size, self._left)
        data = self._file.read(size)
        self._left -= size
        return data + b"\0" * (size - len(data))
