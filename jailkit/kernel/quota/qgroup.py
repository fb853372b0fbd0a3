"""btrfs: quota groups. A subvolume has one of its own (level 0, its id); one of level 1 with the owner's number has
the subvolumes of that owner in it, and the limit. btrfs-ioctl(2), Documentation/btrfs.

Only a subvolume can be limited, never a plain directory, and only its bytes. A subvolume that somebody makes within
another counts for neither, and anybody may make one: so a jail's seccomp program refuses that (kernel/seccomp.py)."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
import uuid
from collections.abc import Callable, Iterator

from ..walk import again, walk
from .base import Support, Usage

# linux/btrfs.h
_FS_INFO = 0x8400941F
_INO_LOOKUP = 0xD0009412
_SUBVOL_CREATE_V2 = 0x50009418
_QGROUP_ASSIGN, _QGROUP_CREATE, _QGROUP_LIMIT = 0x40189429, 0x4010942A, 0x8030942B
_RESCAN, _RESCAN_WAIT = 0x4040942C, 0x942E
_TREE_SEARCH, _QUOTA_TREE, _RELATION = 0xD0009411, 8, 246
_INHERIT = 1 << 2  # BTRFS_SUBVOL_QGROUP_INHERIT
_MAX_RFER = 1
_NONE = 2**64 - 1
_ROOT = 256  # BTRFS_FIRST_FREE_OBJECTID: inode of a subvolume's top
_LEVEL = 1 << 48

_NO_INODES = "btrfs cannot limit the number of files"


def identity(fd: int) -> bytes:
    """The file system's own id: st_dev is each subvolume's."""
    return bytes(fcntl.ioctl(fd, _FS_INFO, bytes(1024))[16:32])


def _sysfs(fd: int) -> str:
    return f"/sys/fs/btrfs/{uuid.UUID(bytes=identity(fd))}/qgroups"


@contextlib.contextmanager
def _outside(fd: int) -> Iterator[int]:
    """A descriptor to manage groups by: each change is charged to the subvolume that the descriptor is in, so that one
    which is full could not even be given more (EDQUOT). Above a mount point there is another file system."""
    above = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    try:
        try:
            same = identity(above) == identity(fd)
        except OSError:
            same = False
        yield above if same and os.fstat(fd).st_ino == _ROOT else fd
    finally:
        os.close(above)


def support(fd: int, path: str, own: bool) -> Support:
    """Whether quotas are enabled there; own: and whether the directory is a subvolume."""
    if not os.path.isdir(_sysfs(fd)):
        why, hint = f"btrfs at {path} has no quotas enabled", f"btrfs quota enable {path}; then jailctl doctor"
        return Support("", "btrfs", reason=why, hint=hint, no_inodes=why)
    if own and os.fstat(fd).st_ino != _ROOT:
        why = f"{path} is a plain directory, and btrfs limits subvolumes only"
        return Support("", "btrfs", reason=why, hint="docs/quotas.md says how it becomes one", no_inodes=why)
    return Support("qgroup", "btrfs", hint="leave inodes out, or put it on ext4 or xfs", no_inodes=_NO_INODES)


def _create(fd: int, number: int) -> None:
    try:
        fcntl.ioctl(fd, _QGROUP_CREATE, struct.pack("=QQ", 1, _LEVEL | number))
    except FileExistsError:
        pass


def make(above: int, name: str, number: int) -> None:
    """Make the subvolume ``name`` in the directory ``above``, from its first byte in the group of ``number``; 0: in
    none."""
    groups = [_LEVEL | number] if number else []
    if number:
        _create(above, number)
    # struct btrfs_qgroup_inherit: flags, num_qgroups, two copies, a limit of five, qgroups
    inherit = struct.pack(f"=4Q5Q{len(groups)}Q", 0, len(groups), 0, 0, 0, 0, 0, 0, 0, *groups)
    buffer = ctypes.create_string_buffer(inherit, len(inherit))
    # struct btrfs_ioctl_vol_args_v2: fd, transid, flags, size and address of that, 16 unused, name
    head = struct.pack("=qQQQQ16x", 0, 0, _INHERIT, len(inherit), ctypes.addressof(buffer))
    fcntl.ioctl(above, _SUBVOL_CREATE_V2, bytearray((head + os.fsencode(name)).ljust(4096, b"\0")))


def _subvolume(fd: int) -> int:
    buffer = bytearray(struct.pack("=QQ", 0, _ROOT).ljust(4096, b"\0"))
    fcntl.ioctl(fd, _INO_LOOKUP, buffer)
    return int(struct.unpack_from("=Q", buffer)[0])


def _assign(manager: int, subvolume: int, number: int, on: bool) -> int:
    return int(fcntl.ioctl(manager, _QGROUP_ASSIGN, bytearray(struct.pack("=QQQ", on, subvolume, _LEVEL | number))))


def adopt(fd: int, number: int) -> None:
    """Put the subvolume behind ``fd`` into the group, and those that were made within it before anybody refused."""
    inexact = False

    def directory(below: int, status: os.stat_result) -> None:
        nonlocal inexact
        if status.st_ino == _ROOT:
            with contextlib.suppress(FileExistsError):
                inexact |= _assign(manager, _subvolume(below), number, True) > 0

    with _outside(fd) as manager:
        _create(manager, number)
        again(lambda: walk(fd, directory, lambda *_: None))
        if inexact:  # what it shares with others has to be counted anew
            fcntl.ioctl(manager, _RESCAN, bytes(64))
            fcntl.ioctl(manager, _RESCAN_WAIT)


def counts(fd: int, number: int) -> bool:
    """Whether the directory ``fd`` is a subvolume in the group of ``number``: a relation in the quota tree."""
    if os.fstat(fd).st_ino != _ROOT:
        return False
    own = _subvolume(fd)
    # struct btrfs_ioctl_search_key: tree, ranges of object, offset and transaction, of type; how many
    group, kind = _LEVEL | number, _RELATION
    key = struct.pack("=7Q4I4Q", _QUOTA_TREE, own, own, group, group, 0, _NONE, kind, kind, 1, 0, 0, 0, 0, 0)
    buffer = bytearray(key.ljust(4096, b"\0"))
    fcntl.ioctl(fd, _TREE_SEARCH, buffer)
    return int(struct.unpack_from("=I", buffer, 64)[0]) > 0


def set_limits(fd: int, number: int, size: int, inodes: int) -> None:
    """inodes: 0. The group is made where there is none yet."""
    assert inodes == 0, _NO_INODES
    limit = struct.pack("=QQQQQQ", _LEVEL | number, _MAX_RFER, size or _NONE, 0, 0, 0)
    with _outside(fd) as manager:
        _create(manager, number)
        fcntl.ioctl(manager, _QGROUP_LIMIT, bytearray(limit))


def usage(fd: int, number: int) -> Usage | None:
    """Of the group of ``number``: as of the last commit, at most 30 seconds ago. None if there is none."""
    directory = f"{_sysfs(fd)}/1_{number}"
    try:
        size, most = (_number(f"{directory}/{name}") for name in ("referenced", "max_referenced"))
    except FileNotFoundError:
        return None
    return Usage(size, None, 0 if most == _NONE else most)


def inconsistent(fd: int) -> bool:
    """Whether a rescan is due; before Linux 5.9 nobody says so."""
    try:
        return _number(f"{_sysfs(fd)}/inconsistent") != 0
    except FileNotFoundError:
        return False


def _number(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())


def clear(fd: int, number: int) -> None:
    """Take the subvolume out of its group, and the group away once it is empty; as long as another subvolume is in it,
    it has no limit."""
    if usage(fd, number) is None:
        return
    set_limits(fd, number, 0, 0)
    with _outside(fd) as manager:
        if os.fstat(fd).st_ino == _ROOT:
            _unless_gone(lambda: _assign(manager, _subvolume(fd), number, False))
        _unless_gone(lambda: fcntl.ioctl(manager, _QGROUP_CREATE, struct.pack("=QQ", 0, _LEVEL | number)))


def _unless_gone(step: Callable[[], int | bytes]) -> None:
    try:
        step()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EBUSY):  # it is done; other subvolumes are in it
            raise
