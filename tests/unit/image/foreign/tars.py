"""Tar files for tests: honest ones, and ones that nobody's tar would write."""

from __future__ import annotations

import io
import os
import struct
import tarfile
from pathlib import Path

from jailkit.image.foreign import tarball, unpack
from jailkit.image.layer import Row
from tests.unit.image.memory import Memory

LIMITS = tarball.Limits(bytes=1 << 30, names=200_000)


def info(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644, pax: dict[str, str] | None = None
) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, target, mode
    made.pax_headers = pax or {}
    return made


def directory(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return info(name, tarfile.DIRTYPE, mode=mode), b""


def file(
    name: str, data: bytes = b"x", mode: int = 0o644, pax: dict[str, str] | None = None
) -> tuple[tarfile.TarInfo, bytes]:
    return info(name, mode=mode, pax=pax), data


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return info(name, tarfile.SYMTYPE, target, 0o777), b""


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return info(name, tarfile.LNKTYPE, target), b""


def node(name: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return info(name, kind, mode=0o666), b""


def tar(*entries: tuple[tarfile.TarInfo, bytes], format_: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of ``entries``, in their order. Names with surrogates become the bytes that these stand for."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format_, errors="surrogateescape") as archive:
        for header, data in entries:
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return made.getvalue()


def raw_header(name: bytes, size: bytes, kind: bytes = b"0", link_name: bytes = b"", tail: bytes = b"") -> bytes:
    """A header block with a right checksum and whatever else (tar(5), struct posix_header). size: its 12 bytes;
    tail: what stands from byte 345 on."""
    block = bytearray(512)
    magic = b"ustar  \0" if kind in b"SLKVM" else b"ustar\00000"
    fields = (name, b"0000644", b"0000000", b"0000000", size, b"00000000000", b" " * 8, kind, link_name, magic)
    struct.pack_into("100s8s8s8s12s12s8s1s100s8s", block, 0, *fields)
    block[345 : 345 + len(tail)] = tail
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def unpacked(data: bytes, place: Path, limits: tarball.Limits = LIMITS) -> tuple[list[Row], Memory, list[str]]:
    """Rows, contents and log of the archive ``data``. place: an existing directory of the test's own."""
    path = place / "archive.tar"
    path.write_bytes(data)
    return unpacked_file(path, place, limits)


def unpacked_file(path: Path, place: Path, limits: tarball.Limits = LIMITS) -> tuple[list[Row], Memory, list[str]]:
    scratch = place / "scratch"
    scratch.mkdir(exist_ok=True)
    kept, log = Memory(), list[str]()
    fd = os.open(path, os.O_RDONLY)
    try:
        rows = unpack.rows(fd, kept, str(scratch), limits, path.name, log.append)
    finally:
        os.close(fd)
    assert list(scratch.iterdir()) == []
    return rows, kept, log


def described(rows: list[Row]) -> dict[str, str]:
    """"0644 5", "-> target", "directory 0755" by path."""
    text = {"file": lambda row: f"{row.mode:04o} {row.size}", "link": lambda row: f"-> {row.target}",
            "directory": lambda row: f"directory {row.mode:04o}"}  # fmt: skip
    return {row.path: text[row.kind](row) for row in rows}
