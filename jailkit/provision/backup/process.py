"""The processes of a backup, seen from root's side: what they get, and what they say.

Each has the ids of one jail or of none, a root that holds the directories it works on or nothing, and descriptors."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import resource
import select
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ...errors import JailkitError
from ...image.foreign import unpack
from ...image.foreign.tarball import Limits
from ...image.sandbox import confine
from ...image.sandbox.child import write_all
from ...image.sandbox.confine import Confined, Tenant, Terms
from ...jail import runtime
from ...jail.recipe import RANGE
from ...kernel import mount
from ...paths import Paths
from .. import layout
from ..state import Row
from . import entry, fill, marks, pack, parse, read, tarout
from .judge import Shape

_CHOWN, _DAC_OVERRIDE, _DAC_READ_SEARCH, _FOWNER, _FSETID = 0, 1, 2, 3, 4
_READS = frozenset({_DAC_READ_SEARCH})
_FILLS = frozenset({_CHOWN, _DAC_OVERRIDE, _DAC_READ_SEARCH, _FOWNER, _FSETID})
_SHUT = mount.NOSUID | mount.NODEV | mount.NOEXEC
_MEMORY = 4 << 30
_DEPTH = 8192
_SO_SNDBUFFORCE = 32
_BLOCK = 1 << 20
Moved = Callable[[int], None]
"""Called with the number of bytes that have gone through so far."""


@dataclass(frozen=True)
class Parts:
    """What a process sees of a jail: open directories. layer: the upper directory, where there is one."""

    home: int
    layer: int | None = None


@dataclass
class Ends:
    """Descriptors and processes, closed and ended together."""

    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    fds: set[int] = field(default_factory=set)

    def pipe(self) -> tuple[int, int]:
        out, into = os.pipe2(os.O_CLOEXEC)
        self.own(out, into)
        with contextlib.suppress(OSError):  # a larger one is only faster
            fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _BLOCK)
        return out, into

    def own(self, *fds: int) -> None:
        for fd in fds:
            self.fds.add(fd)
            self.stack.callback(self.close, fd)

    def close(self, fd: int) -> None:
        """Once: a number that was closed may be another's by now."""
        if fd in self.fds:
            self.fds.discard(fd)
            os.close(fd)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 << 20)
            self.stack.enter_context(end)
        return ours, theirs

    def start(self, work: Callable[[], int], streams: tuple[int, ...], place: str, terms: Terms) -> Confined:
        made = confine.start(work, streams, place, terms)
        self.stack.callback(made.kill)
        return made


@contextlib.contextmanager
def ends_of() -> Iterator[Ends]:
    made = Ends()
    with made.stack:
        yield made


def place(paths: Paths) -> str:
    """A directory of root's to mount on; who does so has a mount namespace of its own."""
    layout.ensure(paths)
    runtime.directory(paths.mount_point, 0o700)
    return paths.mount_point


def _nobody() -> Terms:
    return Terms(limits={
        resource.RLIMIT_AS: unpack.own_memory() + unpack.MEMORY, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 16,
    })  # fmt: skip


def tenant(ends: Ends, row: Row, parts: Parts, writes: bool) -> Terms:
    """Root as a fresh tmpfs with ``/home`` and, where there is one, ``/layer``: detached copies of these mounts,
    without what is mounted below them."""
    attributes = _SHUT | (0 if writes else mount.RDONLY)
    shown = [("home", parts.home)] + ([("layer", parts.layer)] if parts.layer is not None else [])
    trees = [(name, mount.clone(fd, attributes)) for name, fd in shown]
    ends.own(*(tree for _, tree in trees))

    def stage(root: str) -> None:
        with contextlib.suppress(ValueError):  # one descriptor a level of the tree; else what we have ourselves
            resource.setrlimit(resource.RLIMIT_NOFILE, (_DEPTH, _DEPTH))
        for name, tree in trees:
            os.mkdir(f"{root}/{name}", 0o755)
            mount.attach(tree, f"{root}/{name}")

    limits = {resource.RLIMIT_AS: unpack.own_memory() + _MEMORY, resource.RLIMIT_CORE: 0}
    if not writes:
        limits[resource.RLIMIT_FSIZE] = 0
    ids = Tenant(row.uid, row.gid, row.base, RANGE, _FILLS if writes else _READS)
    return Terms(stage=stage, limits=limits, tenant=ids)


# -- reading


@dataclass(frozen=True)
class Shown:
    """How a tree appears in an archive. name: of the home. manifest: of a whole backup, which begins with it."""

    name: str
    manifest: bytes | None = None


@dataclass(frozen=True)
class Written:
    """bytes, sha256: of the archive. names, files, held: how many names, plain files, and bytes of them are in it.
    skipped: how many things are not, ``left_out`` says the first hundred."""

    bytes: int
    sha256: str
    names: int
    files: int
    held: int
    skipped: int
    left_out: tuple[str, ...]


