"""The worker: reads what tenants send. It has an id that no account has, no capability, no file system, and the few
system calls of :mod:`confine`; it can talk to the descriptors that the parent gave it, and to addresses of the host's
network."""

from __future__ import annotations

import _socket

from . import wire
from .logs import Log, Source
from .lookups import Datagrams, Names
from .loop import Loop
from .streams import Listener

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Server(Protocol):
        def close(self) -> None: ...


class Worker:
    """What is served. control: the line to the parent; its end ends this process."""

    def __init__(self, control: _socket.socket) -> None:
        self._control = control
        self.loop = Loop()
        self.log = Log(self.loop, lambda: control.sendall(b"log"))
        self.names = Names(self.loop)
        self._jails: dict[str, list[Server]] = {}
        self._verbs: dict[str, Callable[[list[str], list[int]], None]] = {
            "jail": self._jail, "end": self._end, "log": self._connected, "resolvers": self._resolvers,
        }  # fmt: skip
        self.loop.watch(control.fileno(), self._told)

    def _told(self) -> None:
        words, fds = wire.receive(self._control)
        if not words:
            raise SystemExit(0)
        self._verbs[words[0]](words[1:], fds)

    def _jail(self, words: list[str], fds: list[int]) -> None:
        """jail NUMBER NAME KIND..., with a descriptor for each kind."""
        number, name, *kinds = words
        self._jails[number] = [
            KINDS[kind](self, name, _socket.socket(fileno=fd)) for kind, fd in zip(kinds, fds, strict=True)
        ]

    def _end(self, words: list[str], _fds: list[int]) -> None:
        for server in self._jails.pop(words[0]):
            server.close()

    def _connected(self, _words: list[str], fds: list[int]) -> None:
        self.log.connected(_socket.socket(fileno=fds[0]) if fds else None)

    def _resolvers(self, words: list[str], _fds: list[int]) -> None:
        self.names.set(words)


KINDS: dict[str, Callable[[Worker, str, _socket.socket], Server]] = {
    "syslog": lambda worker, name, socket: Source(worker.loop, worker.log, name, socket),
    "dns-udp": lambda worker, name, socket: Datagrams(worker.names, socket),
    "dns-tcp": lambda worker, name, socket: Listener(worker.names, socket),
}
"""What serves a socket of each kind."""
