"""Links in /proc that are no names but things: root, cwd, exe, fd/N of some process lead to wherever that one is.

proftpd/proftpd#2170 (``/proc/self/root`` past DefaultRoot); CVE-2024-21626. Attack A006.
"""

from __future__ import annotations

import pytest

from .cells import SECOND, Cells

pytestmark = pytest.mark.host


def test_a006_of_processes_outside(cells: Cells) -> None:
    """By every pid that some process of the host has: pid 1, sshd's children, the other jail."""
    deep = cells.canary.deep
    reached, refused = 0, {}
    for process in cells.host.processes():
        number = process.inner_pids[1] if len(process.inner_pids) > 1 else process.inner_pids[0]
        for name in ("root", "cwd/../../../../..", "fd/3/../../.."):
            path = f"/proc/{number}/{name}{deep}"
            reached += cells.root.says("read", path=path) == ""
            refused[path] = cells.first.says("read", path=path)
    assert reached > 5
    assert set(refused.values()) <= {"ENOENT", "EACCES", "ENOTDIR"}, refused


def test_a006_of_its_own(cells: Cells) -> None:
    deep = cells.canary.deep
    ways = [f"/proc/{who}/{name}{deep}" for who in ("self", "thread-self", "1")
            for name in ("root", "cwd/../..", "root/proc/1/root", "task/1/root")]  # fmt: skip
    assert [path for path in ways if cells.plain.says("read", path=path) == ""] != []
    for path in ways:
        assert cells.first.says("read", path=path) in ("ENOENT", "EACCES"), path


def test_a006_the_keepers_program_is_no_door(cells: Cells) -> None:
    """``/proc/1/exe`` is a file of the host that no name in the jail leads to: readable, as any program is, and no more
    (CVE-2019-5736 wrote to the container runtime by such a link)."""
    program = cells.host.root / "opt/jailctl/libexec/keeper"
    before = program.read_bytes()
    assert cells.first.ask("link", path="/proc/1/exe").endswith("/keeper")
    assert cells.first.says("stats", path="/opt/jailctl") == "ENOENT"
    for path in ("/proc/1/exe", "/proc/1/map_files"):
        assert cells.first.says("write", path=path, data="x") in ("EACCES", "EPERM", "ETXTBSY", "EISDIR", "EROFS")
    for verb in ("chmod", "truncate", "utime"):
        assert cells.first.says("make", kind=verb, path="/proc/1/exe", mode=0o777) in ("EPERM", "EACCES", "ETXTBSY")
    assert cells.first.says("names", path="/proc/1/exe/..") == "ENOTDIR"
    assert program.read_bytes() == before


def test_a006_its_own_links_work(cells: Cells) -> None:
    with cells.second.held("status") as (_, process):
        assert cells.second.ask("link", path=f"/proc/{process.inner_pid}/cwd") == f"/home/{SECOND}"
