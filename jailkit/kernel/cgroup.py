"""Control groups of a jail, where systemd does not keep them: cgroup v2, or the v1 pids hierarchy (older hosts, and
test hosts whose controllers sit on v1). cgroups(7), Documentation/admin-guide/cgroup-v2.rst."""

from __future__ import annotations

import os
import time

from . import proc
from .libc import put

_MOUNT = "/sys/fs/cgroup"


def base() -> str:
    """Directory below which jails' groups are made, or "" on a host without any control groups."""
    if os.path.exists(f"{_MOUNT}/cgroup.controllers"):
        return f"{_MOUNT}/jailctl"
    if os.path.exists(f"{_MOUNT}/pids/cgroup.procs"):
        return f"{_MOUNT}/pids/jailctl"
    return ""


def make(name: str) -> str:
    """Make (or find) the group ``name`` and return its directory; "" where there are no control groups."""
    top = base()
    if not top:
        return ""
    path = f"{top}/{name}"
    try:
        os.makedirs(path, 0o755, exist_ok=True)
    except OSError:  # no hierarchy that we may write to: /sys read-only in a container
        return ""
    return path


def add(path: str, pid: int) -> None:
    """Move process ``pid`` into the group at ``path``."""
    put(f"{path}/cgroup.procs", str(pid))


def members(path: str) -> list[int]:
    try:
        with open(f"{path}/cgroup.procs", "rb") as file:
            return [int(line) for line in file]
    except OSError:
        return []


def kill(path: str, seconds: float = 5.0) -> bool:
    """End every process of the group, those born meanwhile too. Return False if some are left after ``seconds``.

    v2 has cgroup.kill (5.14), atomic; v1 has only the loop. The caller's own process is spared."""
    own = os.getpid()
    end = time.monotonic() + seconds
    while left := [pid for pid in members(path) if pid != own]:
        if os.path.exists(f"{path}/cgroup.kill") and own not in members(path):
            put(f"{path}/cgroup.kill", "1")
        for pid in left:
            fd = proc.kill(pid, lambda pid: pid in members(path))
            if fd is not None:
                os.close(fd)
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def remove(path: str) -> None:
    """Remove the empty group at ``path``. The kernel empties it a moment after its last process was reaped."""
    for _ in range(200):
        try:
            os.rmdir(path)
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.005)
