"""What confined and throw-away processes do alike."""

from __future__ import annotations

import os

from ...kernel.libc import syscall


def close_all_but(*kept: int) -> None:
    """Close whatever else the caller had open: locks, directories, a descriptor that somebody forgot (CVE-2024-21626).
    Raise OSError."""
    low = 0
    for fd in (*sorted(kept), 1 << 32):
        if fd > low:
            syscall("close_range", low, fd - 1, 0, what="close other descriptors")
        low = fd + 1


def exit_code(status: int) -> int:
    """Of a wait status (wait(2)): the exit status; 128 + n for signal n, as a shell would say."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def write_all(fd: int, data: bytes) -> None:
    """However little a write(2) takes. Raise OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
