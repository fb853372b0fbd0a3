"""An SSH client that can be made to ask for anything: paramiko, in the test's process, on a socket of the host's."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import paramiko

from ..host import Host

CLONE_NEWNET = 0x40000000


def dial(host: Host, port: int) -> socket.socket:
    """A connection to 127.0.0.1 of the host. A socket stays in the network that the thread which made it was in."""
    result: list[socket.socket | BaseException] = []

    def inside() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            namespace = os.open(f"/proc/{host.init}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            if libc.setns(namespace, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            os.close(namespace)
            result.append(socket.create_connection(("127.0.0.1", port), 10))
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            result.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


@contextlib.contextmanager
def connection(host: Host, user: str, *, port: int = 22, key: str | None = None) -> Iterator[paramiko.Transport]:
    """Logged in with the user's key, no session opened yet."""
    transport = paramiko.Transport(dial(host, port))
    try:
        transport.start_client(timeout=20)
        path = host.root / (key or host.key(user)).lstrip("/")
        transport.auth_publickey(user, paramiko.Ed25519Key.from_private_key_file(str(path)))
        yield transport
    finally:
        transport.close()


@dataclass(frozen=True)
class Answer:
    status: int
    out: bytes
    err: bytes


def ask(transport: paramiko.Transport, command: bytes, environment: dict[str, str] | None = None) -> Answer:
    """One command in a session of its own. ``environment``: asked for variable by variable; sshd says nothing to it."""
    channel = transport.open_session(timeout=20)
    channel.settimeout(30)
    for name, value in (environment or {}).items():
        channel.update_environment({name: value})
    channel.exec_command(command)
    channel.shutdown_write()
    return read(channel)


def read(channel: paramiko.Channel) -> Answer:
    """All that comes, to the end. The window takes 2 MiB, so the order of the two streams does not matter here."""
    out = b"".join(iter(lambda: channel.recv(65536), b""))
    err = b"".join(iter(lambda: channel.recv_stderr(65536), b""))
    status = channel.recv_exit_status()
    channel.close()
    return Answer(status, out, err)
