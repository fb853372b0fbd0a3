"""Making a tree: what is done in a process that has only her ids, and sees only the directories that it fills.

These are new and lie where nobody else gets in (a directory of root's), so nothing in them changes but by this process.
Descriptor 0 is where entries come from, 1 takes the report, 2 is the socket of marks.py, or nothing."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from ...errors import JailkitError
from ...jail.recipe import RANGE
from ...kernel.beneath import openat2
from . import entry as entries
from . import marks
from .entry import ACCESS, DEFAULT, OPAQUE, Entry
from .judge import HOME, LAYER, Judge, Shape

BLOCK = 1 << 20
_LINE = 16 << 20
_PACKET = 512 << 10
_FICLONE = 0x40049409
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NO_CLONE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM)


class Data(Protocol):
    """The bytes of one file."""

    def into(self, fd: int, entry: Entry) -> None: ...


class _Piped:
    """They come through a pipe."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe

    def into(self, fd: int, entry: Entry) -> None:
        for offset, size in [(0, entry.size)] if entry.segments is None else entry.segments:
            while size:
                data = self._pipe.read(min(size, BLOCK))
                if not data:
                    raise EOFError("it ends within a file")
                _write(fd, data, offset)
                offset += len(data)
                size -= len(data)


class _Handed:
    """They are in a file that was opened elsewhere. cloned: how many bytes share their blocks with it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.cloned = 0

    def into(self, fd: int, entry: Entry) -> None:
        try:
            fcntl.ioctl(fd, _FICLONE, self._fd)
            self.cloned = entry.stored
            return
        except OSError as error:
            if error.errno not in _NO_CLONE:
                raise
        for offset, size in [(0, entry.size)] if entry.segments is None else entry.segments:
            self._copy(fd, offset, size)

    def _copy(self, fd: int, offset: int, size: int) -> None:
        while size:
            try:
                done = os.copy_file_range(self._fd, fd, min(size, 1 << 30), offset, offset)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                data = os.pread(self._fd, min(size, BLOCK), offset)
                _write(fd, data, offset)
                done = len(data)
            if not done:  # it has shrunk: zeros, by ftruncate
                return
            offset += done
            size -= done


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def piped(fd: int) -> Iterator[tuple[Entry, Data | None]]:
    """Entries that parse.py writes."""
    pipe = io.BufferedReader(io.FileIO(fd, "rb", closefd=False), BLOCK)
    while True:
        (length,) = struct.unpack(">I", _exactly(pipe, 4))
        if length == 0:
            return
        if length > _LINE:
            raise EOFError("an entry that is too long")
        made = entries.unpack(_exactly(pipe, length))
        yield made, _Piped(pipe) if made.kind == "file" else None


def _exactly(pipe: BinaryIO, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError("it ends too early")
    return data


def handed(fd: int) -> Iterator[tuple[Entry, Data | None]]:
    """Entries that :class:`Sender` sends; an empty packet is the end."""
    sock = marks.client(fd)
    while True:
        data, fds, _, _ = socket.recv_fds(sock, _PACKET, 1)
        try:
            if data == b".":
                return
            if not data:
                raise EOFError("it ends too early")
            yield entries.unpack(data), _Handed(fds[0]) if fds else None
        finally:
            for each in fds:
                os.close(each)


class Sender:
    """The other end: a sink of read.py."""

    def __init__(self, fd: int) -> None:
        self._sock = marks.client(fd)

    def add(self, made: Entry, fd: int | None) -> None:
        socket.send_fds(self._sock, [made.pack()], [] if fd is None else [fd])

    def end(self) -> None:
        self._sock.sendmsg([b"."])  # send(2) is another call


@dataclass(frozen=True)
class Owner:
    """Whose the tree becomes. was: her ids where it comes from. own: what they become."""

    was: tuple[int, int]
    own: tuple[int, int]


class Filler:
    """Makes the entries below the directories of the root: home, and layer where it is there."""

    def __init__(self, owner: Owner, shape: Shape, layer: bool, sock: socket.socket | None) -> None:
        self._owner, self._shape, self._layer, self._sock = owner, shape, layer, sock
        self._root = os.open("/", _OPEN)
        self._open: list[tuple[str, int]] = []
        self._meta: dict[str, Entry] = {}
        self.judge = Judge(shape)
        self.cloned = 0

    def all(self, source: Iterator[tuple[Entry, Data | None]]) -> None:
        for found, data in source:
            made = self.judge.take(found)
            place = None if made is None else self._place(made.name)
            if made is None or place is None:
                if isinstance(data, _Piped):
                    _swallow(data, found)
                continue
            self._one(made, place, data)
        self._leave(0)
        self.judge.end()

    def _place(self, name: str) -> list[str] | None:
        """The components of a name below our root; None for what is not wanted here."""
        parts, below = name.split("/"), self._shape.below.split("/")
        if parts[: len(below)] == below:
            return [HOME, *parts[len(below) :]]
        return parts if self._layer and parts[0] == LAYER else None

    def _one(self, made: Entry, place: list[str], data: Data | None) -> None:
        parent = self._enter(place[:-1])
        name = place[-1].encode("utf-8", "surrogateescape")
        if made.kind == "directory":
            if len(place) > 1:
                self._mkdir(name, parent)
            self._enter(place)
            self._meta["/".join(place)] = made
        elif made.kind == "file":
            self._file(made, name, parent, data)
        elif made.kind == "link":
            os.symlink(made.target.encode("utf-8", "surrogateescape"), name, dir_fd=parent)
            self._own(made, name, parent)
        elif made.kind == "hard link":
            self._hard(made, name, place)
        elif made.kind == "whiteout":
            os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)

    @staticmethod
    def _mkdir(name: bytes, parent: int) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:  # judged: it was a directory before
            pass

    def _file(self, made: Entry, name: bytes, parent: int, data: Data | None) -> None:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
        try:
            if data is not None:
                data.into(fd, made)
            if os.fstat(fd).st_size != made.size:
                os.ftruncate(fd, made.size)
            if isinstance(data, _Handed):
                self.cloned += data.cloned
            self._dress(fd, made)
        finally:
            os.close(fd)

    def _hard(self, made: Entry, name: bytes, place: list[str]) -> None:
        target = self._place(made.target)
        if target is None:
            return
        fd = self._walk(target[:-1])
        try:
            first = target[-1].encode("utf-8", "surrogateescape")
            os.link(first, name, src_dir_fd=fd, dst_dir_fd=self._enter(place[:-1]), follow_symlinks=False)
        finally:
            os.close(fd)

    # -- directories are open from the root to where we are

    def _enter(self, parts: list[str]) -> int:
        """A descriptor of that directory; it stays ours."""
        same = 0
        while same < min(len(parts), len(self._open)) and self._open[same][0] == parts[same]:
            same += 1
        self._leave(same)
        for part in parts[same:]:
            fd = self._open[-1][1] if self._open else self._root
            self._open.append((part, self._step(fd, part)))
        return self._open[-1][1] if self._open else self._root

    def _step(self, fd: int, part: str) -> int:
        try:
            return openat2(fd, os.fsdecode(part.encode("utf-8", "surrogateescape")), _OPEN, cross_mounts=True)
        except FileNotFoundError:
            self._mkdir(part.encode("utf-8", "surrogateescape"), fd)  # one that another program left out
            return openat2(fd, os.fsdecode(part.encode("utf-8", "surrogateescape")), _OPEN, cross_mounts=True)

    def _walk(self, parts: list[str]) -> int:
        fd = os.dup(self._root)
        for part in parts:
            below = self._step(fd, part)
            os.close(fd)
            fd = below
        return fd

    def _leave(self, depth: int) -> None:
        """Close what is deeper. What is in it changed its time, and its mode may keep us out: set last."""
        while len(self._open) > depth:
            made = self._meta.get("/".join(part for part, _ in self._open))
            _, fd = self._open.pop()
            try:
                if made is not None:
                    self._dress(fd, made)
            finally:
                os.close(fd)

    # -- owner, attributes, mode, time

    def _dress(self, fd: int, made: Entry) -> None:
        os.fchown(fd, *self._ids(made))
        for key, value in made.attributes.items():
            self._attribute(fd, key, value)
        os.fchmod(fd, made.mode)
        os.utime(fd, ns=(made.mtime, made.mtime))

    def _own(self, made: Entry, name: bytes, parent: int) -> None:
        os.chown(name, *self._ids(made), dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(made.mtime, made.mtime), dir_fd=parent, follow_symlinks=False)

    def _ids(self, made: Entry) -> tuple[int, int]:
        """In a home all is hers; in a layer root's and the system's stay theirs."""
        if not made.name.startswith(LAYER):
            return self._owner.own
        return self._id(made.uid, 0), self._id(made.gid, 1)

    def _id(self, found: int, which: int) -> int:
        was, own = self._owner.was[which], self._owner.own[which]
        return found if found != was and 0 <= found < RANGE and found != own else own

    def _attribute(self, fd: int, key: str, value: bytes) -> None:
        if key == OPAQUE:
            if self._sock is not None:
                marks.set_opaque(self._sock, fd)
            return
        if key in (ACCESS, DEFAULT):
            value = self._acl(value)
        try:
            os.setxattr(fd, os.fsdecode(key.encode("utf-8", "surrogateescape")), value)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EINVAL):
                raise

    def _acl(self, value: bytes) -> bytes:
        """Named users and groups in an access list (linux/posix_acl_xattr.h) are hers, or go."""
        made = value[:4]
        for at in range(4, len(value) - 7, 8):
            tag, bits, number = struct.unpack_from("<HHI", value, at)
            if tag in (0x02, 0x08):  # ACL_USER, ACL_GROUP
                which = tag == 0x08
                if number != self._owner.was[which] and number >= RANGE:
                    continue
                number = self._id(number, which)
            made += struct.pack("<HHI", tag, bits, number)
        return made


def _swallow(data: _Piped, found: Entry) -> None:
    left = found.stored
    while left:
        left -= len(_exactly(data._pipe, min(left, BLOCK)))


def main(owner: Owner, shape: Shape, layer: bool, source: str) -> int:
    """The confined process. source: "pipe" or "socket"."""
    sock = marks.client(2) if layer else None
    try:
        filler = Filler(owner, shape, layer, sock)
        filler.all(piped(0) if source == "pipe" else handed(0))
        judge = filler.judge
        answer: dict[str, object] = {"names": judge.names, "files": judge.files, "bytes": judge.bytes,
                                     "dropped": judge.notes, "cloned": filler.cloned}  # fmt: skip
    except JailkitError as error:
        answer = {"code": error.code, "text": error.message, "hint": error.hint}
    except EOFError as error:
        answer = {"ended": str(error)}
    except OSError as error:
        answer = {"errno": error.errno or errno.EIO, "text": os.fsdecode(error.filename or b"")[-300:]}
    except (ValueError, struct.error) as error:
        answer = {"ended": f"{error}"[:300]}
    os.write(1, json.dumps(answer).encode())
    return 0
