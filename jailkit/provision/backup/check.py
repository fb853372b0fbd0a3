"""Looking at an archive as a whole, before anything of it is written, or to see what is in it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from ...errors import JailkitError
from ...image.foreign import unpack
from ...image.foreign.outside import unsafe
from ...image.foreign.tarball import Limits
from ...paths import Paths
from . import entry, manifest, parse, process
from .entry import Entry
from .judge import Judge, Shape
from .manifest import Manifest

LIMITS = Limits(bytes=1 << 62, names=20_000_000, ratio=0)
"""Of an archive that is only looked at."""
_LINE = 16 << 20
Seen = Callable[[Entry], None]


@dataclass
class Checked:
    """What an archive holds. manifest: None for the tar of a home. complete: it has what it says at its end, with the
    same digest. names, files, bytes: of what would be restored. notes: what is left out. left_out: what the backup
    itself says that it lacks."""

    manifest: Manifest | None = None
    complete: bool = False
    layer: bool = False
    names: int = 0
    files: int = 0
    bytes: int = 0
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """The archive at ``path``, a plain file; errors of it begin with its name. Raise ``missing.archive``,
    ``invalid.archive``."""
    with unpack.named(os.path.basename(path)), unpack.opened(path) as fd:
        yield fd


def mark(fd: int) -> tuple[int, ...]:
    """What tells the file behind ``fd`` from another one, or from itself after a change."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def room(directory: str) -> Limits:
    """As much as the file system of ``directory`` has room for: what an archive may hold to be unpacked there."""
    found = os.statvfs(directory)
    names = found.f_ffree if found.f_files else LIMITS.names  # btrfs has no number of inodes
    return Limits(bytes=found.f_bfree * found.f_frsize, names=min(names, LIMITS.names), ratio=0)


def whole(paths: Paths, fd: int, shape: Shape, limits: Limits, seen: Seen | None = None) -> Checked:
    """Read all of the archive; write nothing. seen: called for each name. Raise ``unsafe.archive``,
    ``invalid.archive``, ``host.confine``."""
    judge, made = Judge(shape), Checked()
    with process.parsed(paths, fd, limits, data=False) as (source, ended):
        first = True
        for found, text in _entries(source, ended):
            _text(made, found, text, first, shape)
            first = False
            judged = judge.take(found)
            if seen is not None and judged is not None and judged.name not in (parse.MANIFEST, parse.SUMS):
                seen(judged)
        ended()
    judge.end()
    made.layer, made.names, made.files, made.bytes = judge.layer, judge.names, judge.files, judge.bytes
    made.notes = judge.notes
    if made.manifest is not None and not made.complete:
        cut = "it is cut off: what it should say at its end is missing"
        raise JailkitError("invalid.archive", cut, "copy it again")
    return made


def _text(made: Checked, found: Entry, text: bytes, first: bool, shape: Shape) -> None:
    if shape.plain:
        return
    if first:
        if found.name != parse.MANIFEST:
            raise JailkitError("invalid.archive", "it is no backup of a jail", "the tar of a home: restore --home-only")
        made.manifest = manifest.parse(text)
    elif made.complete:
        raise unsafe("it has something after what it says at its end")
    elif found.name == parse.SUMS:
        try:
            sums = json.loads(text)
            digest, left = sums["sha256"], [str(line) for line in sums["left_out"]]
        except (ValueError, TypeError, KeyError):
            text_ = "what it says at its end is not to be read"
            raise JailkitError("invalid.archive", text_, "copy it again") from None
        if digest != found.digest:
            raise JailkitError(
                "invalid.archive", f"it has another digest than it says: {found.digest[:12]}, not {str(digest)[:12]}",
                "copy it again",
            )  # fmt: skip
        made.complete, made.left_out = True, left


def _entries(source: int, ended: Callable[[], None]) -> Generator[tuple[Entry, bytes], None, None]:
    with io.BufferedReader(io.FileIO(source, "rb", closefd=False), 1 << 20) as pipe:
        while True:
            head = pipe.read(4)
            length = struct.unpack(">I", head)[0] if len(head) == 4 else -1
            if length == 0:
                return
            data = pipe.read(length) if 0 < length <= _LINE else b""
            try:
                found = entry.unpack(data)
            except ValueError:
                ended()
                raise unsafe("the process that reads it says what it may not") from None
            text = b""
            if found.kind == "file" and found.name in (parse.MANIFEST, parse.SUMS) and found.stored <= parse.TEXT_MOST:
                text = pipe.read(found.stored)
            yield found, text


def sort(fd: int, paths: Paths) -> bool:
    """Whether the archive begins with a manifest: a backup of ours rather than the tar of a home. Raise as
    :func:`whole`."""
    with process.parsed(paths, fd, LIMITS, data=False) as (source, ended), contextlib.closing(
        _entries(source, ended)
    ) as entries:  # fmt: skip
        found = next(entries, None)
        return found is not None and found[0].name == parse.MANIFEST
