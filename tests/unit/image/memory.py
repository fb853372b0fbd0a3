"""Contents of files, kept in memory."""

from __future__ import annotations

import hashlib
from typing import BinaryIO


class Memory:
    """layer.Contents for tests. data: the bytes by digest."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def add(self, source: BinaryIO, executable: bool, private: bool) -> tuple[str, int]:
        data = source.read()
        sha256 = hashlib.sha256(data).hexdigest()
        self.data[sha256] = data
        return sha256, len(data)
