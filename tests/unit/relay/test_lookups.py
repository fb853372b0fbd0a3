"""The relay of names, with real sockets and a resolver that misbehaves on request."""

from __future__ import annotations

import _socket
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from jailkit.relay import limits
from jailkit.relay.lookups import Datagrams, Names
from jailkit.relay.loop import Loop
from jailkit.relay.streams import Listener

from .test_message import asked, name

Address = tuple[str, int]
ANSWER = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\xc0\0\2\7"


def answer(query: bytes, flags: int = 0x8180, more: bytes = ANSWER) -> bytes:
    return query[:2] + flags.to_bytes(2, "big") + query[4:6] + b"\0\1" + query[8:12] + query[12:] + more


class Resolver:
    """``say``: what it answers to a query, any number of datagrams, by UDP; the first by TCP."""

    def __init__(self, say: Callable[[bytes], list[bytes]] = lambda query: [answer(query)]) -> None:
        self.say = say
        self.seen: list[tuple[bytes, Address]] = []
        while True:
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind(("127.0.0.1", 0))
            self.tcp = socket.socket()
            with contextlib.suppress(OSError):
                self.tcp.bind(self.udp.getsockname())
                break
        self.tcp.listen(16)
        self.where = (socket.AF_INET, self.udp.getsockname())
        for serve in (self._udp, self._tcp):
            threading.Thread(target=serve, daemon=True).start()

    def _udp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                query, asker = self.udp.recvfrom(4096)
                if asker is None:  # shut down
                    return
                self.seen.append((query, asker))
                for data in self.say(query):
                    self.udp.sendto(data, asker)

    def _tcp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                asker, where = self.tcp.accept()
                with asker:
                    query = asker.recv(4096)[2:]
                    self.seen.append((query, where))
                    for data in self.say(query)[:1]:
                        asker.sendall(len(data).to_bytes(2, "big") + data)

    def close(self) -> None:
        for each in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Bench:
    def __init__(self) -> None:
        self.loop = Loop()
        self.names = Names(self.loop)

    def resolvers(self, *found: Resolver) -> None:
        self.names._resolvers = [resolver.where for resolver in found]

    def jail(self) -> tuple[Address, Address]:
        """Its addresses for UDP and TCP."""
        udp = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        tcp = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        for each in (udp, tcp):
            each.bind(("127.0.0.1", 0))
        tcp.listen(16)
        self.udp, self.tcp = Datagrams(self.names, udp), Listener(self.names, tcp)
        return udp.getsockname(), tcp.getsockname()

    def asker(self, where: Address) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.connect(where)
        made.setblocking(False)
        return made

    def get(self, asker: socket.socket, seconds: float = 5.0) -> bytes | None:
        """What comes; None if nothing does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.loop.once(0.005)
            with contextlib.suppress(BlockingIOError):
                return asker.recv(65536)
        return None

    def all(self, asker: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size and (part := self.get(asker)):
            data += part
        return data


@pytest.fixture
def bench() -> Iterator[Bench]:
    yield Bench()


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    made = Resolver()
    yield made
    made.close()


def test_a_name(bench: Bench, resolver: Resolver) -> None:
    bench.resolvers(resolver)
    asker = bench.asker(bench.jail()[0])
    asker.send(asked())
    assert bench.get(asker) == answer(asked())
    assert bench.names.queries == 0


def test_ids_and_ports_cannot_be_told(bench: Bench, resolver: Resolver) -> None:
    bench.resolvers(resolver)
    asker = bench.asker(bench.jail()[0])
    for _ in range(40):
        asker.send(asked())
        assert bench.get(asker)
    assert len({query[:2] for query, _ in resolver.seen}) > 35
    assert len({port for _, (_, port) in resolver.seen}) > 35


def test_an_answer_that_does_not_belong_is_not_taken(bench: Bench, resolver: Resolver) -> None:
    """Another id, another question, a query; and one from another address than the resolver's."""

    def say(query: bytes) -> list[bytes]:
        wrong = bytes([query[0] ^ 1]) + query[1:]
        other = query.replace(b"example", b"examplf")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(answer(query, more=b"stranger"), resolver.seen[-1][1])
        return [b"x", answer(wrong, more=b"bad"), answer(other, more=b"bad"), query, answer(query)]

    resolver.say = say
    bench.resolvers(resolver)
    asker = bench.asker(bench.jail()[0])
    asker.send(asked())
    assert bench.get(asker) == answer(asked())
    assert bench.get(asker, 0.1) is None


