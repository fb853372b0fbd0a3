"""Connectors: host services that a template lets into its jails, each by a socket and by nothing else.

    mysql, postgresql    the directory of the server's sockets, read-only, at its own place: the server sees the user's
                         own ids (unix_socket and peer authentication)
    syslog               /dev/log, a socket of the jail's own, read outside by the relay
    dns                  127.0.0.1:53 in the jail's own network, served by the relay; with the host's network, nothing

The sockets are made where they must be: /dev/log by the builder while it stages the root, port 53 by pid 1 of the jail
while it has its capabilities. Both send them to the starter, and it hands them, with a pidfd of the keeper, to the
relay (relay/__init__.py), which it starts if there is none. A relay that cannot be started costs a jail its connectors
and a line in the system log, not its start.

A broker's socket is made as /dev/log is, by one more line in :meth:`Sockets.staged`.

On the login path: a jail without these connectors pays nothing, and ``_socket`` is what ``socket`` would need
six milliseconds to wrap.
"""

from __future__ import annotations

import os
import sys

from ..errors import JailkitError
from ..kernel import mount
from ..paths import Paths
from . import runtime
from .recipe import Recipe
from .record import Record

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    import _socket

DIRECTORIES = {"mysql": "/run/mysqld", "postgresql": "/run/postgresql"}
"""Where Debian's servers have their sockets."""
_RELAYED = ("syslog", "dns")
_SECONDS = 2
_BACKLOG = 4096


def socket(paths: Paths) -> str:
    return f"{paths.relay}/socket"


def lock(paths: Paths) -> str:
    """Held by whoever starts the relay or talks to it, and by a relay that ends."""
    return f"{paths.relay}/lock"


def empty(paths: Paths) -> str:
    """The worker's root."""
    return f"{paths.relay}/empty"


def relayed(recipe: Recipe) -> list[str]:
    """Its connectors that need the relay."""
    return [name for name in _RELAYED if name in recipe.connectors and (name, recipe.network) != ("dns", "host")]


# -- sockets of servers


def attach(recipe: Recipe, stage: str, root: int) -> None:
    """Bind the directories of servers' sockets below ``/run`` of ``root``, a descriptor; that ``/run`` is ``stage``'s.
    Where the server has none, the jail has an empty directory. No id is mapped: connect(2) asks for a right to write,
    and nobody has one to a socket whose owner is outside the map. Raise OSError."""
    for name, path in DIRECTORIES.items():
        if name not in recipe.connectors:
            continue
        os.mkdir(f"{stage}{path}", 0o755)
        os.chown(f"{stage}{path}", recipe.base, recipe.base)
        try:
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            attributes = mount.RDONLY | mount.NOSUID | mount.NODEV | mount.NOEXEC
            mount.attach_beneath(mount.clone(fd, attributes), root, path.lstrip("/"))
        finally:
            os.close(fd)


# -- sockets that the relay serves


class Sockets:
    """On their way from where they are made to the relay. Made by the starter before it forks."""

    def __init__(self, recipe: Recipe) -> None:
        import _socket

        self._wanted = relayed(recipe)
        self._ours, self._theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)

    def staged(self, dev: str, owner: int) -> None:
        """In the builder: make ``/dev/log`` in the directory ``dev``, root's inside. Raise OSError."""
        if "syslog" not in self._wanted:
            return
        import _socket

        log = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        directory = os.open(dev, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            log.bind(f"/proc/self/fd/{directory}/log")  # the directory's own path may be longer than a socket's
        finally:
            os.close(directory)
        os.chown(f"{dev}/log", owner, owner)
        os.chmod(f"{dev}/log", 0o666)
        _pass(self._theirs, "syslog", [log.fileno()])
        log.close()

    def networked(self) -> None:
        """In pid 1, which still may bind to a low port: make port 53 in the jail's own network. Raise OSError."""
        if "dns" not in self._wanted:
            return
        import _socket

        udp = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        # of the kernel's memory: thousands of jails that flood theirs shall hold little of it
        udp.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, 32768)
        tcp = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        for made in (udp, tcp):
            made.bind(("127.0.0.1", 53))
        tcp.listen(16)
        _pass(self._theirs, "dns-udp dns-tcp", [udp.fileno(), tcp.fileno()])
        udp.close()
        tcp.close()

    def hand_over(self, paths: Paths, record: Record) -> str:
        """In the starter, once pid 1 is the keeper: give all to the relay. Return "", or why that could not be
        done."""
        import _socket

        self._theirs.close()
        kinds: list[str] = []
        fds: list[int] = []
        try:
            for _ in self._wanted:
                flags = _socket.MSG_CMSG_CLOEXEC | _socket.MSG_DONTWAIT
                words, rights = self._ours.recvmsg(64, _socket.CMSG_SPACE(8), flags)[:2]
                if not rights:
                    raise OSError(104, "whoever makes its sockets ended before")
                kinds += words.decode().split()
                packed = rights[0][2]
                fds += [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
            keeper = runtime.keeper(record)
            if keeper is not None:
                fds.insert(0, keeper)
                _to_relay(paths, " ".join(["jail", record.user, *kinds]), fds)
        except (OSError, JailkitError) as error:
            return str(error)
        finally:
            for fd in fds:
                os.close(fd)
        return ""

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


def _pass(to: _socket.socket, words: str, fds: list[int]) -> None:
    import _socket

    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    to.sendmsg([words.encode()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)], _socket.MSG_NOSIGNAL)


