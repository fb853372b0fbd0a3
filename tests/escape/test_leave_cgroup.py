"""Leaving the control group that holds the limits, or raising them.

Attack A028. A jail has no view of the control groups at all: no /sys, no cgroup file system, and no way to mount one
(A017). Root outside can, which shows that the file would work.
"""

from __future__ import annotations

import pytest

from .cells import FIRST, Cells

pytestmark = pytest.mark.host


def groups_of(cells: Cells) -> list[str]:
    """Of the hierarchies that the host shows, cgroup.procs of the top and of the jail's group."""
    own = cells.keeper(FIRST).cgroups
    assert any("jailctl" in path for path in own.values()), own
    tops = [str(path) for path in cells.host.cgroups]
    assert tops
    found = []
    for top in sorted((cells.host.root / "sys/fs/cgroup").iterdir()):
        if (top / "cgroup.procs").exists():
            found.append(f"/sys/fs/cgroup/{top.name}/cgroup.procs")
    return found


def test_a028_moving_to_another_group(cells: Cells) -> None:
    files = groups_of(cells)
    for file in files:
        if file.endswith("pids/cgroup.procs"):
            with cells.root.held("write", path=file, data="0") as (_, process):
                assert process.cgroups["pids"] != cells.keeper(FIRST).cgroups["pids"]
    assert cells.plain.says("write", path=files[0], data="0") == "EACCES"
    tries = [["write", {"path": file, "data": "0"}] for file in files]
    tries += [["write", {"path": f"/sys/fs/cgroup/pids/jailctl/{cells.first.uid}/{name}", "data": "max"}]
              for name in ("cgroup.procs", "pids.max", "memory.max")]  # fmt: skip
    before = cells.keeper(FIRST).cgroups
    with cells.first.held("tries", verbs=tries) as (said, process):
        assert set(said) == {"ENOENT"}
        assert process.cgroups == before
    assert cells.keeper(FIRST).cgroups == before


def test_a028_what_is_known_of_it_is_relative(cells: Cells) -> None:
    """/proc/self/cgroup is the way from the namespace's root: it names no group of the host's."""
    lines = cells.first.ask("read", path="/proc/self/cgroup").split()
    assert lines and all(line.rpartition(":")[2] in ("/", "") or "jailctl" not in line for line in lines), lines
