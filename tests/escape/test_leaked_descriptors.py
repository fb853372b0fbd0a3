"""A descriptor of the host that is still open in the session: a directory or a socket is a way out.

CVE-2024-21626 (runc), CVE-2016-8649 (lxc, lxc/lxc#2046). Attack A011. Every way in is looked at in
tests/test_ways_in.py; here the callers leak on purpose, as daemons and shells do: directories, files open for writing,
sockets, epoll.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from ..host.host import PYTHON
from ..host.observe import Seen
from ..ways.ways import find, sleeps
from .cells import FIRST, PLAIN, Cells

pytestmark = pytest.mark.host
LEAK = """
import os, select, socket, sys
target, argv = sys.argv[1], sys.argv[2:]
leaks = [os.open("/", os.O_RDONLY), os.open(target, os.O_RDWR), os.open("/srv", os.O_PATH)]
leaks += [socket.socket(socket.AF_UNIX).detach(), select.epoll().fileno(), os.open("/proc/1/ns/mnt", os.O_RDONLY)]
for at, fd in enumerate(leaks):
    os.dup2(fd, 10 + at)
os.dup2(leaks[0], 1000)
os.execv(argv[0], argv)
"""


@contextlib.contextmanager
def leaking(cells: Cells, argv: list[str], seconds: str) -> Iterator[Seen]:
    with cells.host.spawn([PYTHON, "-I", "-S", "-c", LEAK, cells.canary.deep, *argv]):
        yield find(cells.host, sleeps(seconds), "sleep")


@pytest.mark.parametrize("way", ["su", "su-", "jailctl"])
def test_a011_what_the_caller_had_open(cells: Cells, way: str) -> None:
    def argv(user: str, seconds: str) -> list[str]:
        if way == "jailctl":
            return ["/usr/local/sbin/jailctl", "exec", user, "--", "sleep", seconds]
        return ["/bin/su", *(["-"] if way == "su-" else []), user, "-c", f"exec sleep {seconds}"]

    unjailed = argv(PLAIN, "72000") if way != "jailctl" else ["/bin/sh", "-c", "exec sleep 72000"]
    with leaking(cells, unjailed, "72000") as process:
        assert {10, 11, 12, 13, 14, 15, 1000} <= set(process.fds)
    with leaking(cells, argv(FIRST, "72001"), "72001") as process:
        assert set(process.fds) == {0, 1, 2}
        assert all(name.startswith("pipe:") for name in process.fds.values()), process.fds


def test_a011_a_session_over_ssh_has_its_own_channel_only(cells: Cells) -> None:
    """An agent, so after a shell's exec; its child has the pipe to it as well."""
    with cells.first.held("status"):
        agent = next(process for process in cells.host.processes() if process.pid == cells.first.pid)
        assert set(agent.fds) == {0, 1, 2}
        assert all(name.startswith(("socket:", "pipe:")) for name in agent.fds.values())


@pytest.mark.parametrize("what", ["a directory", "an O_PATH file", "a namespace", "nothing"])
def test_a011_handed_over_as_standard_input(cells: Cells, what: str) -> None:
    """What is given on purpose (``su ... </``) and would lead out is refused, not passed on."""
    opened = {
        "a directory": "os.open('/srv', os.O_RDONLY)",
        "an O_PATH file": f"os.open({cells.canary.deep!r}, os.O_PATH)",
        "a namespace": "os.open('/proc/self/ns/mnt', os.O_RDONLY)",
        "nothing": "-1",
    }[what]
    code = (
        f"import os, sys; fd = {opened}; os.dup2(fd, 0) if fd >= 0 else os.close(0); os.execv('/bin/su', sys.argv[1:])"
    )
    look = "readlink /proc/self/fd/0 || echo closed"
    argv = [PYTHON, "-I", "-S", "-c", code]
    done = cells.host.run([*argv, "su", PLAIN, "-c", look])
    assert done.returncode == 0 and "pipe" not in done.stdout
    mark = len(cells.host.syslog())
    done = cells.host.run([*argv, "su", FIRST, "-c", look])
    assert done.returncode != 0 and done.stdout == "", done
    assert "code=login.bad-fd" in cells.host.wait_syslog(f"refused user={'-' if what == 'nothing' else ''}", after=mark)


def test_a011_a_file_that_is_lent_is_only_that_file(cells: Cells) -> None:
    """``su ... <file`` gives the file: that is what the caller asked for. Its directory cannot be reached by it."""
    probe = cells.once("climb", place=f"/home/{FIRST}/probe.py", times=1, start="/proc/self/fd/0/..")
    code = "import os, sys; os.dup2(os.open('/etc/hostname', os.O_RDONLY), 0); os.execv('/bin/su', sys.argv[1:])"
    done = cells.host.run([PYTHON, "-I", "-S", "-c", code, "su", FIRST, "-c", f"cat; {probe}"])
    assert done.stdout == 'testhost\n{"errno": "ENOTDIR"}\n', done
