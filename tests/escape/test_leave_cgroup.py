"""Leaving the control group that holds the limits, or raising them.

Attack A028. A jail has no view of the control groups at all: no /sys, no cgroup file system, and no way to mount one
(A017). Root outside can, which shows that the files would work.
"""

from __future__ import annotations

import pytest

from .cells import FIRST, Cells

pytestmark = pytest.mark.host
LIMITS = ("pids.max", "memory.max", "memory.limit_in_bytes", "cpu.max", "cgroup.kill", "cgroup.freeze", "tasks")


def test_a028_moving_to_another_group(cells: Cells) -> None:
    top = cells.host.root / "sys/fs/cgroup"
    files = [f"/{path.relative_to(cells.host.root)}" for path in sorted(top.rglob("cgroup.procs"))]
    (own, *_) = [file for file in files if f"/jailctl/{cells.first.uid}/" in file]
    before = cells.keeper(FIRST).cgroups
    with cells.root.held("write", path=own, data="0") as (_, process):
        moved = [name for name, group in process.cgroups.items() if group == before[name] and "jailctl" in group]
        assert moved, "root moves where it likes"
    assert cells.plain.says("write", path=files[0], data="0") == "EACCES"
    others = [file for file in files if "/jailctl/" not in file] + [own.replace(str(cells.first.uid), "0")]
    tries = [["write", {"path": file, "data": "0"}] for file in [*others[:12], own]]
    tries += [["write", {"path": own.replace("cgroup.procs", name), "data": "max"}] for name in LIMITS]
    tries += [["make", {"kind": "mkdir", "path": own.replace("cgroup.procs", "new")}]]
    with cells.first.held("tries", verbs=tries) as (said, process):
        assert set(said) == {"ENOENT"}
        assert process.cgroups == before == cells.keeper(FIRST).cgroups


def test_a028_the_hosts_groups_have_no_names_inside(cells: Cells) -> None:
    """The namespace begins at the jail's own group."""
    outside = cells.keeper(FIRST).cgroups
    assert any("jailctl" in group for group in outside.values())
    assert "jailctl" not in cells.first.ask("read", path="/proc/1/cgroup")