def write(
    paths: Paths, row: Row, parts: Parts, output: int, packer: str, shown: Shown, moved: Moved = lambda count: None
) -> Written:  # fmt: skip
    """Write a tar of ``parts`` to the descriptor ``output``. packer: of pack.PACKERS, or "".

    Raise ``io.archive``, ``host.confine``, OSError of ``output``."""
    where = place(paths)
    warm_up()
    with ends_of() as ends:
        tar, tar_in = ends.pipe()
        report, report_in = ends.pipe()
        ours, theirs = ends.pair()
        reader = ends.start(
            lambda: _read_tar((row.uid, row.gid), row.name, shown, parts.layer is not None),
            (theirs.fileno(), tar_in, report_in), where, tenant(ends, row, parts, writes=False),
        )  # fmt: skip
        theirs.close()
        ends.close(tar_in)
        ends.close(report_in)
        packing = None
        if packer:
            packed, packed_in = ends.pipe()
            null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
            ends.own(null)
            packing = ends.start(lambda: pack.main(packer), (tar, packed_in, null), where, _nobody())
            ends.close(packed_in)
            ends.close(tar)
            tar = packed
        digest, size, answer = hashlib.sha256(), 0, bytearray()

        def take(data: bytes) -> None:
            nonlocal size
            digest.update(data)
            size += len(data)
            write_all(output, data)
            moved(size)

        serve({tar: take, report: answer.extend}, [ours])
        found = answered(answer, reader, f"cannot archive what is {row.name}'s")
        if packing is not None and packing.wait():
            raise JailkitError("io.archive", f"packing ended with status {packing.wait()}", "try again")
        return Written(size, digest.hexdigest(), found["names"], found["files"], found["bytes"], found["skipped"],
                       tuple(found["left_out"]))  # fmt: skip


def answered(data: bytes | bytearray, process: Confined, what: str) -> dict[str, Any]:
    """What a process reported. Raise what it met."""
    try:
        found: dict[str, Any] = json.loads(data)
    except ValueError:
        text = f"{what}: the process ended with status {process.wait()}"
        raise JailkitError("io.archive", text, "try again") from None
    if "errno" in found:
        text = os.strerror(int(found["errno"])) + (f": {found['text']}" if found.get("text") else "")
        if found["errno"] in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise OSError(int(found["errno"]), text)
        raise JailkitError("io.archive", f"{what}: {text}", "try again; jailctl doctor")
    if "code" in found:
        raise JailkitError(str(found["code"]), str(found["text"]), str(found["hint"]))
    if "ended" in found:
        raise JailkitError("io.archive", f"{what}: {found['ended']}", "try again")
    return found


def _read_tar(own: tuple[int, int], user: str, shown: Shown, layer: bool) -> int:
    """The confined process that reads for an archive: 0 the socket of marks.py, 1 the tar, 2 the report."""

    def work() -> dict[str, Any]:
        tar = tarout.Tar(1, own, user)
        walk = read.Walk(own, tar.add, marks.client(0))
        if shown.manifest is not None:
            tar.text(parse.MANIFEST, shown.manifest)
        walk.tree("/home", shown.name)
        if layer:
            walk.tree("/layer", "layer", layer=True)
        found = {"names": walk.names, "files": walk.files, "bytes": walk.bytes, "skipped": walk.skipped,
                 "left_out": walk.left_out}  # fmt: skip
        if shown.manifest is not None:
            sums = {**found, "sha256": tar.digest.hexdigest()}
            tar.text(parse.SUMS, json.dumps(sums, indent=1).encode())
        tar.end()
        return found

    return reported(work)


def reported(work: Callable[[], dict[str, Any]]) -> int:
    try:
        answer = work()
    except OSError as error:
        answer = {"errno": error.errno or errno.EIO, "text": os.fsdecode(error.filename or b"")[-300:]}
    except (EOFError, ValueError, MemoryError) as error:
        answer = {"ended": f"{type(error).__name__} {error}"[:300]}
    os.write(2, json.dumps(answer).encode())
    return 0


