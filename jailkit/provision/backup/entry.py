"""One name of a tree, on its way between two processes of a backup."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

KINDS = ("directory", "file", "link", "hard link", "whiteout", "fifo", "device")
OPAQUE = "trusted.overlay.opaque"
"""How overlayfs marks a directory that hides the one below it. Only root sees or sets it (marks.py)."""
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
ATTRIBUTES_MOST = 96 << 10
"""Bytes of extended attributes that one name may have: a file system that has more of them is rare."""


@dataclass(slots=True)
class Entry:
    """name: without a leading or a trailing slash; bytes that are not UTF-8 as surrogate escapes. mtime: nanoseconds.
    size: of a file, holes included. target: of a link as it stands there, of a hard link the name it was seen by first.
    segments: (offset, bytes) of what is not a hole; None: there is no hole. digest: of the archive before this name.
    """

    kind: str
    name: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    target: str = ""
    attributes: dict[str, bytes] = field(default_factory=dict)
    segments: list[tuple[int, int]] | None = None
    digest: str = ""

    @property
    def stored(self) -> int:
        """How many bytes of data follow."""
        if self.kind != "file":
            return 0
        return self.size if self.segments is None else sum(size for _, size in self.segments)

    def pack(self) -> bytes:
        """As one line of ASCII."""
        values: list[Any] = [self.kind, self.name, self.mode, self.uid, self.gid, self.mtime, self.size, self.target,
                             {name: base64.b64encode(value).decode("ascii") for name, value in self.attributes.items()},
                             self.segments, self.digest]  # fmt: skip
        return json.dumps(values).encode("ascii")


def unpack(data: bytes) -> Entry:
    """The inverse of :meth:`Entry.pack`; types are checked, nothing else. Raise ValueError."""
    try:
        kind, name, mode, uid, gid, mtime, size, target, attributes, segments, digest = json.loads(data)
        texts, numbers = (kind, name, target, digest), (mode, uid, gid, mtime, size)
        if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
            raise ValueError("a field of another type")
        values = {str(key): base64.b64decode(value, validate=True) for key, value in attributes.items()}
        parts = None if segments is None else [(int(offset), int(length)) for offset, length in segments]
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if kind not in KINDS or size < 0 or not 0 <= mode <= 0o7777:
        raise ValueError("a kind, size or mode that is none")
    end = 0
    for offset, length in parts or ():
        if offset < end or length < 0 or offset + length > size:
            raise ValueError("segments that are none")
        end = offset + length
    return Entry(kind, name, mode, uid, gid, mtime, size, target, values, parts, digest)
