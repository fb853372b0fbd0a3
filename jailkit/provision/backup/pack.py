"""Packing a stream: what is done in a process that has nothing but descriptor 0, which it reads, and 1, which it writes
(image/sandbox/confine.py)."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from typing import Any

import zstandard

from ...image.sandbox.child import write_all

BLOCK = 1 << 20
_LEVEL = 3
"""That of the program zstd."""

PACKERS: dict[str, Callable[[], Any]] = {
    "zstd": lambda: zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj(),
    "gzip": lambda: zlib.compressobj(6, wbits=31),
}


def main(kind: str) -> int:
    """The confined process. kind: a key of :data:`PACKERS`."""
    packer = PACKERS[kind]()
    while data := os.read(0, BLOCK):
        write_all(1, packer.compress(data))
    write_all(1, packer.flush())
    return 0


def warm_up() -> None:
    """Load what :func:`main` needs while there is a file to load it from."""
    for make in PACKERS.values():
        packer = make()
        packer.compress(b"x")
        packer.flush()