def test_an_answer_goes_to_nobody_but_the_asker(bench: Bench, resolver: Resolver) -> None:
    held: list[bytes] = []
    resolver.say = lambda query: held.append(query) or []  # type: ignore[func-returns-value]
    bench.resolvers(resolver)
    where = bench.jail()[0]
    first, second = bench.asker(where), bench.asker(where)
    first.send(asked(number=1))
    second.send(asked(number=1))
    bench.get(first, 0.1)
    assert len(held) == 2
    for query, to in resolver.seen:
        resolver.udp.sendto(answer(query, more=b"%d" % to[1]), to)
    one, two = bench.get(first), bench.get(second)
    assert one and two and one[-5:] != two[-5:] and one[:2] == two[:2]


@pytest.mark.parametrize("code", [2, 4, 5])
def test_a_resolver_that_does_not_want(bench: Bench, resolver: Resolver, code: int) -> None:
    unwilling = Resolver(lambda query: [answer(query, 0x8180 | code, b"")])
    bench.resolvers(unwilling, resolver)
    asker = bench.asker(bench.jail()[0])
    asker.send(asked())
    assert bench.get(asker) == answer(asked())
    asker.send(asked())
    assert bench.get(asker) == answer(asked())
    assert len(unwilling.seen) == 1, "the one that answered is asked first from then on"
    bench.resolvers(unwilling)
    asker.send(asked())
    assert bench.get(asker) == answer(asked(), 0x8180 | code, b"")
    unwilling.close()


