"""The one thing in a layer that only root can see or set: whether a directory is opaque.

overlayfs marks it by a trusted.* attribute (Documentation/filesystems/overlayfs.rst), which takes CAP_SYS_ADMIN on the
host. So who reads or fills a layer hands its directories over by descriptor: root asks, or sets, that one attribute of
what it was given, and looks nothing up."""

from __future__ import annotations

import errno
import os
import socket
import stat

from .entry import OPAQUE

_ASK, _SET = b"?", b"!"


def client(fd: int) -> socket.socket:
    """The socket that a confined process has as ``fd``. All is said: it may not ask the kernel what it has."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=fd)


def ask(sock: socket.socket, directory: int) -> bool:
    return _request(sock, _ASK, directory) == b"y"


def set_opaque(sock: socket.socket, directory: int) -> None:
    """Raise OSError."""
    answer = _request(sock, _SET, directory)
    if answer != b"y":
        raise OSError(errno.EIO, "cannot mark a directory of the layer as opaque")


def _request(sock: socket.socket, what: bytes, directory: int) -> bytes:
    socket.send_fds(sock, [what], [directory])
    return sock.recvmsg(1)[0]


def serve(sock: socket.socket) -> bool:
    """Answer one request; False when the other end is closed."""
    data, fds, _, _ = socket.recv_fds(sock, 1, 4)
    try:
        if not data:
            return False
        sock.send(b"y" if len(fds) == 1 and _done(data, fds[0]) else b"n")
        return True
    finally:
        for fd in fds:
            os.close(fd)


def _done(what: bytes, fd: int) -> bool:
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        return False
    try:
        if what == _ASK:
            return os.getxattr(fd, OPAQUE) == b"y"
        os.setxattr(fd, OPAQUE, b"y")
        return True
    except OSError:
        return False
