"""Where a jail's keeper and sessions live in the host's control groups, and how its limits are held there.

With systemd the keeper is a scope in the user's own slice, as the sessions are, and the slice has the limits: systemd
owns the tree, and is asked over its bus (org.freedesktop.systemd1(5)). Else groups of our own."""

from __future__ import annotations

import os
import time

from ..errors import JailkitError
from ..kernel import cgroup, proc
from ..kernel.cgroup import Amounts

_BUSCTL = "/usr/bin/busctl"
_SECONDS = 5
_STOP_SECONDS = 5
_INFINITY = str(2**64 - 1)
_SLICES = "/sys/fs/cgroup/user.slice"
_SET = "/run/systemd/system.control"
"""Where systemd keeps properties that were set until the next boot."""


class Place:
    """procs: the ``cgroup.procs`` files that take sessions, none where systemd's PAM module does that (or nobody can).
    events: files that count how often a limit was hit."""

    def __init__(self, procs: tuple[str, ...] = (), events: tuple[str, ...] = ()) -> None:
        self.procs, self.events = procs, events


def systemd() -> bool:
    """sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def of_user(uid: int) -> str:
    """Directory of the user's slice, where systemd keeps one."""
    return f"{_SLICES}/user-{uid}.slice"


def adopt(uid: int, pid: int, amounts: Amounts) -> Place:
    """Put the keeper ``pid`` into its place, under its limits. Raise ``host.systemd``, ``host.limit``."""
    found = place(uid, amounts)
    if systemd():
        _scope(f"jailctl-{uid}.scope", f"user-{uid}.slice", f"jail of user {uid}", pid)
    for procs in found.procs:
        cgroup.add(os.path.dirname(procs), pid)
    return found


def place(uid: int, amounts: Amounts) -> Place:
    """Make the place of a jail and have it hold ``amounts``; see :func:`adopt`. Raise as that."""
    found, problems = limit(uid, amounts)
    if problems:
        from .runtime import complain

        complain(f"code=limit.busy uid {uid}: {'; '.join(problems)}")
    return found


def limit(uid: int, amounts: Amounts) -> tuple[Place, list[str]]:
    """Write ``amounts``, also where processes are under other ones. Return the place and sentences of what does not
    hold yet. Raise ``host.systemd``, ``host.limit``."""
    try:
        if systemd():
            _properties(uid, amounts)
            wanted = (("pids.events", amounts.processes), ("memory.events", amounts.memory))
            events = [f"{of_user(uid)}/{file}" for file, value in wanted if value is not None]
            return Place((), tuple(events)), []
        groups = cgroup.make(str(uid), amounts)
        problems = cgroup.limit(str(uid), amounts) if groups else []
        procs = [f"{group}/cgroup.procs" for group in groups]
        return Place(tuple(procs), tuple(cgroup.events(str(uid), amounts) if groups else ())), problems
    except OSError as error:
        raise JailkitError(
            "host.limit", f"this host does not hold a limit of uid {uid}: {error}", "jailctl doctor cgroup"
        ) from None


def place_service(name: str, pid: int) -> None:
    """Put a process of ours that serves the whole host into a place of its own. Raise ``host.systemd``, OSError."""
    if systemd():
        _scope(f"jailctl-{name}-{pid}.scope", "system.slice", f"jailctl {name}", pid)
    for group in [] if systemd() else cgroup.make(name):
        cgroup.add(group, pid)


def groups(uid: int) -> list[str]:
    """Directories of the jail's own control groups; none on a systemd host (the scope ends by itself)."""
    return [] if systemd() else cgroup.directories(str(uid))


def forget(uid: int) -> None:
    """Lift what systemd holds for a user whose jail has ended. A host without it has no group any more."""
    if systemd() and os.path.isdir(f"{_SET}/user-{uid}.slice.d"):
        _properties(uid, Amounts())


def evict(uid: int) -> None:
    """End what an earlier jail of ``uid`` left in its place: a keeper whose record was lost or damaged. Only the user's
    own processes: the group also holds sshd's, which may be the very login that we are starting for."""
    places = [f"{of_user(uid)}/jailctl-{uid}.scope"] if systemd() else groups(uid)[:1]
    for _ in range(500):
        left = [(path, pid) for path in places for pid in cgroup.members(path) if proc.has_uid(pid, uid)]
        if not left:
            return
        for path, pid in left:
            fd = proc.kill(pid, lambda pid, path=path: pid in cgroup.members(path) and proc.has_uid(pid, uid))  # type: ignore[misc]
            if fd is not None:
                proc.wait(fd, 1.0)
                os.close(fd)
    raise JailkitError("busy.processes", f"processes of an earlier jail of uid {uid} do not end", f"ps -fu {uid}")


def _properties(uid: int, amounts: Amounts) -> None:
    """Until the next boot, as each start says them anew. Set before the slice has a process in it, so from the
    first."""
    unit = f"user-{uid}.slice"
    if not amounts.controllers() and not os.path.isdir(f"{_SET}/{unit}.d"):
        return  # no limits, and none before
    rows: list[str] = []
    for name, value in (("MemoryMax", amounts.memory), ("MemorySwapMax", amounts.swap), ("TasksMax", amounts.processes),
                        ("CPUQuotaPerSecUSec", amounts.cpu), ("CPUWeight", amounts.weight)):  # fmt: skip
        rows += [name, "t", _INFINITY if value is None else str(value)]
    for name, value in (("IOReadBandwidthMax", amounts.read), ("IOWriteBandwidthMax", amounts.write),
                        ("IOReadIOPSMax", amounts.read_ops), ("IOWriteIOPSMax", amounts.write_ops)):  # fmt: skip
        items = [] if value is None else [(f"/dev/block/{device}", str(value)) for device in amounts.devices]
        # an empty list takes back what was set before; each of the others adds to it
        rows += [name, "a(st)", "0"]
        if items:
            rows += [name, "a(st)", str(len(items)), *(word for item in items for word in item)]
    count = rows.count("t") + rows.count("a(st)")
    status = _busctl("SetUnitProperties", "sba(sv)", unit, "true", str(count), *rows)
    if status != 0:
        raise JailkitError(
            "host.systemd", f"systemd did not take the limits of {unit}: busctl ended with {status}",
            "journalctl -b -u systemd-logind; jailctl doctor cgroup",
        )  # fmt: skip


def _busctl(method: str, signature: str, *words: str) -> int:
    command = [
        _BUSCTL, "call", "--quiet", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager", method, signature, *words,
    ]  # fmt: skip
    child = os.posix_spawn(_BUSCTL, command, {"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _scope(unit: str, within: str, description: str, pid: int) -> None:
    # StartTransientUnit(name, mode, properties, auxiliary): CollectMode so that a scope of the same name that failed
    # does not stand in the way. The keeper gets no SIGTERM (pid_namespaces(7): pid 1 has no handler for it), so a
    # shutdown would wait 90 s for it; ending it at once would take her processes' time to end
    words = [
        unit, "replace", "5", "PIDs", "au", "1", str(pid), "Slice", "s", within, "Description", "s", description,
        "CollectMode", "s", "inactive-or-failed", "TimeoutStopUSec", "t", str(_STOP_SECONDS * 1000000), "0",
    ]  # fmt: skip
    end = time.monotonic() + _SECONDS
    status = None
    while time.monotonic() < end:
        if status != 0:  # until it is taken: the scope of the jail before may be about to be collected ("unit exists")
            status = _busctl("StartTransientUnit", "ssa(sv)a(sa(sv))", *words)
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
