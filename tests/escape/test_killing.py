"""Killing, stopping or crashing what watches.

Attack A044. A signal reaches who is in the jail and nobody else: the keeper takes none, sshd, the hook's watcher and
the other jails cannot be named. The tenant may end her own jail by tracing the keeper; then it is gone, and the next
login has a new one.
"""

from __future__ import annotations

import signal

import pytest

from ..host import wait_for
from ..host.observe import Seen
from .cells import Cells

pytestmark = pytest.mark.host
USER = "esckill"
ALL = [signal.SIGSTOP, signal.SIGCONT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]


def standing(cells: Cells, uid: int) -> set[tuple[int, int]]:
    """What has to stay, by pid and start time: the host's pid 1, its sshd, keepers and agents of others."""
    stays = ("keeper", "python3")
    return {(p.pid, p.start_time) for p in cells.host.processes()
            if (uid not in p.uids and p.name in stays and not starter(p)) or p.pid == cells.host.sshd_pid}  # fmt: skip


def starter(process: Seen) -> bool:
    """Of what a login starts a jail with, which ends by itself (its argv is gone before it is)."""
    return not process.argv or any("/opt/jailctl/" in word for word in process.argv)


@pytest.fixture(scope="module")
def uid(_cells: Cells) -> int:
    _cells.make(USER)
    return _cells.host.ids(USER)[0]


def test_a044_everybody_at_once(cells: Cells, uid: int) -> None:
    with cells.host.spawn(["/bin/sleep", "60"], user="escplain") as lone:
        number = next(p for p in cells.host.processes() if p.pid == lone.pid).inner_pids[1]
        cells.host.run(["/bin/kill", "-TERM", str(number)], user="escplain", check=True)
        assert lone.wait(5) == -signal.SIGTERM, "its own uid may"
    first, second = cells.enter(USER), cells.enter(USER)
    keeper = cells.keeper(USER)
    others = standing(cells, uid)
    first.send({"verb": "blast", "args": {"numbers": ALL}, "hold": False})
    assert first.process.wait(10) is not None and second.process.wait(10) is not None
    assert standing(cells, uid) >= others and cells.keeper(USER).pid == keeper.pid
    assert cells.first.ask("status") and cells.second.ask("status")
    wait_for(lambda: list((cells.host.root / f"run/jailctl/jails/{uid}/sessions").iterdir()) == [], 5)
    assert cells.host.ssh(USER, "echo again").stdout == "again\n"


def test_a044_by_number(cells: Cells, uid: int) -> None:
    """Directed: at every pid that some process of the host has outside, at the keeper, at groups and sessions."""
    with cells.enter(USER) as cell:
        numbers = {number for p in cells.host.processes() for number in p.inner_pids[1:2] if uid not in p.uids}
        inside = set(cell.ask("pids"))
        before = standing(cells, uid)
        said = [cell.says("blast", numbers=[9], pid=sign * pid) for pid in numbers - inside for sign in (1, -1)]
        assert len(said) > 10 and set(said) == {"ESRCH"}
        for number in ALL:
            assert cell.says("blast", numbers=[number], pid=1) == ""
        assert standing(cells, uid) >= before and cells.keeper(USER)
        assert cell.ask("status")


def test_a044_the_keeper_by_its_tracer(cells: Cells, uid: int) -> None:
    """A debugger may do to the keeper what its program cannot: here, end it. What ends is her own jail."""
    script = (
        "import ctypes, os, signal\\n"
        "libc = ctypes.CDLL(None)\\n"
        "libc.ptrace(0x4206, 1, None, 0x100000)\\n"  # PTRACE_SEIZE with PTRACE_O_EXITKILL
        "libc.ptrace(0x4207, 1, None, None); os.kill(os.getpid(), signal.SIGKILL)\\n"
    ).replace("\\n", "\n")
    others = standing(cells, uid)
    old = cells.keeper(USER)
    cells.host.ssh(USER, f"/usr/bin/python3 -I -S -c '{script}'")
    wait_for(lambda: not [p for p in cells.host.processes() if p.pid == old.pid], 5, "the keeper is still there")
    wait_for(lambda: not [p.argv for p in cells.host.processes() if uid in p.uids], 5)
    assert standing(cells, uid) >= others
    assert cells.host.ssh(USER, "echo again").stdout == "again\n"
    assert cells.keeper(USER).pid != old.pid
