"""The connector ``dns``: names for jails without a network, from the host's resolvers. What is asked by UDP.

Every question goes out with an id and from a port of its own, both random, on a socket that is connected to the
resolver: a jail that could guess them could answer another's question (RFC 5452). Nothing is kept, so there is no cache
to be poisoned, and an answer goes back through the very socket that the question came from.
"""

from __future__ import annotations

import _socket
import os
import time

from . import limits, message
from .limits import Bucket
from .loop import Deadlines, Loop
from .message import SERVFAIL, Query

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    from collections.abc import Callable

    Address = tuple[int, tuple[str | int, ...]]
    """Family and what connect() takes."""

_TRUNC, _DONTWAIT = 0x20, 0x40
_UNWILLING = frozenset({SERVFAIL, 4, message.REFUSED})
"""Codes after which the C library asks the next resolver (NOTIMP is 4)."""
_TRIES = 4


class Names:
    """The resolvers, and how much is being asked of them."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.queries = self.streams = 0
        self.answers = Deadlines(loop, limits.ANSWER_SECONDS)
        self.exchanges = Deadlines(loop, limits.STREAM_SECONDS)
        self.buffer = bytearray(65536)
        self._resolvers: list[Address] = []

    def set(self, addresses: list[str]) -> None:
        """The host's resolvers are ``addresses`` now (numeric, IPv6 perhaps with a scope)."""
        self._resolvers = [found for text in addresses for found in address(text)]

    def resolver(self, attempt: int, first: int = 0) -> tuple[int, Address] | None:
        """Which to ask the ``attempt``-th time, with its number, beginning with number ``first``; None: there is no
        further one."""
        count = len(self._resolvers)
        if count == 0 or attempt >= max(count, _TRIES):
            return None
        number = (first + attempt) % count
        return number, self._resolvers[number]

    def others(self, attempt: int) -> bool:
        """Whether there is one that was not asked in ``attempt`` attempts."""
        return attempt < len(self._resolvers)


def address(text: str) -> list[Address]:
    """A resolver's address as connect() takes it, by no name service; none for what is not one. text: numeric, for
    IPv6 perhaps with ``%`` and the number of an interface."""
    host, _, scope = text.partition("%")
    try:
        _socket.inet_pton(_socket.AF_INET6 if ":" in host else _socket.AF_INET, host)
        if ":" in host:
            return [(_socket.AF_INET6, (host, 53, 0, int(scope or "0")))]
    except (OSError, ValueError):
        return []
    return [(_socket.AF_INET, (host, 53))]


class Datagrams:
    """UDP port 53 of one jail. first: number of the resolver that answered last, which is asked first: each jail's own,
    as a jail can have a resolver fail."""

    __slots__ = ("_names", "_queries", "_reads", "_socket", "first", "waiting")

    def __init__(self, names: Names, source: _socket.socket) -> None:
        self._names, self._socket = names, source
        now = names.loop.now
        self._queries, self._reads = Bucket(limits.QUERIES, now), Bucket(limits.READS, now)
        self.waiting = self.first = 0
        self._watch()

    def _watch(self) -> None:
        if self._socket.fileno() >= 0:
            self._names.loop.watch(self._socket.fileno(), self._ready)

    def _ready(self) -> None:
        now = time.monotonic()
        for _ in range(limits.BATCH):
            if not self._reads.take(now):
                self._names.loop.forget(self._socket.fileno())
                self._names.loop.after(limits.REST, self._watch)
                break
            try:
                size, asker = self._socket.recvfrom_into(self._names.buffer, 4096, _DONTWAIT)
            except OSError:
                break
            self._asked(bytes(self._names.buffer[:size]), asker, now)

    def _asked(self, data: bytes, asker: tuple[str, int], now: float) -> None:
        try:
            query = Query(data)
        except ValueError:
            return  # what is no question gets no answer
        most = limits.JAIL_QUERIES if self._names.queries < limits.ALL_QUERIES else limits.FEW_QUERIES
        if self.waiting >= most or not self._queries.take(now):
            return
        self.waiting += 1
        Lookup(self._names, self, query, lambda answer: self._answer(query, answer, asker))

    def _answer(self, query: Query, answer: bytes, asker: tuple[str, int]) -> None:
        self.waiting -= 1
        if self._socket.fileno() < 0:
            return
        try:
            self._socket.sendto(query.cut(answer), _DONTWAIT, asker)
        except OSError:
            pass  # whoever asked is gone, or has filled its buffer

    def close(self) -> None:
        self._names.loop.forget(self._socket.fileno())
        self._socket.close()


class Lookup:
    """One question, until there is an answer or nobody is left to ask. done: is called once, with the answer."""

    __slots__ = ("_attempt", "_done", "_end", "_first", "_id", "_jail", "_names", "_number", "_query", "_socket")

    def __init__(self, names: Names, jail: Datagrams, query: Query, done: Callable[[bytes], None]) -> None:
        self._names, self._jail, self._query, self._done = names, jail, query, done
        self._socket: _socket.socket | None = None
        self._attempt = self._id = self._number = 0
        self._first = jail.first
        self._end = time.monotonic() + limits.LIFE_SECONDS
        names.queries += 1
        self._next()

    def _next(self) -> None:
        self._close()
        while (
            time.monotonic() < self._end
            and (found := self._names.resolver(self._attempt, self._first)) is not None
        ):  # fmt: skip
            self._attempt += 1
            self._number, (family, where) = found
            self._id = int.from_bytes(os.urandom(2), "big")
            try:
                self._socket = _socket.socket(family, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)
                self._socket.connect(where)  # to a port of its own, which the kernel chooses at random
                self._socket.send(self._query.asked_as(self._id))
            except OSError:
                self._close()
                continue
            self._names.loop.watch(self._socket.fileno(), self._ready)
            self._names.answers.begin(self)
            return
        self._finish(self._query.failed(SERVFAIL))

    def late(self) -> None:
        self._next()

    def _ready(self) -> None:
        assert self._socket is not None
        try:
            size = self._socket.recv_into(self._names.buffer, 0, _DONTWAIT)
        except BlockingIOError:
            return
        except OSError:  # ECONNREFUSED: nobody listens there
            self._next()
            return
        answer = self._query.answered_by(bytes(self._names.buffer[:size]), self._id)
        if answer is None:
            return
        if answer[3] & 15 in _UNWILLING and self._names.others(self._attempt):
            self._next()
            return
        self._jail.first = self._number
        self._finish(answer)

    def _finish(self, answer: bytes) -> None:
        self._close()
        self._names.answers.done(self)
        self._names.queries -= 1
        self._done(answer)

    def _close(self) -> None:
        if self._socket is not None:
            self._names.loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
