"""What an overlay's upper directory holds, as rows of a layer: what a ``run`` step, or a user, has changed in a root.

The content is somebody else's: it is read on descriptors, through no link and across no mount, and nothing that it has
for a name or a size may take root anywhere or keep it busy for ever. All becomes root's, modes are normalised
(layer.py); devices, FIFOs, sockets, set-id bits and extended attributes do not come along, which is told. How overlayfs
marks what is gone: Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories". Only its trusted.*
attributes count: the user.* ones, which it has for mounts by users, anybody could set.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import BinaryIO, cast

from ..errors import JailkitError
from ..kernel.beneath import Tree, openat2
from . import layer
from .foreign.outside import shown
from .layer import Contents, Row

NEVER = ("/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp")
"""What lies below is of no image: each jail mounts its own there."""
MOST = 1_000_000
"""Names, as in an archive (tarball.py): each costs memory, and she has as many as her file system has inodes."""
_SPARSE = 1 << 30
_ATTRIBUTES = 8
_LONGEST = 4000
_DEEPEST = 256
_TRIES = 16
_SWAPPED = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENXIO)
"""What is said of a name that became another kind of thing between two looks at it."""
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_OURS = "trusted.overlay."
_LABELS = ("security.selinux", "security.SMACK64", "security.ima", "security.evm")


@dataclass
class Found:
    """rows: sorted by path. dropped: (path, what of it is not in the rows), sorted. theirs: paths of what belonged to
    others than root inside, which in an image it does."""

    rows: list[Row] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    theirs: list[str] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """One line for each thing dropped."""
        lines = [f"{path}: {what}" for path, what in self.dropped]
        if self.theirs:
            some = ", ".join(self.theirs[:3]) + (", ..." if len(self.theirs) > 3 else "")
            lines.append(f"{len(self.theirs)} of other owners are root's in an image: {some}")
        return lines


def read(upper: str, contents: Contents, root_id: int) -> Found:
    """Everything below the directory ``upper``; contents of files go to ``contents``. root_id: the id that files of
    root's inside have on the disk. Raise ``invalid.upper``, ``busy.mounted``, OSError."""
    with Tree(upper) as tree:
        reader = _Reader(contents, root_id)
        reader.directory(tree.fd)
    reader.found.rows.sort(key=lambda row: row.path)
    reader.found.dropped.sort()
    reader.found.theirs.sort()
    return reader.found


