"""Logins with a terminal: the inner pty, the relay, and the user's own terminal."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import termios
import time

import pytest

from .lab import Lab
from .terminal import Terminal, cpu

PROMPT = b"$ "
PLAIN = {"TERM": "dumb"}


def test_the_terminal_is_the_jails_own(lab: Lab) -> None:
    with Terminal(
        lab, "tty; ls /dev/pts; stat -c %U:%a $(tty); echo $SSH_TTY; stty size; exit 5", size=(31, 97)
    ) as terminal:
        assert terminal.wait() == 5
        assert terminal.seen.split() == [b"/dev/pts/0", b"0", b"ptmx", b"dora:620", b"31", b"97"]
        assert terminal.restored()


def test_ssh_tty_names_the_inner_one(lab: Lab) -> None:
    with Terminal(lab, "echo =$SSH_TTY=", env={"SSH_TTY": "/dev/pts/77"}) as terminal:
        terminal.wait()
        assert terminal.seen == b"=/dev/pts/0=\r\n"


def test_modes_are_the_clients(lab: Lab) -> None:
    """sshd sets on the outer terminal what the client sent; the inner one begins with it."""
    with Terminal(lab, "stty -a", env=PLAIN) as terminal:
        terminal.wait()
        assert b"intr = ^C" in terminal.seen
    outer = os.openpty()
    subprocess.run(["/bin/stty", "intr", "^X", "-echo", "-ixon"], stdin=outer[1], check=True)
    child = lab.spawn(["door", "-c", "stty -a"], stdin=outer[1], stdout=subprocess.PIPE)
    out, _ = child.communicate(timeout=10)
    for fd in outer:
        os.close(fd)
    assert b"intr = ^X" in out
    assert b" -echo " in out
    assert b" -ixon " in out


def test_shell_with_job_control(lab: Lab) -> None:
    """^C, ^Z, ^D, ^\\ are the inner terminal's to see, so they reach what runs inside."""
    with Terminal(lab, env=PLAIN) as terminal:
        terminal.expect(PROMPT)
        terminal.send(b"set -o | grep monitor\n")
        terminal.expect(b"\ton\r\n")
        terminal.send(b"sleep 1000\n")
        time.sleep(0.2)
        terminal.send(b"\x03")
        terminal.expect(PROMPT)
        terminal.send(b"echo st=$?\n")
        terminal.expect(b"st=130")
        terminal.send(b"sleep 1000\n")
        time.sleep(0.2)
        terminal.send(b"\x1a")
        terminal.expect(b"Stopped")
        terminal.send(b"bg; kill %1; wait %1; echo st=$?\n")
        terminal.expect(b"st=143")
        terminal.send(b"ulimit -c 0; sleep 1000\n")
        time.sleep(0.2)
        terminal.send(b"\x1c")
        terminal.expect(b"Quit")
        terminal.send(b"cat >/dev/null; echo eof=$?\n")
        time.sleep(0.2)
        terminal.send(b"some text\n\x04")
        terminal.expect(b"eof=0")
        terminal.expect(PROMPT)
        terminal.send(b"(exit 6)\n")
        terminal.expect(PROMPT)
        time.sleep(0.1)
        terminal.send(b"\x04")
        assert terminal.wait() == 6
        assert terminal.restored()


def test_flow_control_is_the_inner_terminals(lab: Lab) -> None:
    with Terminal(lab, "echo ready; sleep 0.4; echo later", env=PLAIN) as terminal:
        terminal.expect(b"ready\r\n")
        terminal.send(b"\x13")
        time.sleep(0.7)
        terminal.read(0.1)
        assert b"later" not in terminal.seen
        terminal.send(b"\x11")
        terminal.expect(b"later\r\n")
        assert terminal.wait() == 0


def test_window_size_follows(lab: Lab) -> None:
    script = lab.home / "size.py"
    script.write_text(
        "import os, signal\nsignal.signal(2, signal.SIG_DFL)\nsignal.pthread_sigmask(signal.SIG_BLOCK, {28})\n"
        "print('ready', flush=True)\nwhile signal.sigwait({28}): print(*os.get_terminal_size()[::-1], flush=True)\n"
    )
    script.chmod(0o644)
    with Terminal(lab, f"exec python3 {script}") as terminal:
        terminal.expect(b"ready\r\n")
        for rows, columns in ((50, 132), (10, 20), (0, 0), (65535, 1)):
            termios.tcsetwinsize(terminal.master, (rows, columns))
            terminal.expect(f"{rows} {columns}\r\n".encode())
        terminal.send(b"\x03")
        assert terminal.wait() == 128 + signal.SIGINT


