"""Looks at processes that end meanwhile."""

from __future__ import annotations

import os
import subprocess

import pytest

from jailkit.kernel import proc


def test_the_link_of_a_process_that_ends_between_its_lookup_and_its_following() -> None:
    """The kernel says EACCES then, as for a process that one may not look at (fs/proc/namespaces.c)."""
    child = subprocess.Popen(["/usr/bin/sleep", "60"])
    assert proc.namespace(child.pid, "pid") == os.stat("/proc/self/ns/pid").st_ino
    looks = 0

    def ends(path: str) -> os.stat_result:
        nonlocal looks
        looks += 1
        if looks > 1:
            return os.stat(path)
        child.kill()
        child.wait()
        raise PermissionError(13, "Permission denied", path)

    assert proc.look(ends, child.pid, "ns/pid") is None
    assert looks == 2


def test_a_process_that_one_may_not_look_at() -> None:
    def refused(path: str) -> os.stat_result:
        raise PermissionError(13, "Permission denied", path)

    with pytest.raises(PermissionError):
        proc.look(refused, os.getpid(), "ns/pid")


def test_one_that_is_gone() -> None:
    child = subprocess.Popen(["/usr/bin/true"])
    child.wait()
    assert proc.namespace(child.pid, "user") is None
    assert proc.look(os.readlink, child.pid, "exe") is None
