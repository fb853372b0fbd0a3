"""Where a jail's keeper lives in the host's control groups.

With systemd it is a scope in the user's own slice, made by systemd, which owns the tree; else a group of our own."""

from __future__ import annotations

import os

from ..errors import JailkitError
from ..kernel import cgroup, proc

_BUSCTL = "/usr/bin/busctl"


def systemd() -> bool:
    """sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def adopt(uid: int, pid: int) -> str:
    """Put the keeper ``pid`` into its place. Return the ``cgroup.procs`` file that takes sessions, or "" where
    systemd's
    PAM module does that (or nobody can). Raise ``host.systemd``."""
    if systemd():
        _scope(uid, pid)
        return ""
    group = cgroup.make(str(uid))
    if not group:
        return ""
    cgroup.add(group, pid)
    return f"{group}/cgroup.procs"


def group(uid: int) -> str:
    """Directory of the jail's own control group, or "" on a systemd host (the scope ends by itself)."""
    base = cgroup.base()
    return "" if systemd() or not base else f"{base}/{uid}"


def evict(uid: int) -> None:
    """End what an earlier jail of ``uid`` left in its place: a keeper whose record was lost or damaged. Only the user's
    own processes: the group also holds sshd's, which may be the very login that we are starting for."""
    path = f"/sys/fs/cgroup/user.slice/user-{uid}.slice/jailctl-{uid}.scope" if systemd() else group(uid)
    for _ in range(500):
        left = [pid for pid in cgroup.members(path) if proc.has_uid(pid, uid)] if path else []
        if not left:
            return
        for pid in left:
            start = proc.start_time(pid)
            fd = proc.open_same(pid, start) if start is not None else None
            if fd is not None:
                proc.send(fd, 9)
                proc.wait(fd, 1.0)
                os.close(fd)
    raise JailkitError("busy.processes", f"processes of an earlier jail of uid {uid} do not end", f"ps -fu {uid}")


def _scope(uid: int, pid: int) -> None:
    # StartTransientUnit(name, mode, properties, auxiliary): org.freedesktop.systemd1(5); CollectMode so that a scope
    # of the same name that failed does not stand in the way
    command = [
        _BUSCTL, "call", "--quiet", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))", f"jailctl-{uid}.scope", "replace",
        "4", "PIDs", "au", "1", str(pid), "Slice", "s", f"user-{uid}.slice", "Description", "s", f"jail of user {uid}",
        "CollectMode", "s", "inactive-or-failed", "0",
    ]  # fmt: skip
    child = os.posix_spawn(_BUSCTL, command, {"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise JailkitError(
            "host.systemd",
            f"systemd did not take the keeper into user-{uid}.slice: busctl ended with "
            f"{os.waitstatus_to_exitcode(status)}",
            "systemctl status; journalctl -u systemd-logind",
        )