def _to_relay(paths: Paths, words: str, fds: list[int]) -> None:
    """Send to the relay that runs, or to one that is started for it and will read it. Raise OSError."""
    for path, mode in ((paths.relay, 0o700), (empty(paths), 0o755)):
        runtime.directory(path, mode)
    held = os.open(lock(paths), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _flock(held)
        line = call(paths)
        if line is None:
            _start(paths)
            line = call(paths)
        if line is None:
            raise OSError(111, "nobody listens at the relay's socket")
        _pass(line, words, fds)
        line.close()
    finally:
        os.close(held)


def _flock(fd: int) -> None:
    """flock(2) for at most some seconds: a login does not wait for somebody who was stopped."""
    import fcntl
    import time

    end = time.monotonic() + _SECONDS
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.002)


def call(paths: Paths) -> _socket.socket | None:
    """A connection to the relay, or None where there is none. Raise OSError."""
    import _socket

    line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    seconds = _SECONDS.to_bytes(8, sys.byteorder) + bytes(8)  # struct timeval; a non-blocking connect would not wait
    line.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, seconds)
    line.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, seconds)
    try:
        directory = os.open(paths.relay, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            line.connect(f"/proc/self/fd/{directory}/socket")
        finally:
            os.close(directory)
    except (FileNotFoundError, ConnectionRefusedError):
        line.close()
        return None
    return line


class Status:
    """Of the relay. worker: its pid. deaths: how often it had to be started anew. jails: whom it serves."""

    def __init__(self, worker: int, deaths: int, jails: list[str]) -> None:
        self.worker, self.deaths, self.jails = worker, deaths, jails


def status(paths: Paths) -> Status | None:
    """Ask the relay; None where there is none, or it does not answer."""
    try:
        line = call(paths)
        if line is None:
            return None
        line.send(b"status")
        text = b""
        while part := line.recv(1 << 16):
            text += part
        line.close()
        worker, deaths, *jails = text.decode().split()
        return Status(int(worker), int(deaths), jails)
    except (OSError, ValueError):
        return None


def _start(paths: Paths) -> None:
    """Start the relay, with the lock held. It need not be waited for: its socket listens from here on."""
    import _socket

    try:
        os.unlink(socket(paths))
    except FileNotFoundError:
        pass
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    directory = os.open(paths.relay, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    listener.bind(f"/proc/self/fd/{directory}/socket")
    listener.listen(_BACKLOG)
    program = f"{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}/relay/main.py"
    child = os.fork()
    if child == 0:  # its child belongs to init, and is nobody's zombie
        try:
            _spawn([sys.executable, "-I", "-S", program, paths.root], listener.fileno())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    listener.close()
    os.close(directory)


def _spawn(argv: list[str], listener: int) -> None:
    import signal

    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.chdir("/")
    actions = [(os.POSIX_SPAWN_DUP2, listener, 0), (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
    defaults = [number for number in range(1, signal.NSIG) if number not in (9, 19, 32, 33)]  # two are the C library's
    os.posix_spawn(
        argv[0], argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, file_actions=actions, setsid=True, setsigmask=[],
        setsigdef=defaults,
    )  # fmt: skip
