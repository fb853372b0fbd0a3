"""Messages between starter, parent and worker: words and descriptors, one SOCK_SEQPACKET message each (unix(7))."""

from __future__ import annotations

import _socket
import os
import struct

MOST = 8
"""Descriptors in one message."""
_INT = struct.calcsize("i")


def send(socket: _socket.socket, words: str, fds: list[int] | tuple[int, ...] = ()) -> None:
    """Send ``words``, separated by blanks, and copies of ``fds``. Raise OSError."""
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
    socket.sendmsg([words.encode()], rights, _socket.MSG_NOSIGNAL)


def receive(socket: _socket.socket) -> tuple[list[str], list[int]]:
    """One message; no words at the end of the connection. Raise OSError, UnicodeError; ValueError for one that was
    cut."""
    data, rights, flags, _ = socket.recvmsg(4096, _socket.CMSG_SPACE(MOST * _INT), _socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, packed in rights:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            fds += struct.unpack(f"{len(packed) // _INT}i", packed[: len(packed) // _INT * _INT])
    if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
        for fd in fds:
            os.close(fd)
        raise ValueError("a message that is too long")
    return data.decode().split(), fds
