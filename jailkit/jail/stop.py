"""Ending a jail: by pid namespace, control group and uid, never by name. What is ended is checked to have ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from ..errors import JailkitError
from ..kernel import cgroup, proc
from ..paths import Paths
from . import freeze, meter, runtime, slices


def stop(paths: Paths, uid: int, user: str, seconds: float = 10.0) -> bool:
    """End the jail of ``uid``: the keeper (and with it, by the kernel, every process of its pid namespace), then the
    sessions' own processes outside (sshd's, su), then whatever else has that uid. Return False if nothing ran.

    Raise ``busy.processes`` when something is still there after ``seconds``: a process in an uninterruptible wait."""
    if not os.path.isdir(paths.run_jail(uid)):
        return _end_strays(uid, user, seconds)
    with runtime.Locked(paths, uid):
        return _stop(paths, uid, user, seconds)


def _stop(paths: Paths, uid: int, user: str, seconds: float) -> bool:
    freeze.thaw(uid)  # who is frozen cannot end (a backup and its helper were killed: it would hold the lock)
    record = runtime.running(paths, uid)
    if record is not None:
        with contextlib.suppress(OSError):  # what is counted must not hinder the end
            meter.settle(paths, uid, record.cgroups)
        pidfd = runtime.keeper(record)
        if pidfd is not None:
            proc.send(pidfd, signal.SIGKILL)
            ended = proc.wait(pidfd, seconds)
            os.close(pidfd)
            if not ended:
                raise JailkitError(
                    "busy.processes", f"the jail of {user} does not end", f"ps -o pid,stat,wchan -u {user}"
                )
    for session in runtime.sessions(paths, uid):
        if not _own_ancestor(session.pid):
            _end(session.pid, session.start)
    groups = slices.groups(uid)
    for group in groups:
        cgroup.kill(group, seconds)
    strays = _end_strays(uid, user, seconds)
    runtime.sessions(paths, uid)
    runtime.clear(paths, uid, user)
    for group in groups:
        cgroup.remove(group)
    slices.forget(uid)
    return record is not None or strays


def _end(pid: int, start: int) -> None:
    fd = proc.open_same(pid, start)
    if fd is None:
        return
    proc.send(fd, signal.SIGTERM)
    if not proc.wait(fd, 1.0):
        proc.send(fd, signal.SIGKILL)
        proc.wait(fd, 1.0)
    os.close(fd)


def _own_ancestor(pid: int) -> bool:
    """An administrator who came through the jail's own session (``jailctl enter``) does not kill himself."""
    mine = os.getpid()
    while mine > 1:
        if mine == pid:
            return True
        mine = proc.parent(mine)
    return False


def _end_strays(uid: int, user: str, seconds: float) -> bool:
    """What else has the uid, on the host or in a jail whose record was lost. The same number in somebody's container
    is another user's."""
    host = proc.namespace(os.getpid(), "pid")

    def ours(pid: int) -> bool:
        if pid == os.getpid() or not proc.has_uid(pid, uid):
            return False
        return proc.namespace(pid, "pid") == host or proc.maps_itself(pid, uid)

    found = False
    end = time.monotonic() + seconds
    while pids := [pid for pid in proc.of_uid(uid) if ours(pid)]:
        found = True
        for pid in pids:
            fd = proc.kill(pid, ours)
            if fd is not None:
                os.close(fd)
        if time.monotonic() > end:
            raise JailkitError(
                "busy.processes",
                f"processes of {user} do not end: {', '.join(map(str, pids[:8]))}",
                f"ps -o pid,stat,wchan -u {user}",
            )
        time.sleep(0.01)
    return found
