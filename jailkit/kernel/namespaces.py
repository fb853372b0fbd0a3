"""Namespaces: unshare(2), setns(2), id maps (user_namespaces(7))."""

from __future__ import annotations

import ctypes
import os

from .libc import call, put

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
    """Write the maps of the new user namespace of ``pid``. Each is one write(2), as the kernel demands. Project ids:
    whoever is inside may write that map once, and map any, so it is not left empty."""
    for name, own in (("uid_map", uid), ("gid_map", gid)):
        put(f"/proc/{pid}/{name}", id_map(own, base, size))
    put(f"/proc/{pid}/projid_map", f"0 {base} {size}\n")


def write_plain_maps(pid: int, base: int, size: int) -> None:
    """The same where nobody is mapped to itself: ids 0 to size-1 go to base and up."""
    for name in ("uid_map", "gid_map", "projid_map"):
        put(f"/proc/{pid}/{name}", f"0 {base} {size}\n")


def loopback_up() -> None:
    """Set the loopback device of the current network namespace up (netdevice(7), SIOCSIFFLAGS)."""
    sock = call("socket", 2, 2 | os.O_CLOEXEC, 0)  # AF_INET, SOCK_DGRAM; the socket module costs 3 ms at a cold login
    try:
        request = ctypes.create_string_buffer(b"lo".ljust(16, b"\0") + b"\x01", 40)  # struct ifreq: name, IFF_UP
        call("ioctl", sock, ctypes.c_ulong(0x8914), request, what="ioctl SIOCSIFFLAGS lo")
    finally:
        os.close(sock)
