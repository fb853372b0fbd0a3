"""A start that gets only half way: each system call of it made to fail, the first time and the last.

A jail with one mount, one dropped right or one limit missing looks like a jail. Attack A190; the door's own calls are
in tests/door/test_faults.py.
"""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator

import pytest

from ..host import Host, Process, wait_for
from .world import Pair, in_jail, pair, sleeper

pytestmark = pytest.mark.host
USER = "partial"
STRACE = ["/usr/bin/strace", "-f", "--seccomp-bpf", "-qq", "-e", "signal=none", "-o", "/root/trace"]
COLD = ["/opt/jailctl/venv/bin/python3", "-I", "-S", "/opt/jailctl/lib/jailkit/jail/cold.py", USER, "sshd", "/"]
CALLS = (
    "unshare", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "mount_setattr", "fsopen", "fsconfig",
    "fsmount", "setresuid", "setresgid", "setgroups", "capset", "prctl", "seccomp", "sethostname", "chdir", "mknodat",
    "mkdir", "mkdirat", "chown", "fchownat", "chmod", "fchmodat", "fchown", "fchmod", "symlink", "symlinkat", "lchown",
    "write", "pipe2", "clone", "clone3", "dup2", "dup3", "rename", "renameat", "close_range", "execveat", "keyctl",
)  # fmt: skip
"""Those that one kind of machine has and another has not are passed over; what no start makes at all fails the test."""
NEEDED = {"unshare", "mount", "pivot_root", "open_tree", "move_mount", "mount_setattr", "setresuid", "setresgid",
          "setgroups", "capset", "prctl", "seccomp", "write", "close_range", "execveat"}  # fmt: skip
KEEPERS = ("close_range", "prctl")
"""The keeper makes these once the start has said "go". When one fails it ends, and the jail with it: nobody enters."""


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    both = pair(host, USER)
    host.run(["/usr/bin/true"], check=True)
    yield both


class Start:
    """One start under strace. strace lives as long as what it traces, the keeper too."""

    def __init__(self, host: Host, *options: str) -> None:
        self._host = host
        host.jailctl("stop", USER)
        uid = host.ids(USER)[0]
        self._entry = host.root / f"run/jailctl/jails/{uid}/entry"
        self._uid = uid
        with host.spawn([*STRACE, *options, *COLD]) as process:
            wait_for(lambda: self._over(process), 10, "strace hangs")
            self.started = self._entry.exists()
            self.status = process.poll()
            self.left = [argv for argv, uids in self._processes() if uid in uids]
            self.trace = (host.root / "root/trace").read_text()
            if self.started:
                host.jailctl("stop", USER)
                process.wait(5)

    def _over(self, process: Process) -> bool:
        """Ended, or started: then only the keeper is left."""
        if process.poll() is not None:
            return True
        starters = [argv for argv, _ in self._processes() if argv[-4:] == tuple(COLD[-4:])]
        return self._entry.exists() and len(starters) == 1  # strace itself

    def _processes(self) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
        """(argv, uids) of all in the host. A process that is about to end may refuse to show its namespaces (EACCES):
        then look again."""
        while True:
            with contextlib.suppress(PermissionError):
                return [(process.argv, process.uids) for process in self._host.processes()]


def test_a190_each_call(people: Pair) -> None:
    host = people.host
    clean = Start(host, "-e", f"trace={','.join(CALLS)}")
    assert clean.started, clean.trace[-2000:]
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for line in clean.trace.splitlines():
        if match := re.match(r"(\d+) +(\w+)\(", line):
            counts[match[2]][match[1]] += 1
    assert set(counts) >= NEEDED
    mounts = (host.root / f"proc/{host.processes()[0].inner_pid}/mountinfo").read_text()
    wrong = []
    for name, by_process in counts.items():
        for number in sorted({1, *by_process.values()}):
            start = Start(host, "-e", f"trace={name}", "-e", f"inject={name}:error=EPERM:when={number}")
            assert "(INJECTED)" in start.trace, (name, number)
            if start.left or (start.started and name not in KEEPERS):
                wrong.append((name, number, start.started, start.status, start.left))
    assert wrong == []
    assert (host.root / f"proc/{host.processes()[0].inner_pid}/mountinfo").read_text() == mounts
    with host.ssh_spawn(USER, "exec sleep 8190"):
        assert in_jail(host, sleeper(host, "8190"), USER)


def test_a190_one_line_a_refusal(people: Pair) -> None:
    """The user reads the dull line, the administrator the call that failed; the ordinary user notices nothing."""
    host = people.host
    host.jailctl("stop", USER)
    mark = len(host.syslog())
    done = host.run([*STRACE, "-e", "inject=pivot_root:error=EPERM", *COLD])
    assert done.returncode == 1 and done.stdout == ""
    line = host.wait_syslog("jailctl-start", after=mark)
    assert "code=jail.start" in line and "pivot_root" in line and USER in line
    assert host.ssh(people.free, "true").returncode == 0
