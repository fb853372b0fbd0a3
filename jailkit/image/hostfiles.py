"""What is copied from the host's /etc into an image.

Read on descriptors and without following a link: a link is copied as the link it is. What is not root's, or not
readable by everybody, is nothing that every tenant may see, so it stays out. Modes are 0644, 0755 for programs and
directories; set-id bits, other owners and extended attributes do not come along."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator

from ..spec.template import FORBIDDEN
from . import layer
from .layer import Contents, Row

_FILE_LIMIT = 8 << 20
_DEPTH = 16
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def copied(patterns: list[str], contents: Contents, root: str = "/") -> list[Row]:
    """Rows for everything below ``root`` that ``patterns`` (``/etc/...`` with ``*`` and ``?``) name."""
    found: dict[str, Row] = {}
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for pattern in patterns:
            for row in _match(top, "", pattern.strip("/").split("/"), contents):
                found[row.path] = row
    finally:
        os.close(top)
    return [found[path] for path in sorted(found)]


def _match(parent: int, base: str, parts: list[str], contents: Contents) -> Iterator[Row]:
    names = [parts[0]]
    if any(sign in parts[0] for sign in "*?"):
        names = [name for name in sorted(os.listdir(parent)) if fnmatch.fnmatchcase(name, parts[0])]
    for name in names:
        if len(parts) == 1:
            yield from _copy(parent, name, f"{base}/{name}", _DEPTH, contents)
            continue
        fd = _directory(parent, name)
        if fd is not None:
            try:
                yield from _match(fd, f"{base}/{name}", parts[1:], contents)
            finally:
                os.close(fd)


def _directory(parent: int, name: str) -> int | None:
    """A directory that everybody may list, or None."""
    try:
        fd = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=parent)
    except OSError:
        return None
    if _public(os.fstat(fd), 0o005):
        return fd
    os.close(fd)
    return None


def _public(status: os.stat_result, bits: int) -> bool:
    return status.st_uid == 0 and status.st_mode & bits == bits


def _copy(parent: int, name: str, path: str, depth: int, contents: Contents) -> Iterator[Row]:
    if path.startswith(FORBIDDEN) or not name.isprintable() or depth == 0:
        return
    try:
        name.encode()
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(name, dir_fd=parent)
            target.encode()
            yield layer.link(path, target)
        elif stat.S_ISREG(status.st_mode):
            yield from _copy_file(parent, name, path, contents)
        elif stat.S_ISDIR(status.st_mode):
            yield from _copy_directory(parent, name, path, depth, contents)
    except FileNotFoundError:  # not on this host, or gone since it was listed
        return
    except UnicodeEncodeError:  # a manifest is UTF-8, and such a name belongs to nothing that a template means
        return


def _copy_file(parent: int, name: str, path: str, contents: Contents) -> Iterator[Row]:
    fd = os.open(name, _OPEN, dir_fd=parent)
    with os.fdopen(fd, "rb") as source:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and _public(status, 0o004) and status.st_size <= _FILE_LIMIT:
            yield layer.file(path, source, status.st_mode, contents)


def _copy_directory(parent: int, name: str, path: str, depth: int, contents: Contents) -> Iterator[Row]:
    fd = _directory(parent, name)
    if fd is None:
        return
    try:
        yield layer.directory(path)
        for child in sorted(os.listdir(fd)):
            yield from _copy(fd, child, f"{path}/{child}", depth - 1, contents)
    finally:
        os.close(fd)
