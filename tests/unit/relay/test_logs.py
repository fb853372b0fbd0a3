"""The relay of log lines, with real sockets: rates, a log that is gone, full or new. Attack A147."""

from __future__ import annotations

import _socket
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jailkit.relay import limits
from jailkit.relay.limits import Bucket
from jailkit.relay.logs import Log, Source
from jailkit.relay.loop import Loop


class Bench:
    """A relay, the host's log at ``path`` (None: there is none), and jails."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.path = directory, directory / "log"
        self.loop = Loop()
        self.log = Log(self.loop, self._connect)
        self.asked = 0
        self.host: socket.socket | None = None
        self.sources: dict[str, Source] = {}
        self.answers = True

    def _connect(self) -> None:
        """What the parent does."""
        self.asked += 1
        if self.answers:
            self.loop.after(0.0, self._answer)

    def _answer(self) -> None:
        made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        made.setblocking(False)
        try:
            made.connect(str(self.path))
        except OSError:
            made.close()
            self.log.connected(None)
        else:
            self.log.connected(made)

    def listen(self) -> None:
        self.path.unlink(missing_ok=True)
        self.host = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.host.bind(str(self.path))
        self.host.setblocking(False)

    def jail(self, name: str) -> socket.socket:
        path = self.directory / name
        theirs = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        theirs.bind(str(path))
        self.sources[name] = Source(self.loop, self.log, name, theirs)
        logger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        logger.connect(str(path))
        logger.setblocking(False)
        return logger

    def turn(self, seconds: float = 0.0, until: Callable[[], bool] = lambda: False) -> None:
        """Let the relay run until nothing happens, or for that long."""
        end = time.monotonic() + seconds
        while True:
            self.loop.once(0.005)
            if until() or time.monotonic() > end:
                return

    def lines(self) -> list[str]:
        assert self.host is not None
        found = []
        while True:
            try:
                found.append(self.host.recv(65536).decode().partition(" jailctl")[2])
            except BlockingIOError:
                return found

    def flood(self, logger: socket.socket, count: int) -> list[str]:
        """Send that many, as fast as they are taken, with the host's log read."""
        found: list[str] = []
        for number in range(count):
            while True:
                try:
                    logger.send(b"<13>%d" % number)
                    break
                except BlockingIOError:
                    self.loop.once(0.002)
                    found += self.lines()
        for _ in range(5):
            self.turn(0.01)
            found += self.lines()
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.listen()
    yield made


def test_lines_are_passed_on_with_the_jails_name(bench: Bench) -> None:
    alice, bob = bench.jail("alice"), bench.jail("bob")
    alice.send(b"<13>one")
    bob.send(b"<13>two")
    bench.turn(0.05)
    assert sorted(bench.lines()) == ["/alice: one", "/bob: two"]
    assert bench.asked == 1


def test_a147_a_flood_is_cut_counted_and_said_and_others_are_not_touched(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SAY_SECONDS", 0.3)
    alice, bob = bench.jail("alice"), bench.jail("bob")
    bob.send(b"<13>before")
    found = bench.flood(alice, 1500)
    bob.send(b"<13>after")
    bench.turn(0.6)
    found += bench.lines()
    passed = [line for line in found if line.startswith("/alice: ")]
    said = [int(line.split()[1]) for line in found if line.startswith("-relay/alice: ") and "dropped" in line]
    assert limits.LINES[0] <= len(passed) < 1000
    assert len(passed) + sum(said) == 1500, "every line is passed on or counted"
    assert "/bob: before" in found and "/bob: after" in found


def test_a147_beyond_a_rate_a_socket_is_not_even_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READS", (20, 10))
    alice = bench.jail("alice")
    sent = 0
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        try:
            alice.send(b"<13>x")
            sent += 1
        except BlockingIOError:
            bench.loop.once(0.01)
    assert sent < 20 + 10 + 600, "its queue is full (net.unix.max_dgram_qlen), and she waits"
    assert len([line for line in bench.lines() if "alice" in line]) <= 20 + 10


def test_a_log_that_is_made_anew_loses_nothing(bench: Bench) -> None:
    alice = bench.jail("alice")
    alice.send(b"<13>old")
    bench.turn(0.02)
    assert bench.lines() == ["/alice: old"]
    assert bench.host is not None
    bench.host.close()
    bench.listen()
    alice.send(b"<13>new")
    bench.turn(0.05)
    assert bench.lines() == ["/alice: new"]


def test_without_a_log_nobody_waits_and_what_is_lost_is_said_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SAY_SECONDS", 0.2)
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.1)
    alice = bench.jail("alice")
    assert bench.host is not None
    bench.host.close()
    bench.path.unlink()
    for number in range(100):
        while True:
            try:
                alice.send(b"<13>%d" % number)
                break
            except BlockingIOError:
                bench.loop.once(0.01)
    bench.turn(0.3)
    bench.listen()
    bench.turn(1.0, lambda: False)
    alice.send(b"<13>again")
    bench.turn(0.1)
    found = bench.lines()
    assert "/alice: again" in found
    assert [line for line in found if line.startswith("-relay")] == ["-relay/alice: 100 lines dropped"]


def test_a_log_that_is_full_is_waited_for_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that hangs: the first line waits, then all are dropped until one gets through."""
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.2)
    alice = bench.jail("alice")
    qlen = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())

    def put(count: int) -> None:
        for _ in range(count):
            while True:
                try:
                    alice.send(b"<13>x")
                    break
                except BlockingIOError:
                    bench.loop.once(0.01)

    put(qlen + 20)
    started = time.monotonic()
    put(50)
    bench.turn(0.1)
    assert time.monotonic() - started < 5
    taken = len(bench.lines())
    assert taken >= qlen
    put(5)
    bench.turn(0.1)
    assert bench.lines()[:1] == ["/alice: x"], "once it reads again, it gets lines again"


def test_a_full_log_that_is_read_in_time_loses_nothing(bench: Bench) -> None:
    alice = bench.jail("alice")
    assert len([line for line in bench.flood(alice, 150) if line.startswith("/alice")]) == 150


def test_what_a_jail_sent_before_its_end_is_passed_on(bench: Bench) -> None:
    alice = bench.jail("alice")
    bench.turn(0.01)
    alice.send(b"<13>last words")
    bench.sources["alice"].close()
    bench.turn(0.05)
    assert bench.lines() == ["/alice: last words"]


def test_a016_descriptors_that_come_along_are_closed(bench: Bench, tmp_path: Path) -> None:
    alice = bench.jail("alice")
    alice.setblocking(True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with (tmp_path / "file").open("w") as file:
        for _ in range(50):
            socket.send_fds(alice, [b"<13>x"], [file.fileno()] * 20)
            bench.turn()
            bench.lines()
    bench.turn(0.02)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1, "the log's own"


def test_bucket() -> None:
    bucket = Bucket((3, 10), 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(0.1) and not bucket.take(0.1)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False], "it never holds more than it may"
