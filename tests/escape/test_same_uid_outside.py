"""A process of the tenant's own uid outside the jail: ptrace asks for no more than that, so it would be a way out.

No Yama on many hosts. Attack A042. At a login there are two: sshd's child and the door's parent. Both refuse to be
traced, also by a process of hers outside, and none in the jail can name them: neither by pid nor by their end of a
socket. For every way in, who is outside: tests/test_ways_in.py.
"""

from __future__ import annotations

import json

import pytest

from ..host.host import PYTHON
from .cells import FIRST, PLACE, PLAIN, Cells
from .test_debugging import attempts, tracer

pytestmark = pytest.mark.host


def test_a042_who_is_outside_cannot_be_traced(cells: Cells) -> None:
    """Not even from outside: by a process of her uid that the test puts on the host, which can trace its like."""
    init = cells.host.processes()[0]
    outside = [p for p in cells.host.processes()
               if p.uids[0] == cells.first.uid and p.namespaces["pid"] == init.namespaces["pid"]]  # fmt: skip
    assert sorted({p.name for p in outside}) == ["door", "sshd"]
    with (
        cells.open([PYTHON, "-I", "-S", PLACE, "{}"], user=FIRST) as stray,
        cells.host.spawn(["/bin/sleep", "60"], user=FIRST) as like,
    ):
        number = next(p for p in cells.host.processes() if p.pid == like.pid).inner_pids[1]
        assert attempts(stray, number, 0x1000)[:2] == ["", ""]
        for process in outside:
            said = attempts(stray, process.inner_pids[1], 0x1000)
            assert set(said) <= {"EPERM", "EACCES"}, (process.name, said)
            assert tracer(process.pid) == "0"


def test_a042_from_the_jail_they_are_not_there(cells: Cells) -> None:
    for process in cells.host.processes():
        if process.uids[0] == cells.first.uid and process.name in ("door", "sshd"):
            for pid in process.inner_pids:
                if pid not in cells.first.ask("pids"):
                    assert set(attempts(cells.first, pid, 0x1000)) <= {"ESRCH", "ENOENT", "EBADF"}


def test_a042_by_the_other_end_of_the_session(cells: Cells) -> None:
    """A socket as standard input has a process at its other end, and SO_PEERPIDFD (Linux 6.5) gives a handle on that
    one, whatever its pid namespace. Nothing can be done with it: no signal, no descriptor, no namespace."""
    code = (
        "import os, socket, sys\n"
        "ours, theirs = socket.socketpair(); os.set_inheritable(ours.fileno(), True)\n"
        "os.dup2(theirs.fileno(), 0); os.execv(sys.argv[1], sys.argv[1:])"
    )
    alone = [PYTHON, "-I", "-S", "-c", code]
    said = json.loads(cells.host.run([*alone, PYTHON, "-I", "-S", PLACE, "peer", "{}"], user=PLAIN).stdout)
    if said == {"errno": "ENOPROTOOPT"}:
        return  # an older kernel gives no handle, so there is nothing to refuse
    assert said["is"]["uid"] == cells.plain.uid and said["is"]["signal"] == said["is"]["getfd"] == ""
    probe = cells.once("peer", place=f"/home/{FIRST}/probe.py")
    said = json.loads(cells.host.run([*alone, "/bin/su", FIRST, "-c", probe]).stdout)["is"]
    assert said["pid"] == 0 and (said["signal"], said["getfd"], said["setns"]) == ("EINVAL", "EPERM", "EPERM"), said
