"""Control groups: who keeps them, and which limits can be held."""

from __future__ import annotations

import os

from ..jail import slices
from ..kernel import cgroup
from .check import Check, Finding, Host, ok, warn

_LIMITS = {"pids": "number of processes", "memory": "memory", "cpu": "CPU time", "io": "disk bandwidth"}
_V1 = {"io": "blkio"}
_HELD = ("memory", "swap", "cpu", "weight", "processes", "read", "write", "read_ops", "write_ops")
_MEND = "boot with systemd.unified_cgroup_hierarchy=1; for memory on small boards: cgroup_enable=memory"


def controllers(mount: str = "/sys/fs/cgroup") -> tuple[str, set[str]]:
    """Version ("v2", "v1" or "") and the limits, keys of :data:`_LIMITS`, that its controllers can hold."""
    try:
        with open(f"{mount}/cgroup.controllers", encoding="ascii") as file:
            return "v2", set(file.read().split()) & _LIMITS.keys()
    except OSError:
        pass
    found = {limit for limit in _LIMITS if os.path.exists(f"{mount}/{_V1.get(limit, limit)}/cgroup.procs")}
    return ("v1" if found else ""), found


def _controllers(host: Host) -> list[Finding]:
    version, found = controllers()
    if not version:
        return [
            warn(
                "no control groups: no limit can be held, and jails are ended by pid namespace and uid only",
                "mount -t cgroup2 none /sys/fs/cgroup",
            )
        ]
    missing = [f"{_LIMITS[name]} ({name})" for name in _LIMITS if name not in found]
    if missing:
        return [warn(f"{version}; these limits cannot be held: {', '.join(missing)}", _MEND)]
    return ok(f"{version}: {', '.join(name for name in _LIMITS if name in found)}")


def _limits(host: Host) -> list[Finding]:
    """By the name that a spec has for each; ``add-user`` and ``set`` refuse what is missing here."""
    names = {name: f"limits.{'cpu_weight' if name == 'weight' else name}" for name in _HELD}
    able = cgroup.held() - ({"swap"} if slices.systemd() and cgroup.version() == 1 else set())
    missing = [names[name] for name in _HELD if name not in able]
    if missing:
        return [warn(f"this host cannot hold, and so refuses: {', '.join(missing)}", _MEND)]
    part = "; of writes only those that go to the disk at once, swap only with memory" if cgroup.version() == 1 else ""
    return ok(f"{', '.join(names.values())}{part}")


def _keeper(host: Host) -> list[Finding]:
    if os.path.isdir("/run/systemd/system"):
        if not os.access("/usr/bin/busctl", os.X_OK):
            return [warn("systemd runs, but /usr/bin/busctl is missing: jails cannot start", "apt install systemd")]
        return ok("systemd: user-UID.slice")
    base = cgroup.base()
    if not base:
        return ok("nobody: there are none")
    parent = os.path.dirname(base)
    if not os.access(parent, os.W_OK) or os.statvfs(parent).f_flag & os.ST_RDONLY:
        return [warn(f"{parent} cannot be written: jails get no control group", f"mount -o remount,rw {parent}")]
    return ok(f"jailctl itself: {base}")


CHECKS = [
    Check("cgroup.controllers", "limits can be held", _controllers),
    Check("cgroup.limits", "each limit of a jail can be held", _limits),
    Check("cgroup.keeper", "somebody keeps the jails' control groups", _keeper),
]
