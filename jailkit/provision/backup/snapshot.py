"""What a backup reads: a jail that is held still; or, where the file system shares blocks between files (btrfs, xfs: the
ioctl FICLONE), a copy that was made while it was held still for a moment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from ...errors import JailkitError
from ...jail import freeze
from ...jail import recipe as recipes
from ...jail import stage
from ...kernel.beneath import remove_tree
from ...paths import Paths
from .. import homes
from ..state import Row
from . import process
from .fill import Shape
from .process import Parts

_SHARES = ("btrfs", "xfs")


def open_layer(paths: Paths, row: Row) -> int | None:
    """The upper directory of a jail whose root is an overlay that lasts, or None. Raise ``missing.layer``,
    ``unsafe.layer``."""
    recipe = recipes.load(paths, row.name)
    if recipe.mode != "overlay":
        return None
    fd = stage.layer(paths, recipe)
    try:
        return os.open("upper", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def opened(paths: Paths, row: Row, home: str, layer: bool = True) -> Iterator[Parts]:
    """Home and, if it is wanted, layer of a jail. Raise ``missing.home``, ``unsafe.*``, ``missing.layer``."""
    with contextlib.ExitStack() as stack:
        fd = homes.open_own(home, row)
        if fd is None:
            raise JailkitError("missing.home", f"{home} is not there", f"ls -ld {home}; findmnt -T {home}")
        stack.callback(os.close, fd)
        upper = open_layer(paths, row) if layer else None
        if upper is not None:
            stack.callback(os.close, upper)
        yield Parts(fd, upper)


@contextlib.contextmanager
def taken(paths: Paths, row: Row, home: str, beside: str, live: bool) -> Iterator[tuple[Parts, str]]:
    """What is to be read, and how it was taken (Manifest.taken). beside: directory for a copy, see :func:`beside`;
    gone at the end. live: without holding the jail still."""
    with contextlib.ExitStack() as stack:
        how = "live"
        if not live:
            held = stack.enter_context(freeze.held(paths, row.uid, row.gid, row.name))
            how = held.how
        parts = stack.enter_context(opened(paths, row, home))
        if how == "frozen" and (copy := _copied(paths, row, parts, beside, stack)) is not None:
            held.thaw()
            parts, how = copy, "snapshot"
        yield parts, how


def _copied(paths: Paths, row: Row, parts: Parts, place: str, stack: contextlib.ExitStack) -> Parts | None:
    """A copy that shares all blocks, or None where the file system cannot."""
    if not _shares(parts.home) or (parts.layer is not None and not _same(parts)):
        return None
    stack.callback(remove, place)
    made = stack.enter_context(fresh(place, row))
    found = process.fill_from_jail(paths, row, parts, row, made, Shape())
    if found["cloned"] < found["bytes"]:
        return None
    return made if parts.layer is not None else Parts(made.home)


def _same(parts: Parts) -> bool:
    assert parts.layer is not None
    return os.fstat(parts.home).st_dev == os.fstat(parts.layer).st_dev


@contextlib.contextmanager
def fresh(place: str, row: Row) -> Iterator[Parts]:
    """New directories in ``place``, which is root's alone: ``home`` and ``layer``."""
    with contextlib.ExitStack() as stack:
        os.mkdir(place, 0o700)
        fds = []
        for name, owner in (("home", (row.uid, row.gid)), ("layer", (row.base, row.base))):
            os.mkdir(f"{place}/{name}", 0o700)
            os.chown(f"{place}/{name}", *owner)
            fds.append(os.open(f"{place}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
            stack.callback(os.close, fds[-1])
        yield Parts(fds[0], fds[1])


def _shares(fd: int) -> bool:
    """Whether files there may share blocks: asked of the mount table, before anything is copied in vain."""
    number = f"{os.major(os.fstat(fd).st_dev)}:{os.minor(os.fstat(fd).st_dev)}"
    mount_id = ""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        mount_id = next((line.split()[1] for line in file if line.startswith("mnt_id:")), "")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.split()
            if fields[0] == mount_id or fields[2] == number:  # btrfs has a device number for each subvolume
                return fields[fields.index("-") + 1] in _SHARES
    return False


def beside(home: str, name: str, token: str) -> str:
    """A directory beside the home, root's, for what is to become one."""
    return f"{os.path.dirname(home)}/.{name}.jailctl-{token}"


def remove(place: str) -> None:
    remove_tree(place)