# -- some of the descriptors are terminals


def test_only_input_is_a_terminal(lab: Lab) -> None:
    """``ssh -tt`` has all three; ``su dora -c cmd >file`` has not. Output that is no terminal stays what it was."""
    out, back = os.pipe()
    with Terminal(lab, "tty; cat", fds=(0, 2), others={1: back}) as terminal:
        os.close(back)
        terminal.wait_raw()
        terminal.send(b"hello\n\x04")
        assert terminal.wait() == 0
        assert terminal.seen == b"hello\r\n"  # the inner echo
        assert terminal.restored()
    with os.fdopen(out, "rb") as file:
        assert file.read() == b"/dev/pts/0\nhello\n"


def test_only_output_is_a_terminal(lab: Lab) -> None:
    source, sink = os.pipe()
    os.write(sink, b"from a pipe\n")
    os.close(sink)
    with Terminal(lab, "cat; tty; read -r line </dev/tty; echo got $line", fds=(1, 2), others={0: source}) as terminal:
        os.close(source)
        terminal.expect(b"not a tty\r\n")
        terminal.send(b"typed\n")
        assert terminal.wait() == 0
        assert terminal.seen.endswith(b"got typed\r\n")


def test_only_errors_go_to_a_terminal(lab: Lab) -> None:
    source, out = os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_WRONLY)
    with Terminal(
        lab, "tty <&2 >&2; [ -t 0 ] || [ -t 1 ] || echo neither >&2", fds=(2,), others={0: source, 1: out}
    ) as terminal:
        assert terminal.wait() == 0
        assert terminal.seen == b"/dev/pts/0\r\nneither\r\n"
    os.close(source)
    os.close(out)


def test_no_terminal_means_no_controlling_terminal(lab: Lab) -> None:
    """The caller's own (``su dora -c cmd </dev/null >file 2>&1``) must not be reachable by its name /dev/tty."""
    null = os.open("/dev/null", os.O_RDWR)
    out, back = os.pipe()
    with Terminal(
        lab, "echo x >/dev/tty || echo none; ps -o tty= $$", fds=(), others={0: null, 1: back, 2: null}
    ) as terminal:
        os.close(back)
        assert terminal.wait() == 0
        assert terminal.seen == b""
    with os.fdopen(out, "rb") as file:
        assert file.read() == b"none\n?\n"
    os.close(null)


def test_terminal_of_somebody_else(lab: Lab) -> None:
    """Under ``su`` it is the caller's: it cannot be opened anew, and is used as it is."""
    with Terminal(lab, "head -c 200000 /dev/zero | tr '\\0' x; echo; read -r a; echo got $a", owner=0) as terminal:
        terminal.expect(b"x" * 200000 + b"\r\n")
        terminal.send(b"typed\n")
        assert terminal.wait() == 0
        assert terminal.seen.endswith(b"got typed\r\n")
        assert terminal.restored()
        assert not fcntl.fcntl(terminal.slave, fcntl.F_GETFL) & os.O_NONBLOCK


def test_the_callers_open_file_is_not_changed(lab: Lab) -> None:
    """O_NONBLOCK on the shared open file would break the shell that comes back under ``su``."""
    with Terminal(lab, "exec sleep 1000") as terminal:
        lab.inside()
        assert not fcntl.fcntl(terminal.slave, fcntl.F_GETFL) & os.O_NONBLOCK
        assert terminal.raw()
        terminal.send(b"\x03")
        terminal.wait()


# -- nothing is lost, nothing spins


@pytest.mark.parametrize("round", range(5))
def test_the_last_output_arrives(lab: Lab, round: int) -> None:
    with Terminal(lab, "head -c 300000 /dev/zero | tr '\\0' x; echo END") as terminal:
        assert terminal.wait() == 0
        assert terminal.seen == b"x" * 300000 + b"END\r\n"


