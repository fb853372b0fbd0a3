"""Walking a tree: what is done in a process that has only her ids and sees only her directories.

It may read what is hers whatever its mode says (CAP_DAC_READ_SEARCH over her ids), and of others' what anybody may:
a hard link to somebody's secret is left out. It opens plain files and directories only, by descriptor, through no
link; the mounts it sees are read-only."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator

from ...jail.recipe import RANGE
from . import marks
from .entry import ACCESS, ATTRIBUTES_MOST, DEFAULT, OPAQUE, Entry

Sink = Callable[[Entry, "int | None"], None]
"""Takes an entry and, of a file, its descriptor."""

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_SEGMENTS = 4096
_SHOWN = 100
_DEEPEST, _LONGEST = 4000, 120 << 10
"""Levels and characters of a path: what a process has descriptors for, and judge.py takes."""
_GONE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO)
"""What is said of a name that became another thing after it was listed, in a jail that could not be frozen."""


class Walk:
    """Gives every name below a directory to ``sink``, each directory before what is in it, sorted.

    own: her uid and gid. files, bytes: counted. left_out: what the sink did not get, and why; the first hundred."""

    def __init__(self, own: tuple[int, int], sink: Sink, sock: socket.socket | None) -> None:
        self._own, self._sink, self._sock = own, sink, sock
        self._linked: dict[tuple[int, int], str] = {}
        self.names = self.files = self.bytes = self.skipped = 0
        self.left_out: list[str] = []

    def tree(self, directory: str, name: str, layer: bool = False) -> None:
        """All of the directory of that path, as ``name``. layer: it is an overlay's upper directory."""
        self._layer = layer
        top = os.open(directory, _FLAGS | os.O_DIRECTORY)
        self._directory(top, name, os.fstat(top))
        stack = [(top, name, self._listed(top, name))]
        while stack:
            fd, base, names = stack[-1]
            entry = next(names, None)
            if entry is None:
                os.close(stack.pop()[0])
                continue
            shown = os.fsencode(entry).decode("utf-8", "surrogateescape")
            below = self._entry(fd, entry, f"{base}/{shown}")
            if below is not None and (len(stack) > _DEEPEST or len(base) > _LONGEST):
                os.close(below)
                self._skip(f"{base}/{shown}", "what is in it: it is too deep")
            elif below is not None:
                stack.append((below, f"{base}/{shown}", self._listed(below, f"{base}/{shown}")))

    def _listed(self, fd: int, name: str) -> Iterator[str]:
        try:
            return iter(sorted(os.listdir(fd)))
        except OSError as error:
            self._skip(name, f"what is in it: {error.strerror}")
            return iter(())

    def _entry(self, parent: int, entry: str, name: str) -> int | None:
        """Give one name on. Return the descriptor of a directory, whose content comes next."""
        try:
            status = os.stat(entry, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                target = os.fsencode(os.readlink(entry, dir_fd=parent)).decode("utf-8", "surrogateescape")
                self._give(self._made("link", name, status, target=target), None)
            elif self._layer and stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                self._give(Entry("whiteout", name, mtime=status.st_mtime_ns), None)
            elif stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                return self._opened(parent, entry, name)
            else:
                self._skip(name, _special(status.st_mode))
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, *_GONE):
                raise
            self._skip(name, "not hers to read" if error.errno not in _GONE else "it changed meanwhile")
        return None

    def _opened(self, parent: int, entry: str, name: str) -> int | None:
        fd = os.open(entry, _FLAGS, dir_fd=parent)
        status = os.fstat(fd)  # what it is now
        if stat.S_ISDIR(status.st_mode):
            self._directory(fd, name, status)
            return fd
        try:
            if stat.S_ISREG(status.st_mode):
                self._file(fd, name, status)
            else:
                self._skip(name, _special(status.st_mode))
        finally:
            os.close(fd)
        return None

    def _directory(self, fd: int, name: str, status: os.stat_result) -> None:
        made = self._made("directory", name, status)
        made.attributes = self._attributes(fd, name)
        if self._layer and self._sock is not None and marks.ask(self._sock, fd):
            made.attributes[OPAQUE] = b"y"
        self._give(made, None)

    def _file(self, fd: int, name: str, status: os.stat_result) -> None:
        key = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and key in self._linked:
            self._give(self._made("hard link", name, status, target=self._linked[key]), None)
            return
        made = self._made("file", name, status)
        made.size, made.segments = status.st_size, segments(fd, status)
        made.attributes = self._attributes(fd, name)
        self._give(made, fd)
        self.files += 1
        self.bytes += made.stored
        if status.st_nlink > 1:
            self._linked[key] = name

    def _give(self, made: Entry, fd: int | None) -> None:
        self.names += 1
        self._sink(made, fd)

    def _made(self, kind: str, name: str, status: os.stat_result, target: str = "") -> Entry:
        mode = stat.S_IMODE(status.st_mode)
        kept = mode & (0o3777 if kind == "directory" else 0o1777)  # no set-id file ever comes out of an archive of ours
        if kept != mode and kind == "file":
            self._skip(name, "its set-id bits")
        uid, gid = (
            found if found == own or found < RANGE else own
            for found, own in zip((status.st_uid, status.st_gid), self._own, strict=True)
        )
        return Entry(kind, name, kept, uid, gid, status.st_mtime_ns, target=target)

    def _attributes(self, fd: int, name: str) -> dict[str, bytes]:
        """user.* and access lists; what else there is (security.capability) gives rights, or is not hers to set."""
        found: dict[str, bytes] = {}
        try:
            for key in os.listxattr(fd):
                if key.startswith("user.") or key in (ACCESS, DEFAULT):
                    found[os.fsencode(key).decode("utf-8", "surrogateescape")] = os.getxattr(fd, key)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.ENODATA, errno.EACCES):
                raise
        if sum(len(key) + len(value) for key, value in found.items()) > ATTRIBUTES_MOST:
            self._skip(name, "its extended attributes: too many")
            return {}
        return found

    def _skip(self, name: str, why: str) -> None:
        self.skipped += 1
        if len(self.left_out) < _SHOWN:
            self.left_out.append(f"{name[-300:]}: {why}")


def _special(mode: int) -> str:
    kinds = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return kinds.get(stat.S_IFMT(mode), "neither file, directory nor link")


def segments(fd: int, status: os.stat_result) -> list[tuple[int, int]] | None:
    """(offset, bytes) of what is not a hole, as lseek(2) says; None where there is none. At most 4096: where there are
    more, small holes are taken for data."""
    size = status.st_size
    if status.st_blocks * 512 >= size:
        return None
    found: list[tuple[int, int]] = []
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                break
            return None
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if start < size:
            found.append((start, end - start))
    if found == [(0, size)]:
        return None
    gap = 4096
    while len(found) > _SEGMENTS:
        found, gap = _joined(found, gap), gap * 2
    return found


def _joined(found: list[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    made = [found[0]]
    for start, length in found[1:]:
        first, have = made[-1]
        if start - (first + have) <= gap:
            made[-1] = (first, start + length - first)
        else:
            made.append((start, length))
    return made
