"""What the holders of quotas share."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from ..libc import call

# statfs(2), linux/magic.h
_MAGIC = {
    0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x01021994: "tmpfs", 0xF2F52010: "f2fs",
    0x794C7630: "overlay", 0x6969: "nfs", 0x2FC12FC1: "zfs", 0x65735546: "fuse", 0xCA451A4E: "bcachefs",
}  # fmt: skip


class Refused(Exception):
    """The file system does not hold such a limit: ``str()`` says why, ``hint`` what to do."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


@dataclass(frozen=True)
class Support:
    """kind: "project", "qgroup" or "" (none: reason and hint say why and what to do). file_system: its name. inodes:
    whether their number can be limited; no_inodes: why not. shown: whether statvfs(3), so df(1), shows the limit."""

    kind: str
    file_system: str
    inodes: bool = False
    shown: bool = False
    reason: str = ""
    hint: str = ""
    no_inodes: str = ""


@dataclass(frozen=True)
class Usage:
    """bytes, inodes: what it has; inodes: None where nobody counts them. bytes_limit, inodes_limit: 0 for none."""

    bytes: int
    inodes: int | None
    bytes_limit: int = 0
    inodes_limit: int = 0


def file_system(fd: int) -> str:
    """Name of the file system of ``fd``, or its number (statfs(2)) in hexadecimal. Raise OSError."""
    buffer = (ctypes.c_ulong * 32)()  # struct statfs: f_type first
    call("fstatfs", fd, ctypes.byref(buffer), what="fstatfs")
    number = buffer[0] & 0xFFFFFFFF
    return _MAGIC.get(number, hex(number))