def warm_up() -> None:
    """Load every module, codec and library that the processes will use: afterwards there is no file to load from."""
    parse.warm_up()
    pack.warm_up()
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    try:
        tar = tarout.Tar(null, (1, 1), "user")
        name, extra = "a/n\u00e4me\udcff" + "x" * 300, {"user.x": b"\xff"}
        odd = entry.Entry("file", name, mtime=-1, size=9, segments=[], attributes=extra)
        tar.add(entry.unpack(odd.pack()), None)
        tar.text("a", b"")
        tar.end()
    finally:
        os.close(null)
    str(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


# -- reading an archive


@contextlib.contextmanager
def parsed(paths: Paths, archive: int, limits: Limits, data: bool) -> Iterator[tuple[int, Callable[[], None]]]:
    """A process that reads the archive behind a descriptor, from its beginning; what it says comes from the descriptor
    given (see parse.py). The function given with it raises what was wrong with the archive, once that has ended."""
    parse.warm_up()
    where = place(paths)
    os.lseek(archive, 0, os.SEEK_SET)
    with ends_of() as ends:
        out, into = ends.pipe()
        null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        ends.own(null)
        process = ends.start(lambda: parse.main(limits, data), (archive, into, null), where, _nobody())
        ends.close(into)

        def ended() -> None:
            if process.wait():
                raise unpack.error(process.wait(), limits)

        yield out, ended


# -- filling


def fill_from_archive(
    paths: Paths, row: Row, parts: Parts, archive: int, limits: Limits, owner: fill.Owner, shape: Shape,
    moved: Moved = lambda count: None,
) -> dict[str, Any]:  # fmt: skip
    """Unpack the archive into the directories ``parts``, which are new. moved: told how much of the file was read.
    Return ``{"names", "files", "bytes", "dropped"}``. Raise ``unsafe.archive``, ``invalid.archive``, ``io.archive``,
    OSError."""
    warm_up()
    with parsed(paths, archive, limits, data=True) as (source, ended), ends_of() as ends:
        filler, out, marked = _filler(paths, ends, row, parts, owner, shape, source, "pipe")
        # the process that reads the file has our own open file, and with it the place in it
        answer = bytearray()
        serve({out: answer.extend}, [marked], lambda: moved(os.lseek(archive, 0, os.SEEK_CUR)))
        if not answer or b'"ended"' in answer:
            ended()  # what it waited for did not come
        return answered(answer, filler, f"cannot unpack for {row.name}")


def fill_from_jail(
    paths: Paths, source: Row, source_parts: Parts, row: Row, parts: Parts, shape: Shape
) -> dict[str, Any]:
    """Copy what is ``source``'s into the directories ``parts``, which are new; blocks are shared where the file system
    can. Return ``{"names", "files", "bytes", "cloned", "left_out"}``; raise as :func:`fill_from_archive`."""
    warm_up()
    where = place(paths)
    with ends_of() as ends:
        ours, theirs = ends.pair()
        report, report_in = ends.pipe()
        asked, asks = ends.pair()
        layer = source_parts.layer is not None and parts.layer is not None
        seen = Parts(source_parts.home, source_parts.layer if layer else None)
        reader = ends.start(
            lambda: _send((source.uid, source.gid), layer), (asks.fileno(), ours.fileno(), report_in),
            where, tenant(ends, source, seen, writes=False),
        )  # fmt: skip
        asks.close()
        ours.close()
        ends.close(report_in)
        owner = fill.Owner((source.uid, source.gid), (row.uid, row.gid))
        filler, out, marked = _filler(paths, ends, row, parts, owner, shape, theirs.fileno(), "socket")
        theirs.close()
        filled, read_ = bytearray(), bytearray()
        serve({out: filled.extend, report: read_.extend}, [marked, asked])
        left = answered(read_, reader, f"cannot read what is {source.name}'s")
        found = answered(filled, filler, f"cannot copy for {row.name}")
        return {**found, "left_out": left["left_out"], "skipped": left["skipped"]}


def _send(own: tuple[int, int], layer: bool) -> int:
    """The confined process that reads for a copy: 0 the socket of marks.py, 1 that of entries, 2 the report."""

    def work() -> dict[str, Any]:
        sender = fill.Sender(1)
        walk = read.Walk(own, sender.add, marks.client(0))
        walk.tree("/home", "home")
        if layer:
            walk.tree("/layer", "layer", layer=True)
        sender.end()
        return {"skipped": walk.skipped, "left_out": walk.left_out}

    return reported(work)


def _filler(
    paths: Paths, ends: Ends, row: Row, parts: Parts, owner: fill.Owner, shape: Shape, source: int, kind: str
) -> tuple[Confined, int, socket.socket]:
    out, into = ends.pipe()
    ours, theirs = ends.pair()
    layer = parts.layer is not None
    process = ends.start(
        lambda: fill.main(owner, shape, layer, kind), (source, into, theirs.fileno()), place(paths),
        tenant(ends, row, parts, writes=True),
    )  # fmt: skip
    theirs.close()
    ends.close(into)
    return process, out, ours


def serve(
    takes: dict[int, Callable[[bytes], None]], sockets: list[socket.socket], tick: Callable[[], None] = lambda: None
) -> None:  # fmt: skip
    """Give what comes from each descriptor to its function until all have ended, and answer who asks meanwhile. tick:
    called now and then."""
    poll = select.poll()
    asking = {sock.fileno(): sock for sock in sockets}
    for fd in (*takes, *asking):
        poll.register(fd, select.POLLIN)
    open_ = set(takes)
    while open_:
        ready = poll.poll(300)
        if not ready:
            tick()
        for fd, _ in ready:
            if fd in asking:
                if not marks.serve(asking[fd]):
                    poll.unregister(fd)
                continue
            data = os.read(fd, _BLOCK)
            if data:
                takes[fd](data)
            else:
                poll.unregister(fd)
                open_.discard(fd)
