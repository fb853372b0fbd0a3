"""Reading the tar of a backup: what is done in the process that trusts nothing and is not trusted (unpack.py says why).

Descriptor 0 is the archive. Descriptor 1 takes an entry for each name: four bytes (big-endian) with its length, the
entry, and, if they are asked for, the bytes of a file that are no hole; four zero bytes at the end."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tarfile
from typing import BinaryIO, cast

from ...image.foreign import tarball
from ...image.foreign.tarball import BLOCK, Limits, Refused
from .entry import ATTRIBUTES_MOST, Entry
from .tarout import ATTRIBUTE

MANIFEST, SUMS = "manifest.json", "sums.json"
TEXT_MOST = 4 << 20
"""Bytes of one of these two."""
_KINDS = {
    tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link", tarfile.LNKTYPE: "hard link", tarfile.FIFOTYPE: "fifo",
    tarfile.BLKTYPE: "device",
}  # fmt: skip
_LABEL = b"V"
_TIMES = (-(1 << 33), 1 << 36)
"""Seconds: what a file system may take."""


class _Hashed(tarball.Source):
    """digest: of what was read so far."""

    def __init__(self, raw: BinaryIO, limits: Limits) -> None:
        super().__init__(raw, limits)
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = super().read(size)
        self.digest.update(data)
        return data


class Reader:
    """Writes what is in ``source`` to ``output``. data: with the bytes of files."""

    def __init__(self, source: _Hashed, output: BinaryIO, limits: Limits, data: bool) -> None:
        self._source, self._output, self._limits, self._data = source, output, limits, data
        self._names = self._bytes = 0

    def run(self) -> None:
        archive = tarball.opened(self._source)
        digest = ""
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # memory does not grow with the archive
            if info.type != _LABEL:
                self._entry(archive, info, digest)
            self._source.seek(archive.offset)
            digest = self._source.digest.hexdigest()
        self._source.rest_is_empty()
        self._output.write(struct.pack(">I", 0))
        self._output.flush()

    def _entry(self, archive: tarfile.TarFile, info: tarfile.TarInfo, digest: str) -> None:
        made = _made(info)
        made.digest = digest if made.name == SUMS else ""
        self._names += 1
        self._bytes += made.stored
        if self._names > self._limits.names:
            raise Refused("names")
        if self._bytes > self._limits.bytes:
            raise Refused("bytes")
        line = made.pack()
        self._output.write(struct.pack(">I", len(line)) + line)
        left = made.stored
        shown = self._data or (made.kind == "file" and made.name in (MANIFEST, SUMS) and left <= TEXT_MOST)
        while left:
            data = self._source.read(min(left, BLOCK))
            if shown:
                self._output.write(data)
            left -= len(data)
        if info.sparse is not None:  # tarfile takes the size that the file will have for that of its data
            archive.offset = -(-self._source.tell() // 512) * 512


def _made(info: tarfile.TarInfo) -> Entry:
    kind = "file" if info.isreg() else _KINDS.get(info.type)
    if info.type == tarfile.CHRTYPE:
        kind = "device" if info.devmajor or info.devminor else "whiteout"
    if kind is None:
        raise Refused("kind")
    size = info.size if kind == "file" else 0
    parts = cast("list[tuple[int, int]] | None", info.sparse) if kind == "file" else None
    # tarfile takes the unused places in an old GNU header for parts
    segments = None if parts is None else [part for part in parts if part[1]]
    end = 0
    for offset, length in segments or ():
        if length < 0 or offset < end or offset + length > size:
            raise Refused("damaged")
        end = offset + length
    if size < 0 or min(info.uid, info.gid) < 0:
        raise Refused("damaged")
    target = info.linkname if kind in ("link", "hard link") else ""
    return Entry(kind, info.name, info.mode & 0o7777, int(info.uid), int(info.gid), _mtime(info), size, target,
                 _attributes(info), segments)  # fmt: skip


def _mtime(info: tarfile.TarInfo) -> int:
    """In nanoseconds: tarfile would make it a float, which has no room for them."""
    whole, _, rest = str(info.pax_headers.get("mtime", int(info.mtime))).partition(".")
    seconds = int(whole or "0")
    if not _TIMES[0] < seconds < _TIMES[1] or (rest and not rest.isascii()) or (rest and not rest.isdigit()):
        raise Refused("damaged")
    part = int(rest[:9].ljust(9, "0")) if rest else 0
    return seconds * 10**9 + (-part if whole.startswith("-") else part)


def _attributes(info: tarfile.TarInfo) -> dict[str, bytes]:
    found = {
        key.removeprefix(ATTRIBUTE).replace("%3D", "=").replace("%25", "%"): value.encode("utf-8", "surrogateescape")
        for key, value in info.pax_headers.items()
        if key.startswith(ATTRIBUTE)
    }
    if sum(len(key) + len(value) for key, value in found.items()) > ATTRIBUTES_MOST:
        raise Refused("damaged")
    return found


def main(limits: Limits, data: bool) -> int:
    """The confined process."""
    output = io.BufferedWriter(io.FileIO(1, "wb", closefd=False), 1 << 20)
    source = io.FileIO(0, "rb", closefd=False)
    status = tarball.guarded(lambda: Reader(_Hashed(source, limits), output, limits, data).run())
    if status:
        os._exit(status)  # what is in the buffer is of no use
    return 0


def warm_up() -> None:
    """Load all that :func:`main` will import."""
    tarball.warm_up()
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as made:
        info = tarfile.TarInfo("n\udce4me" + "x" * 300)
        info.pax_headers = {"SCHILY.xattr.user.a": "\udcff"}
        made.addfile(info)
    plain.seek(0)
    limits = Limits()
    tarball.guarded(lambda: Reader(_Hashed(plain, limits), io.BytesIO(), limits, True).run())
