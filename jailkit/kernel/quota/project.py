"""Project quotas of ext4, xfs and f2fs: each inode has a project id, new ones get that of their directory, and each id
has a limit. quotactl(2), ioctl_xfs_fsgetxattr(2), Documentation/filesystems/quota.rst.

A directory with FS_XFLAG_PROJINHERIT takes nothing in from another project (rename(2) and link(2) answer EXDEV), so a
tree that is tagged from the top down while it is in use has no way past. Who is in a user namespace cannot change an
id (fileattr_set_prepare() in fs/file_attr.c: EINVAL)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct

from ..beneath import openat2
from ..libc import syscall
from ..walk import again, walk
from .base import Support, Usage

_GET, _SET = 0x801C581F, 0x401C5820  # FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR (linux/fs.h)
_XATTR = struct.Struct("=IIIII8x")  # struct fsxattr: xflags, extsize, nextents, projid, cowextsize
_INHERIT = 0x200

_PRJQUOTA = 2
_GETQUOTA, _SETQUOTA, _STATE = 0x800007, 0x800008, 0x5805  # Q_GETQUOTA, Q_SETQUOTA, Q_XGETQSTAT
_ENFORCED = 1 << 5  # FS_QUOTA_PDQ_ENFD
_DQBLK = struct.Struct("=8QI4x")  # struct if_dqblk: limits of blocks of 1 KiB, bytes, limits of inodes, inodes, ...
_LIMITS = 0x5  # QIF_BLIMITS | QIF_ILIMITS

_HINTS = {
    "ext4": "unmounted: tune2fs -O project,quota DEVICE; then mount it with prjquota (docs/quotas.md)",
    "xfs": "add prjquota to its options in /etc/fstab, unmount it and mount it again (docs/quotas.md)",
    "f2fs": "unmounted: mkfs or fsck.f2fs -O project_quota,extra_attr; then mount it with prjquota",
}


def _call(fd: int, command: int, number: int, data: object, what: str) -> None:
    syscall("quotactl_fd", fd, command << 8 | _PRJQUOTA, number, data, what=what)


def support(fd: int, path: str, name: str) -> Support:
    """Whether project quotas are counted and enforced there now."""
    state = ctypes.create_string_buffer(256)
    try:
        _call(fd, _STATE, 0, state, "Q_XGETQSTAT")
        flags = struct.unpack_from("=H", state.raw, 2)[0]
    except OSError:
        flags = 0
    if flags & _ENFORCED:
        return Support("project", name, inodes=True, shown=name in ("ext4", "xfs"))
    if name in _HINTS:
        why, hint = f"{name} at {path} is mounted without project quotas", _HINTS[name]
    else:
        why = f"the file system of {path} ({name}) has no quotas for directories"
        hint = "put it on ext4 or xfs with project quotas, or on btrfs (docs/quotas.md)"
    return Support("", name, reason=why, hint=hint, no_inodes=why)


def project_of(fd: int) -> int:
    """Project id of the inode behind ``fd``; a directory that does not hand it down has none (0)."""
    flags, _, _, number, _ = _XATTR.unpack(fcntl.ioctl(fd, _GET, bytes(_XATTR.size)))
    return int(number) if flags & _INHERIT or not stat.S_ISDIR(os.fstat(fd).st_mode) else 0


def tag(fd: int, number: int) -> None:
    """Give the directory or plain file behind ``fd`` a project id; a directory hands it down. 0: none."""
    flags, extent, count, old, cow = _XATTR.unpack(fcntl.ioctl(fd, _GET, bytes(_XATTR.size)))
    new = flags
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        new = flags | _INHERIT if number else flags & ~_INHERIT
    if (old, flags) != (number, new):
        fcntl.ioctl(fd, _SET, _XATTR.pack(new, extent, count, number, cow))


def adopt(fd: int, number: int) -> None:
    """Tag the tree. Links, FIFOs and sockets that are there already cannot be opened for it, and hold no data: they
    count for nobody until they are made anew."""

    def other(directory: int, name: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            return
        try:
            file = openat2(directory, name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EXDEV, errno.ENODEV):
                return  # it is something else by now
            raise  # EAGAIN: she has a lease on it (fcntl(2)), which is broken within lease-break-time
        try:
            if stat.S_ISREG(os.fstat(file).st_mode):
                tag(file, number)
        finally:
            os.close(file)

    again(lambda: walk(fd, lambda directory, _: tag(directory, number), other))


def set_limits(fd: int, number: int, size: int, inodes: int) -> None:
    """size: bytes; what is not a whole number of KiB is rounded down."""
    blocks = max(size >> 10, 1) if size else 0
    data = ctypes.create_string_buffer(_DQBLK.pack(blocks, blocks, 0, inodes, inodes, 0, 0, 0, _LIMITS), _DQBLK.size)
    _call(fd, _SETQUOTA, number, data, "Q_SETQUOTA")


def usage(fd: int, number: int) -> Usage:
    """Of project ``number``."""
    data = ctypes.create_string_buffer(_DQBLK.size)
    try:
        _call(fd, _GETQUOTA, number, data, "Q_GETQUOTA")
    except OSError as error:
        if error.errno != errno.ENOENT:  # xfs: nothing was ever counted for it
            raise
    blocks, _, size, most, _, inodes, _, _, _ = _DQBLK.unpack(data.raw)
    return Usage(size, inodes, blocks << 10, most)


def clear(fd: int, number: int, keep: bool) -> None:
    """What was set for ``number`` goes. keep: so do the tree's tags, as whoever owns it next moves files as she likes;
    those of another project stay."""
    found = usage(fd, number)
    if found.bytes_limit or found.inodes_limit:
        set_limits(fd, number, 0, 0)
    if keep and found.inodes and project_of(fd) == number:
        adopt(fd, 0)
