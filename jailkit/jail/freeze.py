"""A running jail held still for a moment: nothing in it runs, no session begins or ends.

Who thaws it is a process of its own, which does so when it is told to or when the one that asked is gone: a backup that
is killed leaves no jail frozen. The jail's lock stays held meanwhile, by that process too."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from ..kernel import cgroup, freezer, proc
from ..paths import Paths
from . import runtime, slices

_SECONDS = 5.0


@contextlib.contextmanager
def held(paths: Paths, uid: int, gid: int, user: str) -> Iterator[Held]:
    """The jail of ``uid``, frozen if it runs and if this host can; no session of it begins or ends until
    :meth:`Held.thaw`, or the end. Raise OSError."""
    runtime.prepare(paths, uid, gid, user)
    with contextlib.ExitStack() as stack:
        stack.enter_context(runtime.Locked(paths, uid))
        made = Held(stack)
        thaw(uid)  # what was left by a run that was killed together with its helper
        if runtime.running(paths, uid) is None and not _pids(uid):
            made.how = "stopped"
        else:
            made.freeze(uid)
        yield made


class Held:
    """how: "frozen"; "stopped": it does not run; "live": it runs on, as this host has no way to freeze it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.how = "live"
        self._stack = stack

    def freeze(self, uid: int) -> None:
        helper = _Helper(uid)
        self._stack.callback(helper.end)
        path = _frozen(uid)
        if path and os.path.exists(f"{path}/cgroup.freeze"):
            done = freezer.freeze_v2(path, _SECONDS)
        else:
            done = freezer.v1() and freezer.freeze_v1(str(uid), lambda: _pids(uid), _SECONDS)
        self.how = "frozen" if done else "live"

    def thaw(self) -> None:
        """It runs on, and its lock is free."""
        self._stack.close()


def thaw(uid: int) -> None:
    """Whatever of the jail is frozen runs on."""
    if path := _frozen(uid):
        freezer.thaw_v2(path)
    freezer.thaw_v1(str(uid))


def _frozen(uid: int) -> str:
    """The control group that is frozen as a whole, where v2 can, or ""."""
    return slices.of_user(uid) if slices.systemd() else _group(uid)


def _group(uid: int) -> str:
    """Of the jail's own groups that by which its processes are counted, or ""."""
    return next(iter(slices.groups(uid)), "")


def _pids(uid: int) -> list[int]:
    """Her processes: those of her control group, where there is one."""
    group = _group(uid)
    found = cgroup.members(group) if group else list(proc.of_uid(uid))
    host = proc.namespace(os.getpid(), "pid")
    return [pid for pid in found if proc.has_uid(pid, uid) and (group or _ours(pid, uid, host))]


def _ours(pid: int, uid: int, host: int | None) -> bool:
    return proc.namespace(pid, "pid") == host or proc.maps_itself(pid, uid)


class _Helper:
    """Thaws when its pipe is closed, whoever closes it: us, or the kernel when we are gone."""

    def __init__(self, uid: int) -> None:
        out, self._end = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()  # ^C is for the one that asked
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM):
                    signal.signal(number, signal.SIG_IGN)
                os.close(self._end)
                os.read(out, 1)
                thaw(uid)
            finally:
                os._exit(0)
        os.close(out)

    def end(self) -> None:
        os.close(self._end)
        os.waitpid(self.pid, 0)
