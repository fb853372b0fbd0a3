"""Dropping privilege for good, and reading back that it is gone (capabilities(7), prctl(2), credentials(7))."""

from __future__ import annotations

import ctypes
import os

from .libc import call

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_NO_NEW_PRIVS = 39
_PR_CAP_AMBIENT = 47
_VERSION_3 = 0x20080522


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    return call("prctl", option, *(ctypes.c_ulong(x) for x in (a, b, c, d)), what=f"prctl {option}")


def become(uid: int, gid: int, keep_caps: bool = False) -> None:
    """Take real, effective and saved ids, groups = (gid,), and check that they were taken.

    ``keep_caps``: keep the permitted set across the change and raise it to effective again: kernels that forbid
    users to make a user namespace ask for CAP_SYS_ADMIN there (Debian's unprivileged_userns_clone, AppArmor)."""
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    if keep_caps:
        prctl(_PR_SET_KEEPCAPS, 1)
    os.setresuid(uid, uid, uid)
    if keep_caps:
        header, data = _header(), _get()
        for word in data:
            word[0] = word[1]
        call("capset", ctypes.byref(header), ctypes.byref(data))
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or os.getgroups() != [gid]:
        raise OSError(1, "the change of ids did not take")


def die_with_parent() -> None:
    """SIGKILL for this process when the thread that forked it ends; the kernel delivers it to a pid 1, too. Forgotten
    at each change of ids, so call it after the last one. What was asked while the parent ended already is for the
    caller to find out (prctl(2), PR_SET_PDEATHSIG)."""
    prctl(_PR_SET_PDEATHSIG, 9)


def untraceable() -> None:
    """Nobody who has not this process's rights on the host may trace it or look into it (PR_SET_DUMPABLE)."""
    prctl(_PR_SET_DUMPABLE, 0)


def drop_all() -> None:
    """Empty every capability set including the bounding one, set no_new_privs, read all back. Raise OSError
    otherwise."""
    keep_only(frozenset())


def keep_only(kept: frozenset[int]) -> None:
    """The same, but for the capabilities ``kept`` (numbers of capabilities(7)), which stay permitted, effective and in
    the bounding set. Raise OSError if it did not take."""
    last = _last()
    for cap in set(range(last + 1)) - kept:
        prctl(_PR_CAPBSET_DROP, cap)
    prctl(_PR_CAP_AMBIENT, 4)  # PR_CAP_AMBIENT_CLEAR_ALL
    header, data = _header(), (ctypes.c_uint32 * 3 * 2)()
    for cap in kept:
        data[cap // 32][0] |= 1 << cap % 32
        data[cap // 32][1] |= 1 << cap % 32
    call("capset", ctypes.byref(header), ctypes.byref(data))
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if [list(word) for word in _get()] != [list(word) for word in data]:
        raise OSError(1, "a capability is left after dropping all")
    if {cap for cap in range(last + 1) if prctl(_PR_CAPBSET_READ, cap)} != kept:
        raise OSError(1, "a capability is left in the bounding set")
    if prctl(_PR_GET_NO_NEW_PRIVS) != 1:
        raise OSError(1, "no_new_privs did not take")


def _header() -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 2)(_VERSION_3, 0)


def _get() -> ctypes.Array[ctypes.Array[ctypes.c_uint32]]:
    header, data = _header(), (ctypes.c_uint32 * 3 * 2)()
    call("capget", ctypes.byref(header), ctypes.byref(data))
    return data


def _last() -> int:
    # PR_CAPBSET_READ answers EINVAL beyond the kernel's last capability: no need of /proc/sys
    cap = 0
    while True:
        try:
            prctl(_PR_CAPBSET_READ, cap)
        except OSError:
            return cap - 1
        cap += 1
