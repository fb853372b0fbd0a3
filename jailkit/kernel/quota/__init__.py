"""Limits of bytes and inodes for directory trees, whoever writes to them, by what their file system has.

    found = support("/home")                    # can it? of what kind? if not, why, and what to do
    directory("/home/alice", 700001280)         # a new directory, which counts for that number with all that comes in
    adopt("/home/bob", 700002304)               # the same for one that is there
    set_limits("/home/alice", 700001280, 1 << 30, 0)
    usage("/home/alice", 700001280)             # what that number has, and its limits
    clear("/home/alice", 700001280)             # no limit; what is there counts for nobody any more

ext4, xfs and others with project quotas: project.py. btrfs: qgroup.py. A number means one owner on the whole file
system: several trees of the same number have one limit together. Numbers: 1 to 2**32 - 1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from . import project, qgroup
from .base import Refused, Support, Usage, file_system

__all__ = [
    "Refused",
    "Support",
    "Usage",
    "adopt",
    "clear",
    "counts",
    "directory",
    "file_system",
    "place",
    "set_limits",
    "support",
    "usage",
]


_ASKED = ("ext4", "xfs", "f2fs", "btrfs")


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """For reading only where the file system is one that can be asked: of any other a tenant's directory is not
    opened."""
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, os.O_PATH | flags)
    try:
        if file_system(fd) in _ASKED:
            held = os.open(".", os.O_RDONLY | flags, dir_fd=fd)
            os.close(fd)
            fd = held
        yield fd
    finally:
        os.close(fd)


def support(path: str, own: bool = False) -> Support:
    """What the file system of the directory ``path`` can hold. own: ``path`` itself is to be limited, not something
    below it. Changes nothing. Raise OSError."""
    with _opened(path) as fd:
        return _support(fd, path, own)


def _support(fd: int, path: str, own: bool = False) -> Support:
    name = file_system(fd)
    return qgroup.support(fd, path, own) if name == "btrfs" else project.support(fd, path, name)


def directory(path: str, number: int) -> None:
    """Make the directory ``path``, 0700 and the caller's, so that it counts for ``number`` where the file system can
    count; else a plain one. 0: it counts for nobody, but :func:`adopt` can have it. Raise OSError."""
    above = os.path.dirname(path)
    kind = support(above).kind
    if kind == "qgroup":
        with _opened(above) as fd:
            qgroup.make(fd, os.path.basename(path), number)
        os.chmod(path, 0o700)
        return
    os.mkdir(path, 0o700)
    if kind == "project" and number:
        with _opened(path) as fd:
            project.tag(fd, number)


def adopt(path: str, number: int) -> None:
    """Let the tree at ``path`` count for ``number``, and what comes into it later. May be done again.

    Raise :class:`Refused`; OSError: EAGAIN when its user hinders it."""
    with _opened(path) as fd:
        found = _support(fd, path, own=True)
        if found.kind == "project":
            project.adopt(fd, number)
        elif found.kind == "qgroup":
            qgroup.adopt(fd, number)
        else:
            raise Refused(found.reason, found.hint)


def set_limits(path: str, number: int, size: int, inodes: int) -> None:
    """Limit what ``number`` may have on the file system of ``path`` to ``size`` bytes and ``inodes``; 0: no limit. At
    once, for who is writing too. Raise :class:`Refused`, OSError."""
    with _opened(path) as fd:
        found = _support(fd, path)
        if not found.kind:
            raise Refused(found.reason, found.hint)
        if inodes and not found.inodes:
            raise Refused(found.no_inodes, found.hint)
        holder = project if found.kind == "project" else qgroup
        holder.set_limits(fd, number, size, inodes)


def counts(path: str, number: int) -> bool:
    """Whether the tree at ``path`` counts for ``number``, as its top says. Raise OSError."""
    with _opened(path) as fd:
        kind = _support(fd, path, own=True).kind
        if kind == "project":
            return project.project_of(fd) == number
        return kind == "qgroup" and qgroup.counts(fd, number)


def usage(path: str, number: int) -> Usage | None:
    """What ``number`` has on the file system of ``path``, with its limits; None where nobody counts. Raise OSError."""
    with _opened(path) as fd:
        kind = _support(fd, path).kind
        if kind == "project":
            return project.usage(fd, number)
        return qgroup.usage(fd, number) if kind == "qgroup" else None


def inconsistent(path: str) -> bool:
    """Whether the file system knows that it has lost count. Raise OSError."""
    with _opened(path) as fd:
        return file_system(fd) == "btrfs" and qgroup.inconsistent(fd)


def place(path: str) -> object:
    """What two paths on one file system have in common: a number has one limit there. Raise OSError."""
    with _opened(path) as fd:
        return qgroup.identity(fd) if file_system(fd) == "btrfs" else os.fstat(fd).st_dev


def clear(path: str, number: int, keep: bool) -> None:
    """No limit for ``number`` on the file system of ``path`` any more. keep: the tree at ``path`` stays and is to count
    for nobody; else it goes, as does what the file system remembers of the number. Done again, or where there is
    nothing, it does nothing. Raise OSError."""
    with _opened(path) as fd:
        kind = _support(fd, path, own=True).kind
        if kind == "project":
            project.clear(fd, number, keep)
        elif kind == "qgroup":
            qgroup.clear(fd, number)
