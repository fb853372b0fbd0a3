"""Ids that a jail's user namespace maps and should not: root's, another tenant's; setgroups left open.

CVE-2014-8989 (setgroups dropping a group that denies); CVE-2018-18955 (maps in several pieces). Attack A029.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .cells import FIRST, PLAIN, SECOND, Cells
from .numbers import numbers

pytestmark = pytest.mark.host
BASE, SIZE = 700_000_000, 1024


def pieces(cells: Cells, user: str, name: str) -> list[tuple[int, ...]]:
    text = Path(f"/proc/{cells.keeper(user).pid}/{name}").read_text()
    return [tuple(int(word) for word in line.split()) for line in text.splitlines()]


@pytest.mark.parametrize("name", ["uid_map", "gid_map"])
def test_a029_the_maps(cells: Cells, name: str) -> None:
    """Inside 0 to 1023: a range of the jail's own. The user: herself. Nothing else."""
    init = Path(f"/proc/{cells.host.init}/{name}").read_text().split()
    assert int(init[2]) > SIZE, "outside, all are mapped"
    bases = []
    for user in (FIRST, SECOND):
        own = cells.host.ids(user)[0 if name == "uid_map" else 1]
        maps = {start + i: outside + i for start, outside, size in pieces(cells, user, name) for i in range(size)}
        base = maps[0]
        assert maps == {i: base + i for i in range(SIZE)} | {own: own}
        assert base >= BASE and (base - BASE) % SIZE == 0
        bases.append(base)
    assert len(set(bases)) == 2


def test_a029_other_ids_cannot_be_taken(cells: Cells) -> None:
    n = numbers()
    wanted = [0, 1, 999, cells.second.uid, cells.plain.uid, 65534, BASE]
    calls = [[n[call], *[value] * count] for value in wanted for call, count in
             (("setuid", 1), ("setgid", 1), ("setresuid", 3), ("setresgid", 3), ("setfsuid", 1))]  # fmt: skip
    for call in calls[:4]:
        assert cells.root.calls(call) == [""]
    with cells.first.held("call", steps=calls) as (said, process):
        names = [name for (_, name, _), call in zip(said, calls, strict=True) if call[0] != n["setfsuid"]]
        assert set(names) <= {"EPERM", "EINVAL"}  # setfsuid(2) never says
        assert process.uids == process.gids == (cells.first.uid,) * 4


def test_a029_groups_are_fixed(cells: Cells) -> None:
    n = numbers()
    for group in (0, 4, 27, 42, cells.second.uid):
        one = [n["setgroups"], 1, {"hex": group.to_bytes(4, "little").hex()}]
        assert cells.root.calls(one) == [""]
        with cells.first.held("call", steps=[one, [n["setgroups"], 0, 0]]) as (said, process):
            assert [name for _, name, _ in said] == ["EPERM", "EPERM"]
            assert process.groups == (cells.first.uid,)


def test_a029_the_maps_cannot_be_written_again(cells: Cells) -> None:
    before = pieces(cells, FIRST, "uid_map")
    for who in ("self", "1"):
        for name in ("uid_map", "gid_map", "projid_map", "setgroups"):
            text = "deny\n" if name == "setgroups" else "0 0 1\n"
            assert cells.first.says("write", path=f"/proc/{who}/{name}", data=text) in ("EPERM", "EACCES")
    assert pieces(cells, FIRST, "uid_map") == before


def test_a029_files_are_the_tenants_outside(cells: Cells) -> None:
    for place, root in ((f"/home/{FIRST}/owned", cells.home(FIRST) / "owned"), ("/tmp/owned", None)):
        cells.first.ask("make", kind="file", path=place)
        seen = root or Path(f"/proc/{cells.keeper(FIRST).pid}/root{place}")
        status = os.stat(seen)
        assert (status.st_uid, status.st_gid) == cells.host.ids(FIRST)[:2]
        cells.first.ask("make", kind="unlink", path=place)
    assert cells.first.ask("stats", path="/usr/bin")["uid"] == 0  # and root's show as root's
    assert cells.plain.uid == cells.host.ids(PLAIN)[0]
