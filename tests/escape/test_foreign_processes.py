"""Processes of others: seen in /proc, or felt by calls that tell "not yours" from "not there".

CageFS's promise; hidepid. Attacks A039, A040. The jail has a pid namespace of its own: a foreign pid means nothing in
it. (A plain chroot differs: there every pid of the host is there to be asked for; jailkit has no such level yet.)
"""

from __future__ import annotations

import secrets

import pytest

from .cells import PLAIN, Cells

pytestmark = pytest.mark.host
FILES = ("cmdline", "environ", "maps", "fd", "status", "stat", "cwd", "root", "exe", "mountinfo", "net/unix", "task")


def test_a039_processes_of_the_host_and_of_another_jail(cells: Cells) -> None:
    secret = secrets.token_hex(16)
    with (
        cells.host.spawn(["/bin/sleep", "74001"], user=PLAIN, env={"SECRET": secret}) as one,
        cells.second.held("become", argv=["/bin/sh", "-c", f"sleep 60; : {secret}"]) as (_, two),
    ):
        pid = next(p for p in cells.host.processes() if p.pid == one.pid).inner_pids[1]
        assert pid in cells.plain.ask("pids")
        assert secret in cells.plain.ask("read", path=f"/proc/{pid}/environ")
        for foreign in {pid, two.inner_pids[1], one.pid} - set(cells.first.ask("pids")):
            for name in FILES:
                assert cells.plain.says("stats", path=f"/proc/{pid}/{name}", follow=False) == ""
                assert cells.first.says("stats", path=f"/proc/{foreign}/{name}", follow=False) == "ENOENT"
        found = cells.first.ask("search", tops=["/proc"], skip=["/proc/sys"], needles=[secret[::-1]])
        assert found["hits"] == [] and found["files"] > 100


def test_a039_the_list_is_that_of_the_jail(cells: Cells) -> None:
    with cells.first.held("pids") as (said, process):
        there = [p for p in cells.host.processes() if p.namespaces["pid"] == process.namespaces["pid"]]
        assert set(said) == {p.inner_pid for p in there} and 1 in said
        assert all(p.uids == (cells.first.uid,) * 4 for p in there)
    assert len(cells.plain.ask("pids")) > len(said) + 3


def test_a040_calls_that_admit_a_pid(cells: Cells) -> None:
    outside = cells.plain.ask("oracles", last=3000)
    pid = next(p for p in cells.host.processes() if p.pid == cells.second.pid).inner_pids[1]
    assert all(pid in found for found in outside.values()), "the other user's process is felt"
    with cells.first.held("oracles", last=3000) as (said, process):
        there = {p.inner_pid for p in cells.host.processes() if p.namespaces["pid"] == process.namespaces["pid"]}
        assert all(set(found) == there for found in said.values()), said


def test_a040_over_all_pids_that_there_can_be(cells: Cells) -> None:
    """Of a kernel with 32768: only those of the jail, by any of the calls."""
    answers = cells.first.ask("oracles", last=32768)
    there = cells.first.ask("pids")
    for name, found in answers.items():
        assert len(found) <= len(there) + 1 and 1 in found, name
