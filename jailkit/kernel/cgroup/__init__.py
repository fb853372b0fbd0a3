"""Control groups of a jail, where systemd does not keep them: cgroup v2, or the v1 hierarchies (older hosts, and test
hosts whose controllers sit on v1), one group below ``jailctl`` in each that is needed. cgroups(7),
Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.

Of the limits: ``held`` says which of them this host can hold, ``make`` makes the groups that hold some, ``limit``
writes them; v1.py and v2.py know the files.
"""

from __future__ import annotations

import os
import time

from .. import proc
from ..libc import put

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MOUNT = "/sys/fs/cgroup"
OWN = "jailctl"
CONTROLLERS = {
    "memory": ("memory", "swap"), "cpu": ("cpu", "weight"), "pids": ("processes",),
    "io": ("read", "write", "read_ops", "write_ops"),
}  # fmt: skip
"""By v2's names, and what of :class:`Amounts` each of them holds."""


class Amounts:
    """What a group may use; None: no limit. memory, swap: bytes; cpu: microseconds of CPU time in a second; weight: 1
    to 10000, 100 is usual; processes: a number. read, write: bytes, read_ops, write_ops: operations in a second, of
    each of ``devices``, disks by ``MAJOR:MINOR``."""

    def __init__(
        self,
        memory: int | None = None,
        swap: int | None = None,
        cpu: int | None = None,
        weight: int | None = None,
        processes: int | None = None,
        read: int | None = None,
        write: int | None = None,
        read_ops: int | None = None,
        write_ops: int | None = None,
        devices: list[str] | None = None,
    ) -> None:
        self.memory, self.swap, self.cpu, self.weight, self.processes = memory, swap, cpu, weight, processes
        self.read, self.write, self.read_ops, self.write_ops = read, write, read_ops, write_ops
        self.devices = devices or []

    def controllers(self) -> list[str]:
        """Of v2's names, those that are needed."""
        return [
            controller for controller, names in CONTROLLERS.items()
            if any(getattr(self, name) is not None for name in names)
        ]  # fmt: skip


def version() -> int:
    """2, 1, or 0 on a host without any control groups."""
    if os.path.exists(f"{MOUNT}/cgroup.controllers"):
        return 2
    return 1 if os.path.exists(f"{MOUNT}/pids/cgroup.procs") else 0


def base() -> str:
    """Directory below which jails' groups are made, in the hierarchy by which their processes are counted and ended; or
    "" on a host without any control groups."""
    return {2: f"{MOUNT}/{OWN}", 1: f"{MOUNT}/pids/{OWN}", 0: ""}[version()]


def held() -> set[str]:
    """Names of the limits of :class:`Amounts` that this host can hold."""
    return _kind().held() if version() else set()


def make(name: str, amounts: Amounts | None = None) -> list[str]:
    """Make (or find) the groups ``name`` that hold ``amounts`` and return their directories, that of :func:`base`
    first; [] where there are none, or /sys is read-only (a container). With ``amounts``, be they none, also those that
    count what is used, as far as they can be made. Raise OSError where one that is needed cannot be made."""
    top = base()
    if not top:
        return []
    needed = amounts.controllers() if amounts else []
    try:
        os.makedirs(f"{top}/{name}", 0o755, exist_ok=True)
    except OSError:  # no hierarchy that we may write to
        if needed:
            raise
        return []
    return [f"{top}/{name}", *_kind().make(name, needed, amounts is not None)]


def limit(name: str, amounts: Amounts) -> list[str]:
    """Write ``amounts`` into the groups of ``name`` that :func:`make` has made; what is None is lifted where there is a
    file for it. Return sentences of what does not hold yet. Raise OSError."""
    problems: list[str] = _kind().limit(name, amounts) if version() else []
    return problems


def events(name: str, amounts: Amounts) -> list[str]:
    """Files that count how often ``amounts`` were hit: their names say what of (``pids.events``, ``memory.events``; v1:
    ``memory.oom_control``)."""
    found: list[str] = _kind().events(name, amounts) if version() else []
    return found


def directories(name: str) -> list[str]:
    """Groups of ``name`` that there are, that of :func:`base` first."""
    if not version():
        return []
    return [path for path in _kind().places(name) if os.path.isdir(path)]


def add(path: str, pid: int) -> None:
    """Move process ``pid`` into the group at ``path``."""
    put(f"{path}/cgroup.procs", str(pid))


def gather(paths: list[str]) -> None:
    """Have all that is in the first of ``paths`` in the others, too. What is born meanwhile is born where its parent
    is: so until a round finds nobody."""
    for _ in range(1000):
        left = False
        for path in paths[1:]:
            inside = set(members(path))
            for pid in members(paths[0]):
                if pid not in inside:
                    left = True
                    _try(lambda path=path, pid=pid: add(path, pid))  # type: ignore[misc]
        if not left:
            return


def _try(call: Callable[[], None]) -> None:
    try:
        call()
    except ProcessLookupError:
        pass  # it has ended


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


def _kind() -> Any:
    """The module of this host's version; of the two only one is read."""
    if version() == 2:
        from . import v2

        return v2
    from . import v1

    return v1
