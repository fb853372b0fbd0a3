"""The connector ``dns``: what is asked by TCP (RFC 7766), for answers that are too long for UDP. One question at a time
on each connection, each passed on by a connection of its own."""

from __future__ import annotations

import _socket
import os
import time

from . import limits
from .limits import Bucket
from .lookups import Names
from .loop import IN, OUT
from .message import MAX_QUERY, SERVFAIL, Query

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    from collections.abc import Callable

_IN_PROGRESS = frozenset({11, 115})  # EAGAIN, EINPROGRESS


class Listener:
    """TCP port 53 of one jail."""

    __slots__ = ("_names", "_reads", "_socket", "queries", "streams")

    def __init__(self, names: Names, source: _socket.socket) -> None:
        self._names, self._socket = names, source
        self._reads, self.queries = Bucket(limits.READS, names.loop.now), Bucket(limits.QUERIES, names.loop.now)
        self.streams: dict[int, Stream] = {}
        source.setblocking(False)
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
                fd, _ = self._socket._accept()  # type: ignore[attr-defined]  # socket.accept() is made of it
            except OSError:
                break
            client = _socket.socket(fileno=fd)
            full = self._names.streams >= limits.ALL_STREAMS
            if len(self.streams) >= (limits.FEW_STREAMS if full else limits.JAIL_STREAMS):
                client.close()
            else:
                self.streams[fd] = Stream(self._names, self, client)

    def close(self) -> None:
        self._names.loop.forget(self._socket.fileno())
        self._socket.close()
        for stream in [*self.streams.values()]:
            stream.close()


class Pipe:
    """One non-blocking socket with messages of a length and that many bytes."""

    __slots__ = ("_in", "_loop", "_out", "socket")

    def __init__(self, names: Names, socket: _socket.socket) -> None:
        self._loop, self.socket = names.loop, socket
        self._in, self._out = b"", b""
        socket.setblocking(False)

    def read(self, most: int) -> bytes | None:
        """A whole message, or None where more has to come. Raise OSError, also for the end and for one longer than
        ``most``."""
        if (message := self._whole(most)) is not None:
            return message
        part = self.socket.recv(2 + most)
        if not part:
            raise OSError(104, "the other end is closed")
        self._in += part
        return self._whole(most)

    def _whole(self, most: int) -> bytes | None:
        size = int.from_bytes(self._in[:2], "big")
        if size > most:
            raise OSError(90, "a message that is too long")
        if len(self._in) < 2 or len(self._in) < 2 + size:
            return None
        message, self._in = self._in[2 : 2 + size], self._in[2 + size :]
        return message

    def write(self, message: bytes) -> None:
        self._out = len(message).to_bytes(2, "big") + message

    def flush(self) -> bool:
        """Whether all has been written now. Raise OSError."""
        try:
            self._out = self._out[self.socket.send(self._out) :]
        except BlockingIOError:
            pass
        return not self._out

    def watch(self, ready: Callable[[], None], events: int) -> None:
        self._loop.watch(self.socket.fileno(), ready, events)

    def close(self) -> None:
        self._loop.forget(self.socket.fileno())
        self.socket.close()


class Stream:
    """One connection of a jail's: reads a question, has it answered, writes the answer, and again."""

    __slots__ = ("_attempt", "_client", "_fd", "_id", "_listener", "_names", "_query", "_upstream")

    def __init__(self, names: Names, listener: Listener, client: _socket.socket) -> None:
        self._names, self._listener = names, listener
        self._client, self._fd = Pipe(names, client), client.fileno()
        self._upstream: Pipe | None = None
        self._query: Query | None = None
        self._attempt = self._id = 0
        names.streams += 1
        self._listen()

    def _listen(self) -> None:
        self._names.exchanges.begin(self)
        self._client.watch(self._read, IN)

    def _read(self) -> None:
        try:
            data = self._client.read(MAX_QUERY)
            if data is None:
                return
            self._query = Query(data)
            if not self._listener.queries.take(time.monotonic()):
                raise OSError(11, "too many")
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self.close()
            return
        self._names.loop.forget(self._fd)
        self._attempt = 0
        self._ask()

    def _ask(self) -> None:
        """Connect to the next resolver."""
        self._drop_upstream()
        while (found := self._names.resolver(self._attempt)) is not None and self._names.others(self._attempt):
            self._attempt += 1
            _, (family, where) = found
            try:
                socket = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
            except OSError:
                break
            self._upstream = Pipe(self._names, socket)
            try:
                socket.connect(where)
            except OSError as error:
                if error.errno not in _IN_PROGRESS:
                    self._drop_upstream()
                    continue
            self._id = int.from_bytes(os.urandom(2), "big")
            assert self._query is not None
            self._upstream.write(self._query.asked_as(self._id))
            self._upstream.watch(self._send, OUT)
            return
        assert self._query is not None
        self._answer(self._query.failed(SERVFAIL))

    def _send(self) -> None:
        """The resolver is connected, or cannot be."""
        assert self._upstream is not None
        try:
            if self._upstream.flush():
                self._upstream.watch(self._receive, IN)
        except OSError:
            self._ask()

    def _receive(self) -> None:
        assert self._upstream is not None and self._query is not None
        try:
            data = self._upstream.read(65535)
            if data is None:
                return
            answer = self._query.answered_by(data, self._id)
            if answer is None:
                raise OSError(71, "not the answer")
        except BlockingIOError:
            return
        except OSError:
            self._ask()
            return
        self._drop_upstream()
        self._answer(answer)

    def _answer(self, answer: bytes) -> None:
        self._client.write(answer)
        self._client.watch(self._write, OUT)

    def _write(self) -> None:
        try:
            if self._client.flush():
                self._listen()
                self._read()  # the next question may have come with the last
        except OSError:
            self.close()

    def _drop_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None

    def late(self) -> None:
        self.close()

    def close(self) -> None:
        if self._listener.streams.pop(self._fd, None) is None:
            return
        self._names.exchanges.done(self)
        self._names.streams -= 1
        self._drop_upstream()
        self._client.close()
