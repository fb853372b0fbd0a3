"""Paths by which the kernel runs a program of one's choice, as root, on the host.

core_pattern, modprobe, hotplug, binfmt_misc; the release_agent of control groups, version 1 (CVE-2022-0492). Attack
A027. Not applicable in the test host: writing a release_agent, as a control group namespace hides it even from root;
that its file system can be mounted is shown.
"""

from __future__ import annotations

import pytest

from .cells import Cells
from .numbers import numbers

pytestmark = pytest.mark.host
SETTINGS = ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/poweroff_cmd",
            "/proc/sys/kernel/core_pipe_limit", "/proc/sys/kernel/usermodehelper/bset",
            "/proc/sys/vm/drop_caches")  # fmt: skip
ELSEWHERE = ("/proc/sys/fs/binfmt_misc/register", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/release_agent",
             "/sys/fs/cgroup/pids/release_agent", "/sys/kernel/debug", "/sys/kernel/security", "/sys")  # fmt: skip


def test_a027_settings(cells: Cells) -> None:
    said = cells.root.ask("opened", paths=list(SETTINGS), flags=1)
    assert said[SETTINGS[0]] == "" and set(said.values()) <= {"", "ENOENT"}  # without modules there is no modprobe
    before = cells.root.ask("read", path=SETTINGS[0])
    for path in SETTINGS:
        assert cells.first.says("write", path=path, data="|/bin/false\n") in ("EACCES", "EROFS", "ENOENT"), path
    assert cells.root.ask("read", path=SETTINGS[0]) == before


def test_a027_file_systems_that_have_one(cells: Cells) -> None:
    n = numbers()
    for kind, data in (("cgroup", "pids"), ("cgroup2", ""), ("binfmt_misc", ""), ("sysfs", ""), ("debugfs", "")):
        mount = [n["mount"], {"s": "none"}, {"s": "/mnt"}, {"s": kind}, 0, {"s": data} if data else 0]
        unjailed = cells.root.calls([n["unshare"], 0x20000], mount)
        assert unjailed[1] in ("", "ENODEV", "EBUSY", "EINVAL"), kind  # what this kernel has, root may mount
        assert cells.first.calls(mount) == ["EPERM"]
    mount = [n["mount"], {"s": "none"}, {"s": "/mnt"}, {"s": "cgroup2"}, 0, 0]
    assert cells.root.calls([n["unshare"], 0x20000], mount) == ["", ""]
    for path in ELSEWHERE:
        assert set(cells.first.ask("opened", paths=[path], flags=0).values()) == {"ENOENT"}, path
