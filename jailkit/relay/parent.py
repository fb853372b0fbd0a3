"""The parent: root, and so it reads nothing but what root and the worker's four words say."""

from __future__ import annotations

import _socket
import fcntl
import os
import signal
import struct
import time

from ..errors import JailkitError
from ..jail import connect
from ..names import user_name
from ..paths import Paths
from . import confine, message, stamp, wire
from .loop import Loop
from .worker import KINDS, Worker

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    from typing import NoReturn

_LOG = "/dev/log"
_RESOLV_CONF = "/etc/resolv.conf"
_LOOK_SECONDS = 1.0
_AGAIN_SECONDS = (0.0, 0.1, 0.5, 1.0)
"""Before a worker is started again, by how many have died within :data:`_SOON` of their start."""
_SOON = 5.0
_SEND_SECONDS = 5


class Jail:
    """number: ours, as a name comes again. keeper: pidfd of its pid 1. sockets: kinds and descriptors."""

    __slots__ = ("keeper", "kinds", "name", "number", "sockets")

    def __init__(self, number: int, name: str, kinds: list[str], fds: list[int]) -> None:
        self.number, self.name, self.kinds = number, name, kinds
        self.keeper, *self.sockets = fds

    def close(self) -> None:
        for fd in (self.keeper, *self.sockets):
            os.close(fd)


