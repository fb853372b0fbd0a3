"""Namespaces: unshare(2), setns(2), id maps (user_namespaces(7))."""

from __future__ import annotations

import os

from .libc import call

NEWNS = 0x00020000
NEWCGROUP = 0x02000000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWUSER = 0x10000000
NEWPID = 0x20000000
NEWNET = 0x40000000


def unshare(flags: int) -> None:
    call("unshare", flags, what=f"unshare {flags:#x}")


def sethostname(name: str) -> None:
    data = name.encode()
    call("sethostname", data, len(data))


def id_map(own: int, base: int, size: int) -> str:
    """Text for ``uid_map`` or ``gid_map``: ids 0 to size-1 go to base and up, ``own`` to itself.

    Where ``own`` lies within 0 to size-1 its place in the range stays unused. At most three lines."""
    lines = []
    if own >= size:
        lines = [(0, base, size), (own, own, 1)]
    else:
        lines = [(0, base, own), (own, own, 1), (own + 1, base + own + 1, size - own - 1)]
    return "".join(f"{inside} {outside} {count}\n" for inside, outside, count in lines if count)


def write_maps(pid: int, uid: int, gid: int, base: int, size: int) -> None:
    """Write both maps of the new user namespace of ``pid``. Each is one write(2), as the kernel demands."""
    for name, own in (("uid_map", uid), ("gid_map", gid)):
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, id_map(own, base, size).encode())
        finally:
            os.close(fd)


def loopback_up() -> None:
    """Set the loopback device of the current network namespace up (netdevice(7), SIOCSIFFLAGS)."""
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sH14x", b"lo", 0x1))  # IFF_UP
