"""Entries as a tar: PAX headers (pax(1)); holes as GNU tar's sparse format 1.0; attributes as GNU tar, star and bsdtar
have them. Python's tarfile makes the headers; it writes neither holes nor attributes of itself."""

from __future__ import annotations

import hashlib
import os
import tarfile
import time

from ...image.sandbox.child import write_all
from .entry import Entry

BLOCK = 1 << 20
_KINDS = {
    "directory": tarfile.DIRTYPE, "file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE,
    "whiteout": tarfile.CHRTYPE,
}  # fmt: skip
ATTRIBUTE = "SCHILY.xattr."


class Tar:
    """Writes to the descriptor ``output``. digest: of all that was written (SHA-256)."""

    def __init__(self, output: int, own: tuple[int, int], user: str) -> None:
        self._output, self._own, self._user = output, own, user
        self._waiting: list[bytes] = []
        self._size = 0
        self.digest = hashlib.sha256()

    def add(self, entry: Entry, fd: int | None) -> None:
        """An entry, and what the file ``fd`` holds: as many bytes as the header says, however it grows or shrinks
        meanwhile."""
        info, before = _info(entry), b""
        if entry.uid == self._own[0]:
            info.uname = info.gname = self._user
        if entry.segments is not None:
            before = _sparse(info, entry)
        self._write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + before)
        if fd is not None:
            whole = [(0, entry.size)] if entry.segments is None else entry.segments
            for offset, size in whole:
                self._copy(fd, offset, size)
            self._write(bytes(-entry.stored % 512))

    def text(self, name: str, data: bytes) -> None:
        """A small file of ours, with a header that needs no other before it."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
        self._write(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))

    def end(self) -> None:
        self._write(bytes(1024))
        self.flush()

    def _copy(self, fd: int, offset: int, size: int) -> None:
        while size:
            data = os.pread(fd, min(size, BLOCK), offset) or bytes(min(size, BLOCK))
            self._write(data)
            offset += len(data)
            size -= len(data)

    def _write(self, data: bytes) -> None:
        self.digest.update(data)
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= BLOCK:
            self.flush()

    def flush(self) -> None:
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting, self._size = [], 0
        write_all(self._output, data)


def _info(entry: Entry) -> tarfile.TarInfo:
    info = tarfile.TarInfo(entry.name)
    info.type, info.mode, info.uid, info.gid = _KINDS[entry.kind], entry.mode, entry.uid, entry.gid
    info.size, info.linkname = entry.stored, entry.target
    seconds, rest = divmod(entry.mtime, 10**9)
    info.mtime = seconds
    headers: dict[str, str] = {}
    if rest:
        headers["mtime"] = f"{seconds}.{rest:09}" if seconds >= 0 else _negative(entry.mtime)
    for name, value in entry.attributes.items():
        # as GNU tar does: a "=" would end the keyword
        key = ATTRIBUTE + name.replace("%", "%25").replace("=", "%3D")
        headers[key] = value.decode("utf-8", "surrogateescape")
    info.pax_headers = headers
    return info


def _negative(mtime: int) -> str:
    seconds, rest = divmod(-mtime, 10**9)
    return f"-{seconds}.{rest:09}"


def _sparse(info: tarfile.TarInfo, entry: Entry) -> bytes:
    """Make ``info`` that of a file with holes; return the map that comes before the data (GNU tar, "PAX Format, Version
    1.0")."""
    parts = list(entry.segments or [])
    if not parts or sum(parts[-1]) < entry.size:
        parts.append((entry.size, 0))  # GNU tar makes the file as long as the map is
    numbers = [len(parts), *(number for part in parts for number in part)]
    table = "".join(f"{number}\n" for number in numbers).encode("ascii")
    table += bytes(-len(table) % 512)
    info.name = "GNUSparseFile.0/file"  # one that needs no header of its own: that would count after GNU.sparse.name
    info.size += len(table)
    info.pax_headers = {
        **info.pax_headers, "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": entry.name,
        "GNU.sparse.realsize": str(entry.size),
    }  # fmt: skip
    return table