class Parent:
    """listener: where starters come to, bound and listening."""

    def __init__(self, paths: Paths, listener: _socket.socket) -> None:
        self._paths, self._listener = paths, listener
        self._loop = Loop()
        self._jails: dict[int, Jail] = {}
        self._count = 0
        self._line: _socket.socket | None = None
        self._worker, self._started = 0, 0.0
        self._deaths = self._quick = 0
        self._seen: tuple[int, ...] = ()
        self._resolvers = ""
        self._looking = False

    def run(self) -> None:
        """Serve until the last jail has ended."""
        self._start_worker()
        self._listener.setblocking(False)
        self._loop.watch(self._listener.fileno(), self._accept)
        self._loop.run()

    # -- starters, and doctor

    def _accept(self) -> None:
        while True:
            try:
                fd, _ = self._listener._accept()  # type: ignore[attr-defined]  # socket.accept() is made of it
            except OSError:
                return
            caller = _socket.socket(fileno=fd)
            try:
                if _root(caller):
                    self._told(caller)
            except (OSError, ValueError, JailkitError):
                pass  # the caller ended, or says what none of ours says: nothing was taken
            finally:
                caller.close()
            if not self._jails:
                self._leave_soon()

    def _told(self, caller: _socket.socket) -> None:
        caller.settimeout(1.0)
        words, fds = wire.receive(caller)
        if words == ["status"] and not fds:
            for at in range(0, len(status := self._status().encode()), 1 << 15):
                caller.send(status[at : at + (1 << 15)])
            return
        try:
            if len(words) < 3 or words[0] != "jail" or len(fds) != len(words) - 1 or {*words[2:]} - {*KINDS}:
                raise ValueError("not a word of ours")
            jail = Jail(self._count, user_name(words[1]), words[2:], fds)
        except (ValueError, JailkitError):
            for fd in fds:
                os.close(fd)
            raise
        self._count += 1
        self._jails[jail.number] = jail
        self._loop.watch(jail.keeper, lambda: self._ended(jail))
        self._give(jail)
        self._look()

    def _status(self) -> str:
        """``WORKER DEATHS`` and the names of the jails, one a line."""
        return "\n".join([f"{self._worker} {self._deaths}", *(jail.name for jail in self._jails.values())])

    # -- jails

    def _give(self, jail: Jail) -> None:
        self._tell(f"jail {jail.number} {jail.name} {' '.join(jail.kinds)}", jail.sockets)

    def _ended(self, jail: Jail) -> None:
        """The keeper has ended, and with it all processes of the jail."""
        self._loop.forget(jail.keeper)
        del self._jails[jail.number]
        self._tell(f"end {jail.number}")
        jail.close()
        if not self._jails:
            self._leave_soon()

    def _leave_soon(self) -> None:
        self._loop.after(0.0, self._leave)

    def _leave(self) -> None:
        """End, unless a starter was faster: each holds this lock while it connects and sends (jail/connect.py)."""
        if self._jails:
            return
        lock = os.open(connect.lock(self._paths), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            self._loop.after(0.05, self._leave)
            return
        if any(fd == self._listener.fileno() for fd, _ in self._loop.epoll.poll(0.0, 64)):
            os.close(lock)  # it comes with the next turn, and with it a jail or another leave
            return
        os.unlink(connect.socket(self._paths))
        os.close(lock)
        self._stop_worker()
        raise SystemExit(0)

    # -- what needs a path

    def _connect_log(self) -> None:
        """Give the worker a socket that is connected to the host's log, or say that there is none."""
        log = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            log.setblocking(False)
            log.connect(_LOG)
        except OSError:
            self._tell("log")
        else:
            self._tell("log", [log.fileno()])
        finally:
            log.close()

    def _look(self) -> None:
        """At resolv.conf(5), again and again as long as a jail needs it: by its status, as a watch of the file would
        miss what is done to the link, and a watch of /etc wakes for everything."""
        if not any("dns-udp" in jail.kinds for jail in self._jails.values()) or self._looking:
            return
        self._looking = True
        self._loop.after(_LOOK_SECONDS, self._look_again)
        seen: tuple[int, ...] = ()
        text = ""  # the C library asks the local resolver then
        try:
            status = os.stat(_RESOLV_CONF)
            seen = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            if seen == self._seen:
                return
            with open(_RESOLV_CONF, "rb") as file:
                text = file.read(1 << 16).decode(errors="replace")
        except OSError:
            pass
        found = " ".join(map(_scoped, message.resolvers(text)))
        self._seen = seen
        if found != self._resolvers:
            self._resolvers = found
            self._tell(f"resolvers {found}")

    def _look_again(self) -> None:
        self._looking = False
        self._look()

    # -- the worker

    def _start_worker(self) -> None:
        mine, its = _socketpair()
        time.localtime()  # the C library reads the time zone once, while there is a file system
        pid = os.fork()
        if pid == 0:
            _become_worker(self._paths, its, mine)
        its.close()
        mine.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, struct.pack("ll", _SEND_SECONDS, 0))
        self._line, self._worker, self._started = mine, pid, time.monotonic()
        self._loop.watch(mine.fileno(), self._asked)
        if self._resolvers:
            self._tell(f"resolvers {self._resolvers}")
        for jail in [*self._jails.values()]:
            self._give(jail)

    def _asked(self) -> None:
        """By the worker, for the log; or it has ended."""
        assert self._line is not None
        try:
            word = self._line.recv(512, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            word = b""
        if word == b"log":
            self._connect_log()
        else:
            self._restart(word.decode(errors="replace"))

    def _tell(self, words: str, fds: list[int] | tuple[int, ...] = ()) -> None:
        """A worker that does not read any more is ended, and the next one is told everything."""
        if self._line is None:
            return
        try:
            wire.send(self._line, words, fds)
        except OSError as error:
            self._restart(f"it does not read: {error}")

    def _restart(self, why: str) -> None:
        if self._line is None:
            return
        self._stop_worker()
        self._deaths += 1
        _say(f"the worker ended, and is started anew: {why or 'killed'}")
        self._quick = self._quick + 1 if time.monotonic() - self._started < _SOON else 0
        self._loop.after(_AGAIN_SECONDS[min(self._quick, len(_AGAIN_SECONDS) - 1)], self._start_worker)

    def _stop_worker(self) -> None:
        if self._line is not None:
            self._loop.forget(self._line.fileno())
            self._line.close()
            self._line = None
        if self._worker:
            end = time.monotonic() + 1.0  # it flushes and ends by itself when the line is closed
            while os.waitpid(self._worker, os.WNOHANG)[0] == 0:
                if time.monotonic() > end:
                    os.kill(self._worker, signal.SIGKILL)  # our own child, not reaped: the number is its
                    os.waitpid(self._worker, 0)
                    break
                time.sleep(0.005)
            self._worker = 0


def _become_worker(paths: Paths, its: _socket.socket, mine: _socket.socket) -> NoReturn:
    status = 1
    try:
        mine.close()
        os.dup2(its.fileno(), 3)
        os.closerange(4, 1 << 30)
        control = _socket.socket(fileno=3)
        confine.confine(connect.empty(paths))
        Worker(control).loop.run()
    except SystemExit:
        status = 0
    except BaseException as error:  # noqa: BLE001 - a forked child must not unwind into its parent's code
        its.send(f"{type(error).__name__}: {error}".encode()[:400], _socket.MSG_DONTWAIT)
    finally:
        os._exit(status)


def _say(text: str) -> None:
    """A line in the host's log, without ever waiting for it, as syslog(3) would."""
    line = stamp.note("jailctl-relay", time.strftime("%b %e %H:%M:%S"), text)
    log = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        log.connect(_LOG)
        log.send(line, _socket.MSG_DONTWAIT)
    except OSError:
        pass
    finally:
        log.close()


def _socketpair() -> tuple[_socket.socket, _socket.socket]:
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)


def _root(caller: _socket.socket) -> bool:
    """struct ucred of whoever connected: pid, uid, gid (unix(7), SO_PEERCRED)."""
    _, uid, _ = struct.unpack("3i", caller.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
    return bool(uid == 0)


def _scoped(address: str) -> str:
    """``fe80::1%eth0`` with the interface's number: the worker cannot ask for it."""
    host, percent, scope = address.partition("%")
    if percent and not scope.isdigit():
        try:
            return f"{host}%{_socket.if_nametoindex(scope)}"
        except OSError:
            return host
    return address

