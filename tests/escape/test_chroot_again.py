"""A second chroot: who may still call chroot(2) leaves the first one by it.

chroot(2), NOTES ("the superuser can escape"); vincentbernat/jchroot#1: a root that kept CAP_SYS_CHROOT. Attack A001.
"""

from __future__ import annotations

import os

import pytest

from .cells import FIRST, Cells

pytestmark = pytest.mark.host


def test_a001_a_second_chroot(cells: Cells) -> None:
    first = f"{cells.canary.path}-chroot"
    cells.root.ask("make", kind="mkdir", path=first, mode=0o777)
    assert cells.canary.secret in cells.root.ask("second_root", first=first, target=cells.canary.deep)
    cells.first.ask("make", kind="mkdir", path="/tmp/d", mode=0o777)
    assert cells.first.says("second_root", first="/tmp/d", target=cells.canary.deep) == "EPERM"
    assert cells.first.says("second_root", first="/", target=cells.canary.deep) == "EPERM"


def test_a001_no_capability_is_left_to_do_it_with(cells: Cells) -> None:
    with cells.plain.held("status") as (_, process):
        assert process.caps["CapBnd"] != 0
    with cells.first.held("status") as (_, process):
        assert process.caps == {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0}
        assert process.uids == (cells.first.uid,) * 4


def test_a001_climbing_ends_at_the_jails_root(cells: Cells) -> None:
    init = cells.host.processes()[0]
    up = cells.plain.ask("climb", times=64, start="/var/tmp")
    assert (up["dev"], up["ino"]) == init.root
    root = os.stat(f"/proc/{cells.keeper(FIRST).pid}/root")
    for start in (f"/home/{FIRST}", "/tmp", "/usr/share", "/proc/self", "/dev/pts"):
        up = cells.first.ask("climb", times=64, start=start)
        assert up["cwd"] == "/" and (up["dev"], up["ino"]) == (root.st_dev, root.st_ino) != init.root
