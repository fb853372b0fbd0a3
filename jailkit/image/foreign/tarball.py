"""Reading a tar file: what is done in the confined process (unpack.py), which trusts nothing and is not trusted.

Descriptor 0 is the archive: plain, gzip, bzip2, xz or zstd, several streams one after the other too. Descriptor 1 takes
what is in it: for each name four bytes (big-endian) with the length of a header, the header (JSON, ASCII), and the
bytes of a file, exactly as many as its header says; four zero bytes at the end. What is wrong is said by the exit
status alone.

Python's tarfile reads the headers. It is lenient where an unpacker must not be: it takes a broken header, or an end
without an end mark, for the end of the archive. Here these are errors, and so is whatever follows the end."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import zstandard

BLOCK = 1 << 18
RATIO = 250
"""How many times larger than its file an archive may be, beyond the first :data:`FREE` bytes: xz reaches 7,000 with
zeros, programs and texts stay below 20."""
FREE = 64 << 20

STATUS = {
    name: 10 + number
    for number, name in enumerate(
        ("truncated", "damaged", "no-tar", "trailing", "bytes", "names", "ratio", "memory", "kind")
    )
}  # fmt: skip
"""Exit status for each reason."""

_MAGIC = 6
_ZSTD = b"\x28\xb5\x2f\xfd"
_WINDOW = 128 << 20
_LINE = 32 << 10


class Refused(Exception):
    """reason: a key of :data:`STATUS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """bytes: of the unpacked archive, and of all its files together. names: how many. ratio: see :data:`RATIO`; 0: any.
    """

    bytes: int = 16 << 30
    names: int = 1_000_000
    ratio: int = RATIO


class _Gzip:
    """zlib's decompressor with the interface of those of bz2 and lzma."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(31)  # 15 + 16: a gzip header and trailer, whose checksum is compared
        self.needs_input = True

    eof = property(lambda self: self._zlib.eof)
    unused_data = property(lambda self: self._zlib.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = not self._zlib.unconsumed_tail and len(out) < max_length
        return out


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=256 << 20)


class _Rest:
    """What a zstd reader reads from: ``head``, which was taken already, and all that follows. (The reader gives no more
    than it is asked for, unlike zstandard's other interfaces.)"""

    def __init__(self, head: bytes, more: Callable[[int], bytes]) -> None:
        self._head, self._more = head, more

    def read(self, size: int) -> bytes:
        data, self._head = self._head or self._more(1), b""
        return data


def _zstd(head: bytes, more: Callable[[int], bytes]) -> Any:
    # a window is what it costs in memory: the program zstd takes one of 128 MiB without being asked
    engine = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    rest = cast("BinaryIO", _Rest(head, more))
    return engine.stream_reader(rest, read_size=BLOCK, read_across_frames=True)


_ENGINES: dict[bytes, Callable[[], Any]] = {b"\x1f\x8b": _Gzip, b"BZh": bz2.BZ2Decompressor, b"\xfd7zXZ\0": _xz}


def _engine(head: bytes) -> Any:
    """A decompressor for what begins with ``head``, or None."""
    return next((make() for magic, make in _ENGINES.items() if head.startswith(magic)), None)


class Source:
    """The bytes of the archive, unpacked; for tarfile a file that can be read forward. A read that meets the end is
    ``truncated``: a whole archive has an end mark, so nobody ever gets there."""

    def __init__(self, raw: BinaryIO, limits: Limits) -> None:
        self._raw, self._limit, self._ratio = raw, limits.bytes, limits.ratio
        self._taken = self._at = self._used = 0
        self._buffer = b""
        head = self._fill(_MAGIC)
        self._zstd = _zstd(head, self._fill) if head.startswith(_ZSTD) else None
        self._engine = _engine(head)
        self._packed = self._engine is not None or self._zstd is not None
        self._input = head if self._packed else b""
        self._buffer = b"" if self._packed else head

    def _fill(self, size: int) -> bytes:
        """At least ``size`` bytes of the file, if it has as many."""
        data = b""
        while len(data) < size and (more := self._raw.read(BLOCK)):
            data += more
        self._taken += len(data)
        return data

    def _more(self) -> bytes:
        """The next bytes, b"" at the end."""
        if self._zstd is not None:
            return bytes(self._zstd.read(BLOCK))
        if not self._packed:
            return self._fill(1)
        while True:
            if self._engine.eof and not self._next_stream():
                return b""
            if self._engine.needs_input and not self._input:
                self._input = self._fill(1)
                if not self._input:
                    raise Refused("truncated")
            data = bytes(self._engine.decompress(self._input, BLOCK))
            self._input = b""
            if data:
                return data

    def _next_stream(self) -> bool:
        """Begin with the stream that follows the one which has ended. Zeros after the last are padding."""
        rest = self._engine.unused_data
        while len(rest) < _MAGIC and (more := self._fill(1)):
            rest += more
        engine = _engine(rest)
        if engine is not None:
            self._engine, self._input = engine, rest
            return True
        while rest:
            if rest.strip(b"\0"):
                raise Refused("trailing")
            rest = self._fill(1)
        return False

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        if len(self._buffer) - self._used < size:
            parts = [self._buffer[self._used :]]
            have = len(parts[0])
            while have < size:
                more = self._more()
                if not more:
                    raise Refused("truncated")
                parts.append(more)
                have += len(more)
                self._check(self._at + have)
            self._buffer, self._used = b"".join(parts), 0
        data = self._buffer[self._used : self._used + size]
        self._used += size
        self._at += size
        return data

    def _check(self, unpacked: int) -> None:
        if unpacked > self._limit:
            raise Refused("bytes")
        if self._ratio and self._packed and unpacked > FREE and unpacked > self._ratio * self._taken:
            raise Refused("ratio")

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> None:
        """Forward. A negative size in a header (CVE-2025-8194) would lead back."""
        if position < self._at:
            raise Refused("damaged")
        while self._at < position:
            self.read(min(BLOCK, position - self._at))

    def rest_is_empty(self) -> None:
        """What follows the end mark may be zeros, as tar fills its last record; anything else is one more archive, or
        something that another program would find and this one not."""
        data = self._buffer[self._used :] or self._more()
        while data:
            if data.strip(b"\0"):
                raise Refused("trailing")
            self._at += len(data)
            self._check(self._at)
            data = self._more()


class _Header(tarfile.TarInfo):
    """tarfile ends quietly at a header that is not one; this says so."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Header:
        at = tarfile_.fileobj.tell() if tarfile_.fileobj is not None else 0
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            first = at == 0 and isinstance(error, tarfile.InvalidHeaderError)  # type: ignore[attr-defined]
            raise Refused("no-tar" if first else "damaged") from None


def opened(source: Source) -> tarfile.TarFile:
    """Python's reader of the tar that ``source`` is."""
    return tarfile.TarFile(
        fileobj=source, tarinfo=_Header, encoding="utf-8", errors="surrogateescape"  # type: ignore[arg-type]
    )  # fmt: skip


_KINDS = {
    tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link", tarfile.LNKTYPE: "hard link", tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "device", tarfile.BLKTYPE: "device",
}  # fmt: skip
_VOLUME_LABEL = b"V"
_ATTRIBUTES = ("SCHILY.xattr.", "SCHILY.acl.", "LIBARCHIVE.xattr.", "RHT.security.selinux")


class Reader:
    """Writes what is in ``source`` to ``output``."""

    def __init__(self, source: Source, output: BinaryIO, limits: Limits) -> None:
        self._source, self._output, self._limits = source, output, limits
        self._bytes = self._names = 0

    def run(self) -> None:
        archive = opened(self._source)
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # memory does not grow with the archive
            if info.type != _VOLUME_LABEL:
                self._entry(archive, info)
        self._source.rest_is_empty()
        self._output.write(struct.pack(">I", 0))
        self._output.flush()

    def _entry(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        kind = "file" if info.isreg() else _KINDS.get(info.type)
        if kind is None:
            raise Refused("kind")
        size = info.size if kind == "file" else 0
        self._names += 1
        self._bytes += size
        if self._names > self._limits.names:
            raise Refused("names")
        if size < 0 or self._bytes > self._limits.bytes:
            raise Refused("bytes" if size > 0 else "damaged")
        extras = sorted(key[:100] for key in info.pax_headers if key.startswith(_ATTRIBUTES))[:8]
        header = {
            "kind": kind, "name": info.name, "mode": info.mode & 0o7777, "size": size,
            "target": info.linkname if kind in ("link", "hard link") else "", "attributes": extras,
        }  # fmt: skip
        line = json.dumps(header).encode("ascii")
        if len(line) > _LINE:
            raise Refused("damaged")
        self._output.write(struct.pack(">I", len(line)) + line)
        if kind == "file":
            self._data(archive, info)

    def _data(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        left = info.size
        if info.sparse is None:
            while left:
                data = self._source.read(min(left, BLOCK))
                self._output.write(data)
                left -= len(data)
            return
        end = 0
        for offset, size in cast("list[tuple[int, int]]", info.sparse):  # typeshed has bytes
            if size == 0:  # tarfile takes the unused places in an old GNU header for parts
                continue
            if size < 0 or offset < end or offset + size > info.size:
                raise Refused("damaged")
            end = offset + size
        with archive.fileobject(archive, info) as file:
            while left:
                data = file.read(min(left, BLOCK))
                if not data:
                    raise Refused("damaged")
                self._output.write(data)
                left -= len(data)


def read(source: BinaryIO, output: BinaryIO, limits: Limits) -> int:
    """Return the exit status."""
    return guarded(lambda: Reader(Source(source, limits), output, limits).run())


def guarded(run: Callable[[], None]) -> int:
    """The exit status of ``run``. What a broken archive makes the libraries raise is one of a dozen exceptions."""
    try:
        run()
    except Refused as error:
        return STATUS[error.reason]
    except MemoryError:
        return STATUS["memory"]
    except lzma.LZMAError as error:
        return STATUS["memory" if "emory" in str(error) else "damaged"]
    except BrokenPipeError:
        return 1
    except Exception:  # noqa: BLE001
        return STATUS["damaged"]
    return 0


def main(limits: Limits) -> int:
    """The confined process."""
    output = io.BufferedWriter(io.FileIO(1, "wb", closefd=False), 1 << 20)
    status = read(io.FileIO(0, "rb", closefd=False), output, limits)
    if status:
        os._exit(status)  # what is in the buffer is of no use
    return 0


def warm_up() -> None:
    """Load all that :func:`main` will import: afterwards there is no file to load from."""
    plain = io.BytesIO()
    for format_ in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(fileobj=plain, mode="w", format=format_) as made:
            info = tarfile.TarInfo("n\u00e4me" + "x" * 300)
            info.mtime = 1.5 if format_ == tarfile.PAX_FORMAT else 1
            made.addfile(info)
        gzip = zlib.compress(plain.getvalue(), wbits=31)
        read(io.BytesIO(gzip), io.BytesIO(), Limits())
        for pack in (bytes, bz2.compress, lzma.compress, zstandard.compress):
            read(io.BytesIO(pack(plain.getvalue())), io.BytesIO(), Limits())
        plain = io.BytesIO()