def test_a_resolver_that_is_gone_or_silent(
    bench: Bench, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.names.answers._seconds = 0.1
    gone = Resolver()
    gone.close()
    silent = Resolver(lambda query: [])
    bench.resolvers(gone, silent, resolver)
    asker = bench.asker(bench.jail()[0])
    asker.send(asked())
    assert bench.get(asker) == answer(asked())
    for nobody in ((), (gone,), (silent,)):
        bench.resolvers(*nobody)
        asker.send(asked())
        assert bench.get(asker) == asked(flags=0x8182), "SERVFAIL"
    assert bench.names.queries == 0
    silent.close()


def test_so_many_wait_and_no_more(bench: Bench, resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver.say = lambda query: []
    bench.resolvers(resolver)
    askers = [bench.asker(bench.jail()[0]) for _ in range(3)]
    for number in range(100):
        for asker in askers:
            asker.send(asked(number=number))
        bench.loop.once(0.0)
    bench.get(askers[0], 0.2)
    assert bench.names.queries == 3 * limits.JAIL_QUERIES
    monkeypatch.setattr(limits, "ALL_QUERIES", 200)
    asker = bench.asker(bench.jail()[0])
    for number in range(100):
        asker.send(asked(number=number))
    bench.get(asker, 0.2)
    assert bench.names.queries == 200


def test_so_many_a_second_and_no_more(bench: Bench, resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "QUERIES", (10, 1))
    bench.resolvers(resolver)
    asker = bench.asker(bench.jail()[0])
    for _ in range(50):
        asker.send(asked())
    got = 0
    while bench.get(asker, 0.3):
        got += 1
    assert 10 <= got <= 13 and len(resolver.seen) == got


def test_nothing_but_questions_gets_out(bench: Bench, resolver: Resolver) -> None:
    bench.resolvers(resolver)
    where = bench.jail()
    asker = bench.asker(where[0])
    for data in (b"", b"x", b"x" * 3000, asked(flags=0x8180), asked(more=b"smuggled")):
        asker.send(data)
    assert bench.get(asker, 0.3) is None
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0", b"\xff\xff", b"\0\4abcd"):
        with socket.create_connection(where[1]) as stream:
            stream.setblocking(False)
            stream.send(data)
            assert bench.get(stream) in (b"", None)
    assert resolver.seen == [] and bench.names.streams == 0


def test_what_is_too_long_for_udp_comes_by_tcp(bench: Bench, resolver: Resolver) -> None:
    long = b"y" * 40_000
    resolver.say = lambda query: [answer(query, more=long[:1000] if len(query) < 30 else long)]
    bench.resolvers(resolver)
    where = bench.jail()
    asker = bench.asker(where[0])
    asker.send(asked())
    assert bench.get(asker) == asked(flags=0x8380)
    question = asked(name(b"long", b"example") + b"\0\x10\0\1")
    with socket.create_connection(where[1]) as stream:
        stream.setblocking(False)
        for _ in range(2):  # both at once
            stream.send(len(question).to_bytes(2, "big") + question)
        whole = answer(question, more=long)
        whole = len(whole).to_bytes(2, "big") + whole
        assert bench.all(stream, 2 * len(whole)) == whole * 2
    bench.loop.once(0.05)
    assert bench.names.streams == 0


def test_streams_are_few_and_do_not_stay(bench: Bench, resolver: Resolver) -> None:
    bench.names.exchanges._seconds = 0.3
    bench.resolvers(resolver)
    where = bench.jail()[1]
    streams = [socket.create_connection(where) for _ in range(limits.JAIL_STREAMS + 3)]
    for stream in streams:
        stream.setblocking(False)
    bench.loop.once(0.05)
    assert bench.names.streams == limits.JAIL_STREAMS
    assert bench.get(streams[-1]) == b""
    end = time.monotonic() + 5
    while bench.names.streams and time.monotonic() < end:
        bench.loop.once(0.05)
    assert bench.names.streams == 0 and bench.get(streams[0]) == b""
    for stream in streams:
        stream.close()


def test_a_jail_that_ends_while_it_asks(bench: Bench, resolver: Resolver) -> None:
    held: list[bytes] = []
    resolver.say = lambda query: held.append(query) or []  # type: ignore[func-returns-value]
    bench.resolvers(resolver)
    where = bench.jail()
    asker = bench.asker(where[0])
    asker.send(asked())
    while not held:
        bench.loop.once(0.01)
    stream = socket.create_connection(where[1])
    stream.send(len(asked()).to_bytes(2, "big") + asked())
    while len(held) < 2:
        bench.loop.once(0.01)
    bench.udp.close()
    bench.tcp.close()
    resolver.udp.sendto(answer(held[0]), resolver.seen[0][1])
    for _ in range(10):
        bench.loop.once(0.01)
    assert bench.names.queries == bench.names.streams == 0
    stream.close()


def test_a179_jails_that_take_all_leave_some_to_the_next(
    bench: Bench, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen jails whose questions nobody answers have all that may wait. Another one still gets its names."""
    monkeypatch.setattr(limits, "ALL_QUERIES", 2 * limits.JAIL_QUERIES)
    monkeypatch.setattr(limits, "ALL_STREAMS", 2 * limits.JAIL_STREAMS)
    silent = name(b"silent", b"example") + b"\0\1\0\1"
    resolver.say = lambda query: [] if b"silent" in query else [answer(query)]
    bench.resolvers(resolver)
    held: list[socket.socket] = []
    for _ in range(2):
        udp, tcp = bench.jail()
        asker = bench.asker(udp)
        held += [asker, *(socket.create_connection(tcp) for _ in range(limits.JAIL_STREAMS))]
        for number in range(limits.JAIL_QUERIES):
            asker.send(asked(silent, number=number))
        bench.loop.once(0.05)
        bench.loop.once(0.05)
    assert bench.names.queries == limits.ALL_QUERIES and bench.names.streams == limits.ALL_STREAMS
    udp, tcp = bench.jail()
    asker = bench.asker(udp)
    asker.send(asked())
    assert bench.get(asker, 1.0) == answer(asked())
    with socket.create_connection(tcp) as stream:
        stream.setblocking(False)
        stream.send(len(asked()).to_bytes(2, "big") + asked())
        assert bench.all(stream, len(answer(asked())) + 2)[2:] == answer(asked())
    for each in held:
        each.close()


def test_a201_no_jail_chooses_the_resolver_of_another(bench: Bench, resolver: Resolver) -> None:
    """She can have the first one fail, with a name server of her own that answers the second alone. Where only the
    first knows the host's own names, the others would lose them."""
    first = Resolver(lambda query: [answer(query, 0x8182, b"")] if b"hers" in query else [answer(query)])
    bench.resolvers(first, resolver)
    asker = bench.asker(bench.jail()[0])
    hers = asked(name(b"hers", b"example") + b"\0\1\0\1")
    asker.send(hers)
    assert bench.get(asker) == answer(hers) and len(resolver.seen) == 1
    other = bench.asker(bench.jail()[0])
    other.send(asked())
    assert bench.get(other) == answer(asked())
    assert len(resolver.seen) == 1 and len(first.seen) == 2
    first.close()
