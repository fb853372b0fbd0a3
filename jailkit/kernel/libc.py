"""System calls that Python 3.11's ``os`` does not have, through the C library. Every failure is an OSError that
names the call, as a bare "Operation not permitted" from one of forty mounts helps nobody."""

from __future__ import annotations

import ctypes
import os

_LIB = ctypes.CDLL(None, use_errno=True)
_LIB.syscall.restype = ctypes.c_long

MACHINE = os.uname().machine

# Numbers of 424 and above are the same on every architecture (the kernel's scripts/syscall.tbl).
_NUMBERS = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "pivot_root": {"x86_64": 155, "aarch64": 41}.get(MACHINE, -1),
    "keyctl": {"x86_64": 250, "aarch64": 219}.get(MACHINE, -1),
    "seccomp": {"x86_64": 317, "aarch64": 277}.get(MACHINE, -1),
    "pidfd_send_signal": 424,
}


def _check(result: int, what: str) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(name: str, *args: object, what: str = "") -> int:
    """Make the system call ``name``: ints become longs, bytes and ctypes objects are passed by address.
    Return its result; raise OSError with ``what`` (or ``name``) in its text."""
    converted = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    return _check(_LIB.syscall(ctypes.c_long(_NUMBERS[name]), *converted), what or name)


def call(name: str, *args: object, what: str = "") -> int:
    """Call the C library's function ``name`` that answers -1 and errno on failure."""
    converted = [ctypes.c_ulong(a) if isinstance(a, int) and a > 0x7FFFFFFF else a for a in args]
    return _check(getattr(_LIB, name)(*converted), what or name)


def put(path: str, text: str) -> None:
    """Write ``text`` to a kernel file in one write(2), as these files demand. No codec is imported on the way: a
    process
    that has dropped its rights may be unable to read Python's library."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