class _Exactly:
    """At most ``size`` bytes of a file: it may grow as fast as it is read."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        self._source, self._left = source, size

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


class _Reader:
    def __init__(self, contents: Contents, root_id: int) -> None:
        self.found = Found()
        self._contents, self._root_id = contents, root_id
        self._names = self._hollow = 0
        self._read: dict[tuple[int, int, bool], Row] = {}

    def directory(self, top: int) -> None:
        """Depth first, with an explicit stack: a tree may be deeper than Python's limit, but not than a path's."""
        stack = [(os.dup(top), "", self._listed(top))]
        try:
            while stack:
                fd, base, names = stack[-1]
                name = next(names, None)
                if name is None:
                    os.close(stack.pop()[0])
                    continue
                below = self._entry(fd, base, name)
                if below is not None and len(stack) > _DEEPEST:
                    os.close(below)
                    self._drop(f"{base}/{name}"[:200], f"what lies below it: deeper than {_DEEPEST} directories")
                elif below is not None:
                    stack.append((below, f"{base}/{name}", self._listed(below)))
        finally:
            for fd, _, _ in stack:
                os.close(fd)

    def _listed(self, fd: int) -> Iterator[str]:
        with os.scandir(fd) as entries:
            names = [entry.name for entry in islice(entries, MOST + 1)]
        self._names += len(names)
        if self._names > MOST:
            raise JailkitError("invalid.upper", f"a layer has more than {MOST:,} names", "remove what fills it")
        return iter(sorted(names))

    def _drop(self, path: str, what: str) -> None:
        self.found.dropped.append((path.encode(errors="backslashreplace").decode(), what))

    def _entry(self, parent: int, base: str, name: str) -> int | None:
        """Take one name; return the descriptor of a directory to go into."""
        path = f"{base}/{name}"
        if base in NEVER:
            return None
        if len(os.fsencode(path)) > _LONGEST or not _text(name):
            self._drop(path[:200], "its name is too long, or not UTF-8")
            return None
        for _ in range(_TRIES):
            try:
                return self._take(parent, name, path)
            except FileNotFoundError:
                return None  # gone since it was listed
            except OSError as error:
                if error.errno not in _SWAPPED:
                    raise
        raise JailkitError("busy.layer", f"{shown(path)} of a layer changes while it is read", "stop what writes there")

    def _take(self, parent: int, name: str, path: str) -> int | None:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            self._link(parent, name, path)
        elif stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            self.found.rows.append(layer.gone(path))
        elif stat.S_ISREG(status.st_mode):
            self._file(parent, name, path)
        elif stat.S_ISDIR(status.st_mode):
            return self._below(parent, name, path)
        else:
            self._drop(path, f"is a {_kind(status.st_mode)}")
        return None

    def _link(self, parent: int, name: str, path: str) -> None:
        target = os.readlink(name, dir_fd=parent)
        if _text(target):
            self.found.rows.append(layer.link(path, target))
        else:
            self._drop(path, "is a link whose target is not UTF-8")

    def _file(self, parent: int, name: str, path: str) -> None:
        fd = _open(parent, name, path, _OPEN)
        with os.fdopen(fd, "rb") as source:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ENOTDIR, "is another kind of thing by now")
            if "whiteout" in self._attributes(fd, path):
                self.found.rows.append(layer.gone(path))
            elif self._too_hollow(status):
                self._drop(path, f"is a sparse file of {status.st_size} bytes")
            else:
                self._normalised(path, status)
                self.found.rows.append(self._row(path, source, status))

    def _too_hollow(self, status: os.stat_result) -> bool:
        """Whether it is mostly holes, and with those before it has more of them than we write to a disk as zeros."""
        if status.st_blocks * 512 >= status.st_size // 8:
            return False
        self._hollow += status.st_size
        if self._hollow <= _SPARSE:
            return False
        self._hollow -= status.st_size
        return True

    def _row(self, path: str, source: BinaryIO, status: os.stat_result) -> Row:
        """A file with 65,000 names (ext4) is read for the first one only, unless it has changed since."""
        key = (status.st_ino, status.st_ctime_ns, path.endswith(".pyc"))
        row = self._read.get(key)
        if row is None:
            bytes_ = cast(BinaryIO, _Exactly(source, status.st_size))
            row = layer.file(path, bytes_, status.st_mode, self._contents)
            if status.st_nlink > 1:
                self._read[key] = row
        return replace(row, path=path)

    def _below(self, parent: int, name: str, path: str) -> int:
        fd = _open(parent, name, path, _OPEN | os.O_DIRECTORY)
        try:
            status = os.fstat(fd)
            opaque = self._attributes(fd, path).get("opaque") == b"y"
            self._normalised(path, status)
            mode = layer.directory_mode(status.st_mode)
            self.found.rows.append(Row(path, "directory", mode, opaque=opaque))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _normalised(self, path: str, status: os.stat_result) -> None:
        if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
            self._drop(path, "its set-id bits")
        if status.st_uid != self._root_id:
            self.found.theirs.append(path)

    def _attributes(self, fd: int, path: str) -> dict[str, bytes]:
        """Overlayfs's own marks by name; all others are dropped."""
        marks: dict[str, bytes] = {}
        try:
            names = os.listxattr(fd)
        except OSError as error:
            if error.errno == errno.ENOTSUP:
                return marks
            raise
        others = sorted(name for name in names if not name.startswith(_OURS) and name not in _LABELS)
        for name in names:
            if name.startswith(_OURS):
                marks[name.removeprefix(_OURS)] = os.getxattr(fd, name)
        for name in others[:_ATTRIBUTES]:
            self._drop(path, f"its attribute {name.encode(errors='backslashreplace').decode()}")
        if len(others) > _ATTRIBUTES:
            self._drop(path, f"{len(others) - _ATTRIBUTES} more attributes")
        if "metacopy" in marks or "redirect" in marks:
            text = f"{shown(path)} is a part of something that lies elsewhere (overlayfs metacopy or redirect)"
            raise JailkitError("invalid.upper", text, "it was not made by jailkit")
        return marks


def _open(parent: int, name: str, path: str, flags: int) -> int:
    try:
        return openat2(parent, name, flags)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EBUSY):
            text = f"something is mounted at {shown(path)} of a layer"
            raise JailkitError("busy.mounted", text, "findmnt") from None
        raise


def _text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFBLK: "block device", stat.S_IFCHR: "device"}
    return kinds.get(stat.S_IFMT(mode), "thing of an unknown kind")
