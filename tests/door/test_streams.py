"""Input, output, signals and the end of a login without a terminal."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from jailkit.kernel import proc

from .lab import Lab
from .session import end, start, status


def test_binary_clean_and_whole(lab: Lab) -> None:
    data = os.urandom(10 << 20)
    done = lab.run("cat", data)
    assert hashlib.sha256(done.out).digest() == hashlib.sha256(data).digest()


def test_streams_stay_apart(lab: Lab) -> None:
    done = lab.run("echo out; echo err >&2; cat >/dev/null; echo $?")
    assert (done.out, done.err) == (b"out\n0\n", b"err\n")


def test_end_of_output_is_seen_while_the_command_runs(lab: Lab) -> None:
    child, _pid = start(lab, "exec >&- 2>&-; exec sleep 1000")
    try:
        assert child.stdout is not None
        assert child.stdout.read() == b""
        assert child.poll() is None
    finally:
        end(child)


def test_broken_pipe(lab: Lab) -> None:
    """SIGPIPE is not ignored inside, whatever the caller did: the command ends when nobody reads."""
    child = lab.spawn(
        ["door", "-c", "yes; echo $? >&2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN),
    )
    assert child.stdout is not None
    assert child.stdout.read(10) == b"y\n" * 5
    child.stdout.close()
    assert child.wait(10) == 0
    assert child.stderr is not None
    assert child.stderr.read() == b"141\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGINT])
def test_killed_inside(lab: Lab, number: signal.Signals) -> None:
    assert lab.run(f"ulimit -c 0; kill -{number.value} $$; sleep 5").status == 128 + number


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM],
)
def test_signals_are_passed_on(lab: Lab, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    child, _pid = start(
        lab, f"trap 'echo got {name}; exit 33' {name}; echo ready; while :; do read -t 0.05 <> <(:) ; done"
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(number)
    out, _ = child.communicate(timeout=10)
    assert (child.returncode, out) == (33, f"got {name}\n".encode())


def test_signals_reach_the_whole_command(lab: Lab) -> None:
    """As sshd sends them: to the process group, so that a pipeline leaves nothing behind."""
    child, _pid = start(lab, "sleep 1000 | sleep 1000; true")
    end(child)
    time.sleep(0.05)
    assert [pid for pid in lab.processes() if proc.namespace(pid, "pid") != proc.namespace(os.getpid(), "pid")] == []


def test_killed_door_takes_the_command_along_but_not_its_background(lab: Lab) -> None:
    child, pid = start(lab, "setsid sleep 1000 & echo $!; exec sleep 2000")
    assert child.stdout is not None
    child.stdout.readline()
    child.kill()
    child.wait()
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{pid}")
    left = lab.processes()
    assert [Path(f"/proc/{other}/cmdline").read_bytes() for other in left] == [b"sleep\x001000\x00"]
    for other in left:
        os.kill(other, signal.SIGKILL)


def test_background_job_outlives_the_login(lab: Lab) -> None:
    done = lab.run("nohup sleep 1000 >/dev/null 2>&1 </dev/null & echo started")
    assert done.out == b"started\n"
    left = lab.processes()
    assert len(left) == 1
    assert proc.parent(left[0]) == lab.record.pid, "the keeper takes orphans"
    os.kill(left[0], signal.SIGKILL)


def test_keeper_reaps(lab: Lab) -> None:
    lab.run("for i in 1 2 3 4 5; do (sleep 0.05 &) ; done")
    time.sleep(0.3)
    out = lab.run("ps -e -o stat=,comm= | grep -c Z; true").out
    assert out == b"0\n"


def test_keeper_survives_everything_from_inside(lab: Lab) -> None:
    lab.run("for i in 1 2 3 6 9 10 12 14 15 17 19 20 31; do kill -$i 1; done; kill -9 -1")
    assert proc.start_time(lab.record.pid) == lab.record.start
    assert lab.run("echo here").out == b"here\n"


def test_idle_login_without_a_terminal_costs_no_time(lab: Lab) -> None:
    child, _pid = start(lab)
    switches = status(child.pid)["voluntary_ctxt_switches"]
    time.sleep(0.3)
    assert status(child.pid)["voluntary_ctxt_switches"] == switches
    end(child)
