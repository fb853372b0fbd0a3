"""Walking a user's tree while she changes it: by descriptors, through no link, across no mount, however deep it is."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .beneath import openat2

_HELD = 64
"""Directories held open; those above are found again by ``..``, as a tree may be deeper than descriptors reach."""
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)
_TRIES = 5


@dataclass
class _Level:
    fd: int
    same: tuple[int, int]
    names: Iterator[str] = field(default_factory=lambda: iter(()))


def walk(
    root: int, directory: Callable[[int, os.stat_result], None], other: Callable[[int, str, os.stat_result], None]
) -> None:
    """Call ``directory(fd, status)`` for the directory ``root`` and each one below, before anything in it is looked at,
    and ``other(directory's fd, name, status)`` for all else. What goes away meanwhile is left out.

    Raise OSError; EAGAIN when she moved a directory that the walk was in: nothing says what was missed, so that it has
    to be begun again."""
    stack = [_enter(os.dup(root), directory, other)]
    try:
        while stack:
            top = stack[-1]
            name = next(top.names, None)
            if name is None:
                stack.pop()
                _back(stack, top)
                continue
            try:
                child = openat2(top.fd, name, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                if error.errno in _GONE:
                    continue
                raise
            stack.append(_enter(child, directory, other))
            if len(stack) > _HELD and (above := stack[-1 - _HELD]).fd >= 0:
                os.close(above.fd)
                above.fd = -1
    finally:
        for level in stack:
            if level.fd >= 0:
                os.close(level.fd)


def again(body: Callable[[], None]) -> None:
    """Call ``body``, which walks, until nobody moved a directory meanwhile. Raise as :func:`walk`, after some tries."""
    for left in reversed(range(_TRIES)):
        try:
            body()
            return
        except OSError as error:
            if error.errno != errno.EAGAIN or not left:
                raise


def _enter(
    fd: int, directory: Callable[[int, os.stat_result], None], other: Callable[[int, str, os.stat_result], None]
) -> _Level:
    try:
        status = os.fstat(fd)
        directory(fd, status)
        below = []
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    below.append(entry.name)
                else:
                    other(fd, entry.name, found)
    except BaseException:
        os.close(fd)
        raise
    return _Level(fd, (status.st_dev, status.st_ino), iter(below))


def _back(stack: list[_Level], left: _Level) -> None:
    """Leave the directory ``left``: the one above has its descriptor again. ``..`` of a directory that was moved is
    another one."""
    try:
        if stack and stack[-1].fd < 0:
            above = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=left.fd)
            status = os.fstat(above)
            if (status.st_dev, status.st_ino) != stack[-1].same:
                os.close(above)
                raise OSError(errno.EAGAIN, "a directory was moved while it was read")
            stack[-1].fd = above
    finally:
        os.close(left.fd)


@dataclass
class Size:
    """Bytes on the disk, as du(1) counts them, and inodes: each once, whatever its names."""

    bytes: int = 0
    inodes: int = 0


def measure(path: str, progress: Callable[[int], None] = lambda inodes: None) -> Size:
    """What the directory ``path`` and all below holds. progress: called with the number of inodes so far, now and
    then. Raise OSError."""
    size = Size()

    def count(status: os.stat_result, linked: set[tuple[int, int]]) -> None:
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if (status.st_dev, status.st_ino) in linked:
                return
            linked.add((status.st_dev, status.st_ino))
        size.bytes += status.st_blocks * 512
        size.inodes += 1
        if size.inodes % 4096 == 0:
            progress(size.inodes)

    def body() -> None:
        size.bytes = size.inodes = 0
        linked: set[tuple[int, int]] = set()
        walk(fd, lambda _, status: count(status, linked), lambda _, name, status: count(status, linked))

    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        again(body)
    finally:
        os.close(fd)
    return size
