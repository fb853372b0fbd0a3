"""Holding the processes of a control group still: ``cgroup.freeze`` of cgroup v2, or the freezer hierarchy of v1
(Documentation/admin-guide/cgroup-v2.rst; Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from . import cgroup
from .libc import put

_V1 = "/sys/fs/cgroup/freezer"
_STEP = 0.002


def group(name: str) -> str:
    """Directory of the v1 group ``name`` of ours, whether it is there or not."""
    return f"{_V1}/jailctl-{name}"


def v1() -> bool:
    return os.path.exists(f"{_V1}/cgroup.procs")


def freeze_v2(path: str, seconds: float) -> bool:
    """Freeze the group at ``path`` and all below it. Return False, thawed again, if that takes longer."""
    put(f"{path}/cgroup.freeze", "1")
    if _until(lambda: b"frozen 1" in _read(f"{path}/cgroup.events"), seconds):
        return True
    thaw_v2(path)
    return False


def thaw_v2(path: str) -> None:
    """No error where there is nothing to thaw."""
    with contextlib.suppress(OSError):
        put(f"{path}/cgroup.freeze", "0")


def freeze_v1(name: str, pids: Callable[[], list[int]], seconds: float) -> bool:
    """Move the processes that ``pids`` says, asked until there is no new one, into the group ``name`` and freeze it.
    What they start meanwhile is born there. Return False, thawed again, if that takes longer."""
    path = group(name)
    os.makedirs(path, 0o755, exist_ok=True)
    put(f"{path}/freezer.state", "FROZEN")  # who is moved in freezes at once: it forks no more

    def all_in() -> bool:
        here = set(cgroup.members(path))
        rest = [pid for pid in pids() if pid not in here]
        for pid in rest:
            with contextlib.suppress(OSError):  # it has ended
                cgroup.add(path, pid)
        return not rest and _read(f"{path}/freezer.state").strip() == b"FROZEN"

    if _until(all_in, seconds):
        return True
    thaw_v1(name)
    return False


def thaw_v1(name: str) -> None:
    """Thaw the group ``name``, give its processes back to the one above, and remove it. No error where there is none.
    """
    path = group(name)
    if not os.path.isdir(path):
        return
    with contextlib.suppress(OSError):
        put(f"{path}/freezer.state", "THAWED")

    def gone() -> bool:
        for pid in cgroup.members(path):
            with contextlib.suppress(OSError):
                cgroup.add(_V1, pid)
        with contextlib.suppress(OSError):
            os.rmdir(path)
        return not os.path.isdir(path)

    _until(gone, 5.0)


def _until(true: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(_STEP)
    return True


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4096)
    except OSError:
        return b""
