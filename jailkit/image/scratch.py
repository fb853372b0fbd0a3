"""Where a build works: a directory of its own beside the images, gone when it ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from ..kernel import disk
from ..kernel.beneath import remove_tree
from ..paths import Paths

PREFIX = ".build-"
GONE = ".gone-"
"""What prune has taken away and not yet deleted."""


@contextlib.contextmanager
def directory(paths: Paths) -> Iterator[str]:
    """A new directory, 0700 and locked as long as it is in use. What killed builds left is removed first."""
    clean(paths)
    path = f"{paths.images}/{PREFIX}{os.urandom(6).hex()}"
    with _lock(paths):  # between the mkdir and the lock on it nobody may clean up
        os.mkdir(path, 0o700)
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            remove_tree(path)
        os.close(held)


def _lock(paths: Paths) -> contextlib.AbstractContextManager[None]:
    return disk.turn(f"{paths.images}/.lock")


def clean(paths: Paths) -> int:
    """Remove what interrupted builds have left; return how many. A build that is under way is left alone."""
    with _lock(paths):
        return sum(remove_tree(path) > 0 for path in abandoned(paths))


def abandoned(paths: Paths) -> Iterator[str]:
    """Paths of what interrupted builds and prunes have left, each locked while it is looked at."""
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(paths.images)):
            if not name.startswith((PREFIX, GONE)):
                continue
            try:
                fd = os.open(f"{paths.images}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:  # its build has ended
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield f"{paths.images}/{name}"
            except BlockingIOError:
                continue
            finally:
                os.close(fd)
