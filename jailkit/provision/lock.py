"""The lock of one jail: who holds it is the only one that changes it.

All are in one file, each a byte at an offset that follows from the name, locked by fcntl(2)'s F_OFD_SETLK: ten thousand
jails cost no file each, and one descriptor holds hundreds."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Iterator

from ..errors import JailkitError
from ..kernel import disk
from ..paths import Paths
from . import layout

_WAIT = 60.0


@contextlib.contextmanager
def locked(paths: Paths, name: str, seconds: float = _WAIT, turn: bool = False) -> Iterator[None]:
    """Hold the lock of one jail; others are not concerned. It goes with the process, however that ends.

    seconds: how long to wait for it. turn: its other one, see Host.turn. Raise ``busy.locked``."""
    layout.ensure(paths)
    fd = _open(paths)
    end = time.monotonic() + seconds
    try:
        while not _take(fd, f"{name} set" if turn else name):
            if time.monotonic() >= end:
                raise JailkitError("busy.locked", f"another jailctl works on {name}", "try again when it has ended")
            time.sleep(0.02)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def all_locked(paths: Paths, names: Iterable[str]) -> Iterator[set[str]]:
    """Hold the locks of those of ``names`` that are free now; gives which."""
    layout.ensure(paths)
    fd = _open(paths)
    try:
        yield {name for name in names if _take(fd, name)}
    finally:
        os.close(fd)


def _open(paths: Paths) -> int:
    path = f"{layout.locks(paths)}/jails"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _take(fd: int, name: str) -> bool:
    # off_t is signed; that two names meet is as good as impossible, and would only make one wait
    offset = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 2
    return disk.take(fd, offset, 1)
