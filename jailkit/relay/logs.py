"""The connector ``syslog``: from the jails' sockets to the host's log.

A logger must never wait for long: what cannot be passed on is read all the same, dropped and counted, and the count is
said in the log itself. What is dropped: what is over the jail's rate, and what comes while the host has no log.
"""

from __future__ import annotations

import errno
import time

from . import limits, stamp
from .limits import Bucket
from .loop import OUT, Group, Loop

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

_TRUNC, _DONTWAIT = 0x20, 0x40  # MSG_TRUNC on recv gives a datagram's real length, unix(7)


class Log:
    """The host's log. ask: has the parent connect anew; :meth:`connected` is its answer."""

    def __init__(self, loop: Loop, ask: Callable[[], None]) -> None:
        self._loop, self._ask = loop, ask
        self.sources = Group()
        self._socket: socket | None = None
        self.held: tuple[bytes, Callable[[], None]] | None = None
        self._patient = True
        self._asked = False
        self._second, self._when = -1, ""
        self._buffer = bytearray(limits.LINE_BYTES)
        loop.watch(self.sources.epoll.fileno(), self.sources.turn)

    def when(self) -> str:
        """Now, as RFC 3164 writes it."""
        second = int(time.time())
        if second != self._second:
            self._second, self._when = second, time.strftime("%b %e %H:%M:%S", time.localtime(second))
        return self._when

    def read(self, source: socket) -> tuple[bytes, int] | None:
        """The beginning of one message and the length of all of it, or None."""
        try:
            size = source.recv_into(self._buffer, 0, _TRUNC | _DONTWAIT)
        except BlockingIOError:
            return None
        return bytes(self._buffer[:size]), size

    def write(self, line: bytes, lost: Callable[[], None]) -> None:
        """Pass a line on, or call ``lost``, now or later. While the log takes none, or a new connection is asked for,
        one line is held and no jail is read (:attr:`held`)."""
        if self._socket is None or self.held:
            return self._gone(line, lost)
        try:
            self._socket.send(line, _DONTWAIT)
        except BlockingIOError:
            return self._hold(line, lost, OUT)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                return lost()
            self._close()
            return self._gone(line, lost)
        self._patient = True
        return None

    def _gone(self, line: bytes, lost: Callable[[], None]) -> None:
        if self._asked or self.held:
            return lost()
        self._asked = True
        self._ask()
        return self._hold(line, lost, 0)

    def _hold(self, line: bytes, lost: Callable[[], None], events: int) -> None:
        """Wait with ``line``, once: a log that has taken nothing since gets no second wait."""
        if not self._patient:
            return lost()
        self._patient = False
        self.held = held = (line, lost)
        self._loop.forget(self.sources.epoll.fileno())
        if events and self._socket is not None:
            self._loop.watch(self._socket.fileno(), self._release, events)
        self._loop.after(limits.STALL_SECONDS, lambda: self._release() if self.held is held else None)
        return None

    def _release(self) -> None:
        held, self.held = self.held, None
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
        self._loop.watch(self.sources.epoll.fileno(), self.sources.turn)
        if held is not None:
            self.write(*held)

    def connected(self, log: socket | None) -> None:
        """The parent's answer; None: there is no log, to be asked for again in a while."""
        self._close()
        self._socket = log
        if log is None:
            self._loop.after(limits.STALL_SECONDS, self._again)
        else:
            self._asked, self._patient = False, True
        self._release()

    def _again(self) -> None:
        self._asked = False

    def _close(self) -> None:
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None


class Source:
    """The socket of one jail's loggers."""

    __slots__ = ("_dropped", "_lines", "_log", "_loop", "_name", "_reads", "_socket")

    def __init__(self, loop: Loop, log: Log, name: str, source: socket) -> None:
        self._loop, self._log, self._name, self._socket = loop, log, name, source
        self._lines, self._reads = Bucket(limits.LINES, loop.now), Bucket(limits.READS, loop.now)
        self._dropped = 0
        log.sources.watch(source.fileno(), self._ready)

    def _ready(self) -> None:
        now = time.monotonic()
        for _ in range(limits.BATCH):
            if self._log.held:
                break
            if not self._reads.take(now):
                self._log.sources.forget(self._socket.fileno())
                self._loop.after(limits.REST, self._rested)
                break
            if not self._pass_one(now):
                break

    def _pass_one(self, now: float) -> bool:
        message = self._log.read(self._socket)
        if message is None:
            return False
        if self._lines.take(now):
            self._log.write(stamp.line(*message, self._name, self._log.when()), self._lost)
        else:
            self._lost()
        return True

    def _lost(self, lines: int = 1) -> None:
        if not self._dropped:
            self._loop.after(limits.SAY_SECONDS, self._say)
        self._dropped += lines

    def _rested(self) -> None:
        if self._socket.fileno() >= 0:
            self._log.sources.watch(self._socket.fileno(), self._ready)

    def _say(self) -> None:
        """How many lines were dropped; again later where that line is lost, too."""
        lines, self._dropped = self._dropped, 0
        if lines:
            text = f"{lines} line{'' if lines == 1 else 's'} dropped"
            again = self._socket.fileno() >= 0
            self._log.write(
                stamp.say(self._name, self._log.when(), text), lambda: self._lost(lines) if again else None
            )

    def close(self) -> None:
        """The jail has ended: what it has sent before is passed on."""
        now = time.monotonic()
        for _ in range(limits.BATCH):
            if not self._pass_one(now):
                break
        self._log.sources.forget(self._socket.fileno())
        self._socket.close()
        self._say()
