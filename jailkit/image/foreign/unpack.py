"""Unpacking a tar file without trusting it: a confined process reads it, root only takes what that process says.

Nothing is unpacked onto a disk. The process (sandbox/confine.py: ids of the build range, an empty root, no network, no
capability, no system call but reading descriptor 0 and writing descriptor 1; tarball.py: what it does) turns the
archive into a stream of names and bytes, in a format of its own that has nothing to decide: root parses one small JSON
header a name, checks it, and hands the bytes to the content store. That is safer than to let the process unpack into a
directory and to read that back: no path of the archive is ever resolved by anybody, so no link is there to be followed
and no file to be swapped, and what the name of a file is, is decided once, here. It is simpler, too, and writes every
byte once.

Several archives, one over the other (OCI layers): :func:`records` of each, and rows of their own."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import resource
import signal
import stat
import struct
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from ...errors import JailkitError
from .. import layer
from ..layer import Contents, Row
from ..sandbox import confine
from . import outside, tarball
from .outside import shown, unsafe
from .tarball import Limits

Log = Callable[[str], None]

MEMORY = 1 << 30
SECONDS = 3600
"""What the process may use: bytes beyond what it begins with, seconds of a processor."""
_HEADER = 32 << 10
_PYC = 64 << 20
_STEP = 20_000
_LINES = 10_000
_KINDS = ("file", "directory", "link", "hard link", "fifo", "device")


@dataclass(frozen=True, slots=True)
class Record:
    """One name of an archive, as it stands there: nothing but the types is checked yet. data: of a file."""

    kind: str
    name: str
    mode: int
    size: int
    target: str
    attributes: tuple[str, ...]
    data: BinaryIO


Broken = Callable[[], JailkitError]


class _Exactly(io.RawIOBase):
    """``size`` bytes of the pipe. broken: makes the error where it ends before."""

    def __init__(self, pipe: BinaryIO, size: int, broken: Broken) -> None:
        self._pipe, self.left, self._broken = pipe, size, broken

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self.left if size < 0 else min(size, self.left)
        data = self._pipe.read(wanted)
        self.left -= len(data)
        if len(data) < wanted:
            raise self._broken()
        return data


def records(archive: int, directory: str, limits: Limits) -> Generator[Record, None, None]:
    """What is in the tar file behind the descriptor ``archive``, read by a confined process. A record's data are there
    until the next is asked for. directory: see confine.start.

    Raise ``unsafe.archive``, ``invalid.archive``, ``host.confine``. Close it (contextlib.closing): the process ends."""
    tarball.warm_up()
    output, output_in = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # a larger pipe is only faster
        fcntl.fcntl(output_in, fcntl.F_SETPIPE_SZ, 1 << 20)
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    rules = {
        resource.RLIMIT_AS: own_memory() + MEMORY, resource.RLIMIT_CPU: SECONDS, resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 16,
    }  # fmt: skip
    with os.fdopen(output, "rb", buffering=1 << 20) as pipe:
        try:
            process = confine.start(
                lambda: tarball.main(limits), (archive, output_in, null), directory, confine.Terms(limits=rules)
            )
        finally:
            os.close(output_in)
            os.close(null)
        try:
            yield from _read(pipe, lambda: error(process.wait(), limits))
            if process.wait():
                raise error(process.wait(), limits)
        finally:
            process.kill()


def own_memory() -> int:
    """Bytes of address space that the process has from us when it begins (proc_pid_statm(5))."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _read(pipe: BinaryIO, broken: Broken) -> Iterator[Record]:
    while True:
        (length,) = struct.unpack(">I", _Exactly(pipe, 4, broken).read())
        if length == 0:
            if pipe.read(1):
                raise unsafe("the unpacking process says more than it may")
            return
        if length > _HEADER:
            raise unsafe("the unpacking process says more than it may")
        record = _record(_Exactly(pipe, length, broken).read(), pipe, broken)
        yield record
        rest = cast(_Exactly, record.data)
        while rest.left:
            rest.read(min(rest.left, 1 << 20))


def _record(line: bytes, pipe: BinaryIO, broken: Broken) -> Record:
    try:
        found = json.loads(line)
        kind, name, mode, size, target = (found[key] for key in ("kind", "name", "mode", "size", "target"))
        texts = [kind, name, target, *found["attributes"]]
        good = all(type(text) is str for text in texts) and type(mode) is type(size) is int and kind in _KINDS
        good = good and 0 <= mode <= 0o7777 and size >= 0 and (size == 0 or kind == "file")
    except (ValueError, KeyError, TypeError, RecursionError):
        good = False
    if not good:
        raise unsafe("the unpacking process says something that has no meaning")
    data = cast(BinaryIO, _Exactly(pipe, size, broken))
    return Record(kind, name, mode, size, target, tuple(found["attributes"]), data)


def error(status: int, limits: Limits) -> JailkitError:
    reason = next((name for name, number in tarball.STATUS.items() if number == status), "")
    sentences = {
        "truncated": ("it is cut off before its end", "copy it again"),
        "damaged": ("it is damaged: something in it is not what a tar file has there", "copy it again"),
        "no-tar": ("it is not a tar file", "look at it: file NAME"),
        "trailing": ("it has something after its end", "make it anew, as one archive"),
        "bytes": (f"it holds more than {limits.bytes:,} bytes", "raise max_bytes if that is right"),
        "names": (f"it holds more than {limits.names:,} names", "raise max_names if that is right"),
        "ratio": (f"it is more than {tarball.RATIO} times larger than its file", "a plain tar of it would be taken"),
        "memory": ("it needs more memory than a tar file should", ""),
        "kind": ("it holds something that is neither file, directory, link nor device", "make it with GNU tar"),
    }  # fmt: skip
    if reason:
        text, hint = sentences[reason]
        family = "unsafe" if reason in ("bytes", "names", "ratio", "memory") else "invalid"
        return JailkitError(f"{family}.archive", text, hint)
    if status == 128 + signal.SIGKILL:  # at its limit of time the kernel kills it (setrlimit(2), RLIMIT_CPU)
        return unsafe(f"its unpacking was killed: it takes more than {SECONDS} s, or memory is short")
    return JailkitError("invalid.archive", f"its unpacking ended too early, with status {status}", "try again")


