"""Where a jail's keeper lives in the host's control groups.

With systemd it is a scope in the user's own slice, made by systemd, which owns the tree; else a group of our own."""

from __future__ import annotations

import os
import time

from ..errors import JailkitError
from ..kernel import cgroup, proc

_BUSCTL = "/usr/bin/busctl"
_SECONDS = 5
_STOP_SECONDS = 5


def systemd() -> bool:
    """sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def adopt(uid: int, pid: int) -> str:
    """Put the keeper ``pid`` into its place. Return the ``cgroup.procs`` file that takes sessions, or "" where
    systemd's PAM module does that (or nobody can). Raise ``host.systemd``."""
    if systemd():
        _scope(f"jailctl-{uid}.scope", f"user-{uid}.slice", f"jail of user {uid}", pid)
        return ""
    procs = place(uid)
    if procs:
        cgroup.add(os.path.dirname(procs), pid)
    return procs


def place(uid: int) -> str:
    """The ``cgroup.procs`` file that takes sessions of a jail without a keeper, or "" (see :func:`adopt`)."""
    made = "" if systemd() else cgroup.make(str(uid))
    return f"{made}/cgroup.procs" if made else ""


def place_service(name: str, pid: int) -> None:
    """Put a process of ours that serves the whole host into a place of its own. Raise ``host.systemd``, OSError."""
    if systemd():
        _scope(f"jailctl-{name}-{pid}.scope", "system.slice", f"jailctl {name}", pid)
    elif group := cgroup.make(name):
        cgroup.add(group, pid)


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
            fd = proc.kill(pid, lambda pid: pid in cgroup.members(path) and proc.has_uid(pid, uid))
            if fd is not None:
                proc.wait(fd, 1.0)
                os.close(fd)
    raise JailkitError("busy.processes", f"processes of an earlier jail of uid {uid} do not end", f"ps -fu {uid}")


def _scope(unit: str, within: str, description: str, pid: int) -> None:
    # StartTransientUnit(name, mode, properties, auxiliary): org.freedesktop.systemd1(5); CollectMode so that a scope
    # of the same name that failed does not stand in the way. The keeper gets no SIGTERM (pid_namespaces(7): pid 1 has
    # no handler for it), so a shutdown would wait 90 s for it; ending it at once would take her processes' time to end
    command = [
        _BUSCTL, "call", "--quiet", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "replace",
        "5", "PIDs", "au", "1", str(pid), "Slice", "s", within, "Description", "s", description,
        "CollectMode", "s", "inactive-or-failed", "TimeoutStopUSec", "t", str(_STOP_SECONDS * 1000000), "0",
    ]  # fmt: skip
    end = time.monotonic() + _SECONDS
    status = None
    while time.monotonic() < end:
        if status != 0:  # until it is taken: the scope of the jail before may be about to be collected ("unit exists")
            child = os.posix_spawn(_BUSCTL, command, {"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        # the call only queues a job: pid 1 of the jail must not be born before it is done
        if status == 0 and proc.cgroup(pid).endswith(f"/{unit}"):
            return
        time.sleep(0.02 if status == 0 else 0.2)
    what = "the job is not done" if status == 0 else f"busctl ended with {status}"
    raise JailkitError(
        "host.systemd",
        f"systemd did not take {unit} into {within} within {_SECONDS} s: {what}",
        "systemctl list-jobs; journalctl -u systemd-logind",
    )
