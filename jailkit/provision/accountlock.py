"""The system's own locks on the account files, as shadow's tools take them.

Two that belong together: the C library's (lckpwdf(3): a write lock of fcntl(2) on ``.pwd.lock``; systemd takes it as
well), and shadow's ``FILE.lock``, made by link(2), which holds the pid of its owner (commonio.c, do_lock_file): one
whose process is gone is stale, and taken over."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence

from ..errors import JailkitError
from ..kernel import disk

_RETRY = 0.02


@contextlib.contextmanager
def locked(etc: str, names: Sequence[str], seconds: float = 30.0) -> Iterator[None]:
    """Hold the locks of the account files ``names`` in the directory ``etc``, always in the same order. They go with
    the process, however it ends: the first by the kernel, the others by their pid.

    seconds: how long to wait for them. Raise ``busy.accounts`` with who has it, OSError."""
    end = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        fd = os.open(f"{etc}/.pwd.lock", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, fd)
        _until(end, functools.partial(disk.take, fd), f"{etc}/.pwd.lock", "fuser -v /etc/.pwd.lock")
        for name in names:
            path = f"{etc}/{name}.lock"
            _until(end, functools.partial(_link, path), path, f"cat {path}: the pid of who has it")
            stack.callback(_drop, path)
        yield


def _until(end: float, take: Callable[[], bool], path: str, hint: str) -> None:
    while not take():
        if time.monotonic() >= end:
            raise JailkitError("busy.accounts", f"another program changes the accounts: it holds {path}", hint)
        time.sleep(_RETRY)


def _link(path: str) -> bool:
    """One try at ``FILE.lock``."""
    mine = f"{path.removesuffix('.lock')}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(mine)  # of an earlier process that had our pid
    fd = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.write(fd, b"%d\0" % os.getpid())
        finally:
            os.close(fd)
        for _ in range(2):
            try:
                os.link(mine, path)
                return os.stat(mine).st_nlink == 2
            except FileExistsError:
                if not _stale(path):
                    return False
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        return False
    finally:
        os.unlink(mine)


def _stale(path: str) -> bool:
    """Whether the process that made the lock is gone. What holds no pid is somebody's, as shadow treats it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        text = os.read(fd, 32).rstrip(b"\0\n ")
    finally:
        os.close(fd)
    if not text.isdigit() or not 0 < int(text) < 2**31:
        return False
    try:
        os.kill(int(text), 0)
    except ProcessLookupError:
        return True
    return False


def _drop(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