@contextlib.contextmanager
def opened(path: str, way: Callable[[int], int] | None = None) -> Iterator[int]:
    """A descriptor of the archive ``path``, a plain file. way: opens it with the flags given, where that is not by this
    path. Raise ``missing.archive``, ``invalid.archive``."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(path, flags) if way is None else way(flags)
    except OSError as error:
        raise JailkitError("missing.archive", f"cannot open {path}: {error.strerror}", f"ls -l {path}") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise JailkitError("invalid.archive", f"{path} is not a plain file", f"ls -l {path}")
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def named(label: str) -> Iterator[None]:
    """Errors of an archive begin with its name."""
    try:
        yield
    except JailkitError as error:
        if error.code.endswith(".archive"):
            error = JailkitError(error.code, f"{label}: {error.message}", error.hint)
        raise error from None


def rows(archive: int, contents: Contents, directory: str, limits: Limits, label: str, log: Log) -> list[Row]:
    """The layer that the archive is, sorted by path. label: its name, for messages. Raise as :func:`records`,
    OSError."""
    made = _Rows(contents, limits, log)
    with named(label), contextlib.closing(records(archive, directory, limits)) as found:
        for record in found:
            made.take(record)
        if not made.found:
            raise JailkitError("invalid.archive", "it holds nothing", "it should hold a root: /usr, /etc ...")
    log(f"{label}: {made.names:,} names, {made.bytes:,} bytes, {made.dropped:,} things dropped")
    return [row for _, row in sorted(made.found.items()) if row is not None]


class _Rows:
    """Takes records one by one. found: by path; None for what was dropped, so that its name stays taken."""

    def __init__(self, contents: Contents, limits: Limits, say: Log) -> None:
        self.found: dict[str, Row | None] = {}
        self.names = self.bytes = self.dropped = 0
        self.say = say
        self._contents, self._limits = contents, limits

    def take(self, record: Record) -> None:
        self.names += 1
        self.bytes += record.size
        if self.names > self._limits.names or self.bytes > self._limits.bytes:
            raise unsafe("the archive is larger than it may be")
        if self.names % _STEP == 0:
            self.say(f"unpacked {self.names:,} names, {self.bytes >> 20:,} MiB")
        path = outside.path(record.name)
        if not path:
            if record.kind != "directory":
                raise unsafe(f"{shown(record.name)} would replace the root by a {record.kind}")
            return
        self._parents(path)
        self._again(path, record)
        self.found[path] = self._row(path, record)

    def _parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if not parent:
            return
        if parent not in self.found:
            self._parents(parent)
            self.found[parent] = layer.directory(parent)
            return
        row = self.found[parent]
        if row is None or row.kind != "directory":
            kind = "something that was dropped" if row is None else f"a {row.kind}"
            raise unsafe(f"{shown(path)} lies below {shown(parent)}, which is {kind}")

    def _again(self, path: str, record: Record) -> None:
        """A name that was there: tar -r appends a newer file, and a directory is often named twice. One that becomes
        something else leads a naive unpacker through a link to where the archive wants to write."""
        if path not in self.found:
            return
        row = self.found[path]
        kind = "dropped" if row is None else row.kind
        new = "file" if record.kind == "hard link" else record.kind
        if kind != new or kind == "link":
            raise unsafe(f"{shown(path)} is there twice, as a {kind} and as a {record.kind}")
        if kind == "file":
            self._drop(f"an earlier {shown(path)}, as the archive has a later one")

    def _row(self, path: str, record: Record) -> Row | None:
        if record.kind in ("fifo", "device"):
            self._drop(f"the {record.kind} {shown(path)}")
            return None
        for name in record.attributes:
            self._drop(f"the attribute {shown(name)} of {shown(path)}")
        if record.kind == "hard link":
            return self._hard_link(path, record.target)
        if record.kind == "link":
            return layer.link(path, outside.target(path, record.target))
        if record.mode & 0o6000 and record.kind == "file":
            self._drop(f"the set-id bits ({record.mode:04o}) of {shown(path)}")
        if record.kind == "directory":
            return layer.directory(path, record.mode)
        if path.endswith(".pyc") and record.size > _PYC:
            raise unsafe(f"{shown(path)} is too large for compiled Python")
        return layer.file(path, record.data, record.mode, self._contents)

    def _hard_link(self, path: str, name: str) -> Row | None:
        """Contents are shared anyway: one more row with the same digest."""
        target = outside.path(name)
        if target not in self.found:
            raise unsafe(f"{shown(path)} is a hard link to {shown(name)}, which the archive does not hold before it")
        row = self.found[target]
        if row is None:
            self._drop(f"the hard link {shown(path)} to {shown(target)}, which was dropped")
            return None
        if row.kind == "link":
            return layer.link(path, outside.target(path, row.target))
        if row.kind != "file":
            raise unsafe(f"{shown(path)} is a hard link to {shown(name)}, which is a {row.kind}")
        return Row(path, "file", row.mode, row.size, row.sha256)

    def _drop(self, what: str) -> None:
        self.dropped += 1
        if self.dropped <= _LINES:
            self.say(f"dropped {what}")
