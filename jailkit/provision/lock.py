"""The lock of one jail: who holds it is the only one that changes it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from ..errors import JailkitError
from ..paths import Paths
from . import layout

_WAIT = 60.0


@contextlib.contextmanager
def locked(paths: Paths, name: str, seconds: float = _WAIT) -> Iterator[None]:
    """Hold the lock of one jail; others are not concerned. It goes with the process, however that ends.

    seconds: how long to wait for it. Raise ``busy.locked``."""
    layout.ensure(paths)
    path = f"{layout.locks(paths)}/{name}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + seconds
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise JailkitError(
                        "busy.locked", f"another jailctl works on {name}", "try again when it has ended"
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)
