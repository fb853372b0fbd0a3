"""The relay's parent, started as a jail's start does it: who may talk to it, and what it takes. Attack A016; and A152,
as far as there is something to ask: the relay has no API."""

from __future__ import annotations

import _socket
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jailkit.jail import connect, runtime
from jailkit.kernel import proc
from jailkit.paths import Paths
from jailkit.relay import wire
from tests.unit.rooted import rooted


def wait_for(condition: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


class Relay:
    """One that serves a jail named "first", whose keeper is a process that sleeps."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        os.makedirs(paths.run)
        for path, mode in ((paths.relay, 0o700), (connect.empty(paths), 0o755)):
            runtime.directory(path, mode)
        self.keeper = subprocess.Popen(["/bin/sleep", "60"])
        self.jail("first")
        wait_for(lambda: self.names() == ["first"])
        self.pid = proc.parent(self.worker())

    def jail(self, name: str, kinds: str = "syslog", extra: int = 0) -> None:
        made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        pidfd = os.pidfd_open(self.keeper.pid)
        try:
            connect._to_relay(self.paths, f"jail {name} {kinds}", [pidfd, *[made.fileno()] * (1 + extra)])
        finally:
            os.close(pidfd)
            made.close()

    def names(self) -> list[str]:
        status = connect.status(self.paths)
        return status.jails if status else []

    def worker(self) -> int:
        status = connect.status(self.paths)
        return status.worker if status else 0

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def close(self) -> None:
        self.keeper.kill()
        self.keeper.wait()
        wait_for(lambda: connect.status(self.paths) is None and not Path(f"/proc/{self.pid}/fd/0").exists())


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    with rooted() as paths:
        made = Relay(paths)
        yield made
        made.close()


def test_a016_what_is_no_jail_is_not_taken_nor_are_its_descriptors(relay: Relay) -> None:
    before = relay.descriptors()
    for name, kinds, extra in (
        ("../../etc", "syslog", 0), ("a b", "syslog", 0), ("-x", "syslog", 0), ("alice", "mail", 0),
        ("alice", "syslog", 1), ("alice", "syslog dns-udp", 0), ("alice", "syslog", 6),
    ):  # fmt: skip
        relay.jail(name, kinds, extra)
    line = connect.call(relay.paths)
    assert line is not None
    with contextlib.suppress(OSError):
        wire.send(line, "jail alice syslog", [line.fileno()] * 250)
    line.close()
    for text in (b"", b"stop", b"\xff\xfe", b"jail", b"jail alice", b"status now", b"jail " + b"x" * 9000):
        line = connect.call(relay.paths)
        assert line is not None
        line.send(text)
        line.close()
    assert relay.names() == ["first"]
    assert relay.descriptors() == before
    relay.jail("second")
    assert relay.names() == ["first", "second"]


def test_the_kernel_says_who_comes(relay: Relay) -> None:
    """Whoever is not root is not listened to, even where modes would let it in."""
    os.chmod(relay.paths.relay, 0o755)
    os.chmod(connect.socket(relay.paths), 0o666)
    code = (
        "import socket, sys, os\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1])\n"
        "s.send(b'status'); print(s.recv(100))\n"
    )
    ask = ["/usr/bin/python3", "-I", "-S", "-c", code, connect.socket(relay.paths)]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    assert done.stdout == "b''\n" or "ConnectionResetError" in done.stderr or "BrokenPipeError" in done.stderr
    as_root = [*ask[:4], code.partition("\n")[0] + "\n" + "\n".join(code.split("\n")[2:]), ask[5]]
    assert "first" in subprocess.run(as_root, capture_output=True, text=True, check=False).stdout


def test_a_worker_that_does_not_read_is_replaced(relay: Relay) -> None:
    worker = relay.worker()
    os.kill(worker, signal.SIGSTOP)
    began = time.monotonic()
    with contextlib.suppress(OSError):
        while relay.worker() == worker and time.monotonic() - began < 30:
            relay.jail(f"a{int(time.monotonic() * 1e6)}")
    wait_for(lambda: relay.worker() not in (0, worker), 20)


def test_it_starts_once_and_ends_with_the_last(relay: Relay) -> None:
    again = relay.pid
    relay.jail("second")
    assert relay.descriptors() and relay.names() == ["first", "second"]
    assert Path(f"/proc/{again}").exists()
    relay.keeper.kill()
    relay.keeper.wait()
    wait_for(lambda: not Path(connect.socket(relay.paths)).exists())
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked, pytest.raises(FileNotFoundError):
        asked.connect(connect.socket(relay.paths))
