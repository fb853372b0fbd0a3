"""A layer, as data: rows that say what stands at which path, their contents kept elsewhere by digest.

Every builder of a source, and every further layer of a template, ends as a list of :class:`Row`. An image is the rows
of its layers, one over the other; the digest that names it is taken over them. So a row holds nothing that differs
between two hosts or two times: no clock, no owner (all is root's), no inode, no order of a directory's names."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Literal, Protocol, cast

EPOCH = 315619200
"""The time of every file in an image: 1980-01-02, the first day that a zip archive (a Python wheel) can hold in every
time zone. One inode has one time, and shared contents are one inode."""


class Contents(Protocol):
    """Where the bytes of files go: content.py keeps them, or only counts them."""

    def add(self, source: BinaryIO, executable: bool, private: bool) -> tuple[str, int]:
        """Take all of ``source``; return its SHA-256 (hex) and its size in bytes. Raise OSError."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One name below an image's root. path: absolute, as seen inside, UTF-8. mode: permission bits (0 for links).

    kind "gone" takes away what an earlier layer has at that path, with all below it; a directory with ``opaque``
    hides what earlier layers have in it. sha256, size: of a file. target: of a link."""

    path: str
    kind: Literal["file", "directory", "link", "gone"]
    mode: int = 0
    size: int = 0
    sha256: str = ""
    target: str = ""
    opaque: bool = False

    def data(self) -> dict[str, Any]:
        """For the manifest: what is empty is left out, the mode is text in octal."""
        found = {key: value for key, value in asdict(self).items() if value != "" and value is not False}
        if self.kind == "file":
            return {**found, "mode": f"{self.mode:04o}"}
        del found["size"]
        return {**found, "mode": f"{self.mode:04o}"} if self.kind == "directory" else _without(found, "mode")


def _without(values: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != key}


def from_data(data: dict[str, Any]) -> Row:
    """The inverse of :meth:`Row.data`. Raise KeyError, TypeError, ValueError."""
    return Row(**{**data, "mode": int(data["mode"], 8)} if "mode" in data else data)


def directory(path: str, mode: int = 0o755) -> Row:
    return Row(path, "directory", directory_mode(mode))


def link(path: str, target: str) -> Row:
    return Row(path, "link", target=target)


def gone(path: str) -> Row:
    return Row(path, "gone")


def file(path: str, source: BinaryIO | bytes, mode: int, contents: Contents) -> Row:
    """A file with the bytes of ``source``. mode: as it was found; only "executable" and "for everybody" are kept."""
    kept = file_mode(mode)
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    if path.endswith(".pyc"):
        stream = cast(BinaryIO, _Compiled(stream))
    sha256, size = contents.add(stream, bool(kept & 0o100), not kept & 0o004)
    return Row(path, "file", kept, size, sha256)


def file_mode(mode: int) -> int:
    """0644, 0755, 0600 or 0700: nobody but root may write, and no set-id bit comes along."""
    executable = 0o111 if mode & 0o111 else 0
    return (0o644 | executable) if mode & 0o004 else (0o600 | executable & 0o100)


def directory_mode(mode: int) -> int:
    """0755, 0700, or 1777 for a directory such as /tmp."""
    if mode & stat.S_ISVTX and mode & 0o002:
        return 0o1777
    return 0o755 if mode & 0o005 == 0o005 else 0o700


class _Compiled:
    """A .pyc that becomes :func:`compiled` as it is read: it is whoever's, and as long as they like."""

    def __init__(self, source: BinaryIO) -> None:
        self._source, self._begun = source, False

    def read(self, size: int = -1) -> bytes:
        """size: the first time, 16 at least."""
        data = self._source.read(size)
        if self._begun:
            return data
        self._begun = True
        return compiled(data)


def compiled(data: bytes) -> bytes:
    """A .pyc that is valid while its source has a certain time (PEP 552: flags 0), made valid for :data:`EPOCH`: else
    Python would compile its library anew at each start, as it cannot write it."""
    if len(data) >= 16 and data[4:8] == b"\0\0\0\0":
        return data[:8] + EPOCH.to_bytes(4, "little") + data[12:]
    return data


def merge(layers: Iterable[Iterable[Row]]) -> list[Row]:
    """One root of several layers, sorted by path and without "gone" rows. A later layer wins; directories that nobody
    named are made; what lies below a name that is no directory is left out."""
    found: dict[str, Row] = {}
    for layer in layers:
        for row in sorted(layer, key=lambda row: (row.kind != "gone", row.path)):
            _put(found, row)
    return [found[path] for path in sorted(found)]


def _put(found: dict[str, Row], row: Row) -> None:
    earlier = found.pop(row.path, None)
    emptied = row.opaque or row.kind != "directory"
    if earlier is not None and earlier.kind == "directory" and emptied:
        prefix = row.path + "/"
        for path in [path for path in found if path.startswith(prefix)]:
            del found[path]
    if row.kind == "gone":
        return
    for parent in _parents(row.path):
        if parent not in found or found[parent].kind != "directory":
            _put(found, directory(parent))
    found[row.path] = Row(row.path, "directory", row.mode) if row.opaque else row


def _parents(path: str) -> list[str]:
    parts = path.strip("/").split("/")[:-1]
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]
