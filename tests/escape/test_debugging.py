"""Reading, changing or tracing a process of another tenant.

ptrace(2), process_vm_readv(2), pidfd_getfd(2), /proc/PID/mem; no Yama on many hosts. Attack A041.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .cells import FIRST, Cell, Cells
from .numbers import numbers

pytestmark = pytest.mark.host
SEIZE, ATTACH = 0x4206, 16


def tracer(pid: int) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("TracerPid"))


def attempts(cell: Cell, pid: int, address: int) -> list[str]:
    n = numbers()
    said = [cell.says("trace", pid=pid, request=request) for request in (SEIZE, ATTACH)]
    said.append(cell.says("peek", pid=pid, address=address, size=16))
    opened = cell.ask("call", steps=[[n["pidfd_open"], pid, 0], [n["pidfd_getfd"], {"step": 0}, 0, 0]])
    said.append(opened[1][1])
    said.append(cell.says("read", path=f"/proc/{pid}/environ"))
    said.append(next(iter(cell.ask("opened", paths=[f"/proc/{pid}/mem"], flags=2).values())))
    return said


def test_a041_a_process_of_another_jail(cells: Cells) -> None:
    with cells.second.held("secret_page", text=cells.canary.secret[:16]) as (address, process):
        outer, host, inner = process.inner_pids
        assert cells.root.ask("peek", pid=host, address=address, size=16) == cells.canary.secret[:16]
        assert attempts(cells.root, host, address) == [""] * 6
        for pid in (host, inner + 100, outer):
            said = attempts(cells.first, pid, address)
            assert set(said) <= {"ESRCH", "ENOENT", "EBADF"}, said
        assert tracer(process.pid) == "0"


def test_a041_within_ones_own_jail_it_works(cells: Cells) -> None:
    """gdb and strace are the tenant's to use, on what is hers."""
    with cells.first.held("secret_page", text="mine") as (address, process):
        assert attempts(cells.first, process.inner_pid, address) == [""] * 6
        assert cells.first.ask("peek", pid=process.inner_pid, address=address, size=4) == "mine"


def test_a041_the_keeper_has_nothing_to_take(cells: Cells) -> None:
    """It is hers to trace (the door must be able to look at it), and has no more rights than she."""
    assert cells.first.says("trace", pid=1) == ""
    keeper, with_agent = cells.keeper(FIRST), next(p for p in cells.host.processes() if p.pid == cells.first.pid)
    assert (keeper.caps, keeper.uids, keeper.gids, keeper.groups, keeper.namespaces, keeper.root) == (
        with_agent.caps, with_agent.uids, with_agent.gids, with_agent.groups, with_agent.namespaces, with_agent.root
    )  # fmt: skip
    assert keeper.no_new_privs and keeper.seccomp == 2 and keeper.fds == {} and keeper.environ == {}
