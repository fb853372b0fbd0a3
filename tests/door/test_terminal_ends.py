"""The end of a login with a terminal, which must be as it was; and what its relay holds and the jail sees."""

from __future__ import annotations

import os
import re
import signal
import termios
import time
from pathlib import Path

import pytest

from jailkit.kernel import proc

from .lab import DULL, Lab
from .session import held
from .terminal import Terminal


def test_hang_up(lab: Lab) -> None:
    """The connection is lost: what runs inside gets SIGHUP, as on its own terminal."""
    mark = lab.home / "hung-up"
    mark.unlink(missing_ok=True)
    with Terminal(lab, f"trap 'echo hup >{mark}; exit' HUP; echo ready; while :; do sleep 0.05; done") as terminal:
        terminal.expect(b"ready\r\n")
        os.close(terminal.slave)
        os.close(terminal.master)
        assert terminal.child.wait(5) == 128 + signal.SIGHUP
    deadline = time.monotonic() + 5
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert mark.exists()


def test_hang_up_leaves_what_ignores_it(lab: Lab) -> None:
    with Terminal(lab, "trap '' HUP; echo ready; exec sleep 1000") as terminal:
        terminal.expect(b"ready\r\n")
        os.close(terminal.slave)
        os.close(terminal.master)
        assert terminal.child.wait(5) == 128 + signal.SIGHUP
    left = lab.processes()
    assert len(left) == 1
    os.kill(left[0], signal.SIGKILL)


def test_killed_relay_hangs_the_session_up(lab: Lab) -> None:
    with Terminal(lab, "exec sleep 1000") as terminal:
        pid = lab.inside()
        terminal.child.kill()
        terminal.child.wait()
        deadline = time.monotonic() + 5
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGALRM,
        signal.SIGXCPU,
        signal.SIGRTMIN + 2,
    ],
)
def test_terminal_is_restored_after_a_signal(lab: Lab, number: int) -> None:
    with Terminal(lab, "ulimit -c 0; exec sleep 1000") as terminal:
        lab.inside()
        time.sleep(0.05)
        assert terminal.raw()
        terminal.child.send_signal(number)
        assert terminal.wait() == 128 + number
        assert terminal.restored()


def test_terminal_is_restored_after_a_hang_up_signal(lab: Lab) -> None:
    with Terminal(lab, "exec sleep 1000") as terminal:
        lab.inside()
        terminal.child.send_signal(signal.SIGHUP)
        assert terminal.wait() == 128 + signal.SIGHUP
        assert terminal.restored()


def test_terminal_is_restored_after_a_late_refusal(lab: Lab) -> None:
    """The shell does not exist: known only inside, when the terminal is raw already."""
    lab.changed(shell="/bin/nothing")
    with Terminal(lab, "true") as terminal:
        assert terminal.wait() == 1
        assert terminal.seen == DULL.replace(b"\n", b"\r\n")
        assert terminal.restored()
    assert "execve: No such file" in lab.lines()[0]


def test_stopped_and_continued(lab: Lab) -> None:
    """Another program may have changed the terminal while the door was stopped."""
    with Terminal(lab, "exec sleep 1000") as terminal:
        lab.inside()
        terminal.child.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        termios.tcsetattr(terminal.slave, termios.TCSANOW, terminal.before)
        assert not terminal.raw()
        terminal.child.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + 5
        while not terminal.raw() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert terminal.raw()
        terminal.send(b"\x03")
        terminal.wait()
        assert terminal.restored()


# -- what the relay holds, and what the jail sees


def test_what_the_relay_holds(lab: Lab) -> None:
    with Terminal(lab, "exec sleep 1000") as terminal:
        inside = lab.inside()
        assert held(terminal.child.pid, 4) == sorted(
            [os.ttyname(terminal.slave), "/dev/pts/0", "/dev/pts/ptmx", "anon_inode:[signalfd]"]
        )
        status = Path(f"/proc/{terminal.child.pid}/status").read_text()
        assert re.findall(r"^Cap\w+:\s*(\w+)", status, re.M) == ["0" * 16] * 5
        found = {int(fd): os.readlink(f"/proc/{inside}/fd/{fd}") for fd in os.listdir(f"/proc/{inside}/fd")}
        assert found == {0: "/dev/pts/0", 1: "/dev/pts/0", 2: "/dev/pts/0"}
        assert os.stat(f"/proc/{inside}/fd/0").st_dev != os.stat(terminal.slave).st_dev
        terminal.send(b"\x03")
        terminal.wait()


def test_memory_of_the_relay(lab: Lab) -> None:
    """What it has for itself; the pages of the program are all relays' (620 KiB with glibc, 56 with musl)."""
    with Terminal(lab, "exec sleep 1000") as terminal:
        lab.inside()
        rollup = Path(f"/proc/{terminal.child.pid}/smaps_rollup").read_text()
        own = int(re.findall(r"^Pss_Anon:\s+(\d+)", rollup, re.M)[0])
        assert 0 < own <= 100, rollup
        terminal.send(b"\x03")
        terminal.wait()


def test_two_sessions_have_two_terminals(lab: Lab) -> None:
    """A055: and the second sees the first's only because it is the same user."""
    with Terminal(lab, "tty; read -r x") as first, Terminal(lab, "sleep 0.2; tty; read -r x") as second:
        first.expect(b"/dev/pts/0\r\n")
        second.expect(b"/dev/pts/1\r\n")
        for terminal in (first, second):
            terminal.send(b"\n")
            assert terminal.wait() == 0


def test_nothing_can_be_typed_into_the_callers_terminal(lab: Lab) -> None:
    """A053: TIOCSTI, first shown to work on a terminal of one's own without a jail (where the kernel still has it)."""
    push = """
import fcntl, termios
for fd in (0, 1, 2, open("/dev/tty")):
    try:
        fcntl.ioctl(fd, termios.TIOCSTI, b"Z")
    except OSError as error:
        print(error.errno)
"""
    script = lab.home / "push.py"
    script.write_text(push)
    script.chmod(0o644)
    with Terminal(lab, f"python3 {script}; echo end") as terminal:
        assert terminal.wait() == 0
        assert terminal.seen.split() == [b"1"] * 4 + [b"end"]
        os.set_blocking(terminal.slave, False)
        with pytest.raises(BlockingIOError):
            os.read(terminal.slave, 10)


def test_the_hosts_terminal_is_out_of_reach(lab: Lab) -> None:
    with Terminal(lab, "exec sleep 1000") as terminal:
        pid = lab.inside()
        outside = os.stat(terminal.slave)
        for name in os.listdir(f"/proc/{pid}/root/dev/pts"):
            found = os.stat(f"/proc/{pid}/root/dev/pts/{name}")
            assert found.st_dev != outside.st_dev
        assert proc.namespace(pid, "mnt") == proc.namespace(lab.record.pid, "mnt")
        terminal.send(b"\x03")
        terminal.wait()
