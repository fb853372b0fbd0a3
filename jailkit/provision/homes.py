"""Homes: made beside their place and renamed into it when they are whole, so that no half-made home is ever seen; kept
or deleted on descriptors, whatever the tenant has put there."""

from __future__ import annotations

import os
import pwd
import stat

from ..errors import JailkitError
from ..jail import chroot
from ..kernel import disk, quota
from ..kernel.beneath import Tree, require_root_owned_chain
from .state import Row

_MODE = 0o700
_LIMIT = 16 << 20
_DEPTH = 16


def build(temporary: str, skel: str, uid: int, gid: int, sync: bool = True, number: int = 0) -> None:
    """Make ``temporary`` a home with what ``skel`` holds, all of it the user's, root's own until it is done. number:
    for which it counts on a file system that counts (kernel/quota).

    Set-id bits, owners and extended attributes of ``skel`` do not come along; its links come as links. sync: False
    where the caller flushes the whole file system before it is published."""
    require_root_owned_chain(os.path.dirname(temporary))
    quota.directory(temporary, number)
    with Tree(temporary) as tree:
        if os.path.isdir(skel):
            require_root_owned_chain(skel)
            with Tree(skel) as source:
                _copy(source.fd, tree, "", (uid, gid), sync, _DEPTH)
        os.fchown(tree.fd, uid, gid)
        os.fchmod(tree.fd, _MODE)
        if sync:
            os.fsync(tree.fd)


def build_chroot(temporary: str, uid: int, gid: int, sync: bool = True, number: int = 0) -> None:
    """Make ``temporary`` the root of a chroot jail (jail/chroot.py), which is root's, with the directory that is the
    user's; nobody gets in until it is done. number: see :func:`build`."""
    require_root_owned_chain(os.path.dirname(temporary))
    quota.directory(temporary, number)
    with Tree(temporary) as tree:
        tree.mkdir(chroot.FILES, chroot.FILES_MODE, uid, gid)
        os.fchown(tree.fd, 0, gid)
        os.fchmod(tree.fd, chroot.MODE)
        if sync:
            os.fsync(tree.fd)


def complete_chroot(path: str, gid: int) -> None:
    """Give the root of a chroot jail, whose files are there, its owner and mode."""
    with Tree(path) as tree:
        os.fchown(tree.fd, 0, gid)
        os.fchmod(tree.fd, chroot.MODE)


def _copy(source: int, tree: Tree, base: str, ids: tuple[int, int], sync: bool, depth: int) -> None:
    if depth == 0:
        raise JailkitError("invalid.skel", f"/{base} in the skeleton directory is too deep", "keep it flat")
    for name in sorted(os.listdir(source)):
        path = f"{base}/{name}" if base else name
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            tree.symlink(os.readlink(name, dir_fd=source), path, *ids)
        elif stat.S_ISDIR(status.st_mode):
            tree.mkdir(path, stat.S_IMODE(status.st_mode) & 0o777, *ids)
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
            try:
                _copy(fd, tree, path, ids, sync, depth - 1)
            finally:
                os.close(fd)
        elif stat.S_ISREG(status.st_mode):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
            with os.fdopen(fd, "rb") as file:
                tree.make_file(path, file.read(_LIMIT), stat.S_IMODE(status.st_mode) & 0o777, *ids, sync=sync)


def publish(temporary: str, home: str, sync: bool = True) -> None:
    """Rename into place; the directory above belongs to root, so nobody else can be there first."""
    if os.path.lexists(home):
        raise JailkitError("conflict.home-exists", f"{home} has appeared meanwhile", f"ls -ld {home}")
    os.rename(temporary, home)
    if sync:
        disk.sync_names(os.path.dirname(home))


def is_own(status: os.stat_result, row: Row) -> bool:
    """Whether the directory is the home of that jail: the uid's that was nobody's before; in a chroot jail root's, with
    the group that was nobody's before."""
    return (status.st_uid, status.st_gid) == (0, row.gid) if row.level == "chroot" else status.st_uid == row.uid


def open_own(home: str, row: Row) -> int | None:
    """Descriptor of the jail's home, or None if it is gone. Raise ``unsafe.path``, ``unsafe.home-owner``."""
    require_root_owned_chain(os.path.dirname(home))
    try:
        fd = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JailkitError("unsafe.home-owner", f"{home}: {error.strerror}", f"ls -ld {home}") from None
    status = os.fstat(fd)
    if not is_own(status, row):
        os.close(fd)
        raise JailkitError(
            "unsafe.home-owner",
            f"{home} belongs to uid {status.st_uid}, gid {status.st_gid}, and not to this jail",
            "--keep-home leaves it alone",
        )
    return fd


def owner(uid: int) -> str:
    """Whose account has ``uid``, "" for nobody's and for root's."""
    try:
        return pwd.getpwuid(uid).pw_name if uid else ""
    except KeyError:
        return ""


def take_back(home: str, row: Row) -> None:
    """Make the directory ``home`` the jail's user's again. Raise ``unsafe.path``, ``conflict.home-owner`` where it
    belongs to another account, OSError."""
    require_root_owned_chain(os.path.dirname(home))
    fd = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if is_own(status, row):
            return
        if name := owner(status.st_uid):
            raise JailkitError("conflict.home-owner", f"{home} belongs to {name}", f"ls -ld {home}")
        os.fchown(fd, 0 if row.level == "chroot" else row.uid, row.gid)
        os.fsync(fd)
    finally:
        os.close(fd)


def seal(home: str, row: Row) -> None:
    """Make a kept home root's, 0700: nobody who ever gets the uid, from whatever tool, gets what was left there."""
    fd = open_own(home, row)
    if fd is None:
        return
    try:
        os.fchmod(fd, 0o700)
        os.fchown(fd, 0, 0)
        os.fsync(fd)
    finally:
        os.close(fd)