def test_the_last_output_arrives_at_a_slow_reader(lab: Lab) -> None:
    with Terminal(lab, "head -c 150000 /dev/zero | tr '\\0' x; echo END") as terminal:
        got = b""
        while True:
            time.sleep(0.002)
            try:
                data = os.read(terminal.master, 1500)
            except OSError:
                break
            got += data
            if got.endswith(b"END\r\n"):
                break
        assert got == b"x" * 150000 + b"END\r\n"
        assert terminal.wait() == 0


def test_large_paste(lab: Lab) -> None:
    """A megabyte typed at once into a program that reads slowly: the master fills up, and nothing gets lost."""
    data = os.urandom(750000).hex().encode()[:1000000]
    script = "stty raw -echo; echo ready; sleep 0.3; head -c 1000000 | sha256sum"
    with Terminal(lab, script) as terminal:
        terminal.expect(b"ready")
        os.set_blocking(terminal.master, False)
        sent = 0
        deadline = time.monotonic() + 20
        while sent < len(data) and time.monotonic() < deadline:
            try:
                sent += os.write(terminal.master, data[sent : sent + 65536])
            except BlockingIOError:
                terminal.read(0.01)
        assert terminal.wait() == 0
        assert hashlib.sha256(data).hexdigest().encode() in terminal.seen


def test_both_ways_at_once(lab: Lab) -> None:
    """Echo of all that is typed, by a reader who also types: neither way waits for the other."""
    with Terminal(lab, "stty raw -echo; echo ready; head -c 400000") as terminal:
        terminal.expect(b"ready\n")
        os.set_blocking(terminal.master, False)
        data, sent = bytes(range(32, 122)) * 4445, 0
        data = data[:400000]
        deadline = time.monotonic() + 20
        while len(terminal.seen) < len(data) and time.monotonic() < deadline:
            if sent < len(data):
                try:
                    sent += os.write(terminal.master, data[sent : sent + 65536])
                except BlockingIOError:
                    pass
            terminal.read(0.01)
        assert terminal.seen == data
        assert terminal.wait() == 0


def idle(terminal: Terminal, seconds: float = 0.5) -> float:
    before = cpu(terminal.child.pid)
    time.sleep(seconds)
    return cpu(terminal.child.pid) - before


def test_idle_session_costs_no_time(lab: Lab) -> None:
    with Terminal(lab, "exec sleep 1000") as terminal:
        lab.inside()
        assert idle(terminal) == 0
        terminal.send(b"\x03")
        terminal.wait()


def test_session_without_open_descriptors_costs_no_time(lab: Lab) -> None:
    """All of the inner terminal's users have closed it: the master would report a hang-up without end."""
    with Terminal(lab, "exec sleep 1000 <&- >&- 2>&-") as terminal:
        lab.inside()
        time.sleep(0.1)
        assert idle(terminal) == 0
        assert terminal.child.poll() is None
        terminal.send(b"\x03")
        assert terminal.wait() == 130


def test_client_that_does_not_read_costs_no_time(lab: Lab) -> None:
    with Terminal(lab, "yes") as terminal:
        time.sleep(0.3)
        assert idle(terminal) == 0
        terminal.send(b"\x03")
        assert terminal.wait() == 130


def test_interrupt_gets_through_a_flood(lab: Lab) -> None:
    with Terminal(lab, "yes") as terminal:
        terminal.expect(b"y\r\n" * 1000)
        terminal.send(b"\x03")
        assert terminal.wait() == 130


def test_background_job_does_not_keep_the_session(lab: Lab) -> None:
    with Terminal(lab, "trap '' HUP; sleep 1000 & echo bye") as terminal:
        begin = time.monotonic()
        assert terminal.wait() == 0
        assert time.monotonic() - begin < 3
        assert terminal.seen == b"bye\r\n"
    for pid in lab.processes():
        os.kill(pid, signal.SIGKILL)


def test_background_flood_does_not_keep_the_session(lab: Lab) -> None:
    with Terminal(lab, "trap '' HUP; yes & sleep 0.1") as terminal:
        assert terminal.wait() == 0
    for pid in lab.processes():
        os.kill(pid, signal.SIGKILL)
