"""Files of /proc that say something of the whole machine, or change it; and a mask that comes off.

runc CVE-2025-31133, CVE-2025-52881; moby/moby#36368 (/proc/keys). Attack A026. What is masked is an empty file of the
jail's own tmpfs, not /dev/null: nothing in the jail's /dev can be put in its place.
"""

from __future__ import annotations

import pytest

from .cells import FIRST, Cells, mounts

pytestmark = pytest.mark.host
ANYBODYS = {"/proc/pressure/cpu", "/proc/pressure/io", "/proc/pressure/memory", "/proc/pressure/irq"}
"""Mode 0666 on every host: a write registers a poll(2) for the writer and sets nothing."""
SECRETS = ("kcore", "keys", "key-users", "sched_debug", "timer_list", "sysrq-trigger", "kallsyms", "kmsg", "kpagecount",
           "kpageflags", "kpagecgroup", "slabinfo", "vmallocinfo", "pagetypeinfo", "modules", "locks",
           "latency_stats")  # fmt: skip


def test_a026_what_is_masked_or_closed(cells: Cells) -> None:
    paths = [f"/proc/{name}" for name in SECRETS]
    there = {path for path, said in cells.root.ask("opened", paths=paths).items() if said != "ENOENT"}
    assert {"/proc/keys", "/proc/key-users", "/proc/kallsyms", "/proc/timer_list"} <= there
    assert {"/proc/keys", "/proc/key-users", "/proc/locks"} <= {
        path for path, said in cells.plain.ask("opened", paths=paths).items() if said == ""
    }
    for flags in (0, 1):
        assert set(cells.first.ask("opened", paths=paths, flags=flags).values()) <= {"EACCES", "ENOENT"}


def test_a026_no_setting_of_the_kernel_can_be_written(cells: Cells) -> None:
    """Every file below /proc that is not of a process: open for writing, by who owns them and by who is jailed."""
    top, skip = ["/proc/sys"], ["/proc/sys/fs/binfmt_misc"]
    assert len(cells.root.ask("openable", tops=top, skip=skip)) > 300
    # anybody may open this one: who may write to it is asked at the write
    assert set(cells.first.ask("openable", tops=top, skip=skip)) <= {"/proc/sys/kernel/ns_last_pid"}
    assert cells.first.says("write", path="/proc/sys/kernel/ns_last_pid", data="300") in ("EPERM", "ENOENT")
    others = [f"/proc/{name}" for name in cells.first.ask("names", path="/proc") if not name.isdigit()]
    others = [path for path in others if path not in ("/proc/self", "/proc/thread-self", "/proc/net", "/proc/mounts")]
    assert len(others) > 30
    assert set(cells.first.ask("openable", tops=others, skip=[])) <= ANYBODYS | {"/proc/sys/kernel/ns_last_pid"}
    assert [path for path, said in cells.first.ask("opened", paths=others, flags=1).items() if not said] == []


def test_a026_the_masks_stay_on(cells: Cells) -> None:
    before = mounts(cells.keeper(FIRST).pid)
    masks = [row for row in before if row["point"].startswith("/proc/")]
    assert len(masks) >= 4 and {row["root"] for row in masks} == {"/masked"}
    tries = [["make", {"kind": kind, "path": path, "to": f"/home/{FIRST}/probe.py"}]
             for path in ("/dev/null", "/proc/keys") for kind in ("unlink", "chmod", "symlink")]  # fmt: skip
    tries += [["make", {"kind": "rename", "path": "/tmp/null", "to": "/dev/null"}]]
    cells.first.ask("make", kind="file", path="/tmp/null")
    assert set(cells.first.ask("tries", verbs=tries)) <= {"EROFS", "EPERM", "EBUSY", "EEXIST", "EXDEV", "EACCES"}
    assert mounts(cells.keeper(FIRST).pid) == before
    assert cells.first.says("read", path="/proc/keys") == "EACCES"


def test_a026_what_a_program_needs_is_there(cells: Cells) -> None:
    for name in ("cpuinfo", "meminfo", "stat", "uptime", "loadavg", "mounts", "self/maps", "sys/kernel/osrelease"):
        assert cells.first.ask("read", path=f"/proc/{name}"), name
