"""What a backup reads: a jail that is held still; or, where the file system shares blocks between files (btrfs, xfs:
ioctl_ficlone(2)), a copy that was made while it was held still for a moment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace

from ...errors import JailkitError
from ...jail import chroot, freeze, stage
from ...jail import recipe as recipes
from ...kernel import quota
from ...kernel.beneath import remove_tree
from ...paths import Paths
from .. import homes
from ..state import Row
from . import process
from .judge import Shape
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
def taken(
    paths: Paths, row: Row, home: str, beside: str, live: bool, share: bool = True
) -> Iterator[tuple[Parts, str]]:  # fmt: skip
    """What is to be read, and how it was taken (Manifest.taken). beside: directory for a copy, see :func:`beside`;
    gone at the end. live: without holding the jail still. share: with such a copy, where the file system can."""
    with contextlib.ExitStack() as stack:
        how = "live"
        if not live:
            held = stack.enter_context(freeze.held(paths, row.uid, row.gid, row.name))
            how = held.how
        parts = stack.enter_context(opened(paths, row, home))
        if how == "frozen" and share and (copy := shared(paths, row, parts, beside, stack)) is not None:
            held.thaw()
            parts, how = copy, "snapshot"
        yield parts, how


def shared(paths: Paths, row: Row, parts: Parts, path: str, stack: contextlib.ExitStack) -> Parts | None:
    """A copy that shares all blocks, or None where the file system cannot."""
    # asked before anything is copied in vain
    if quota.file_system(parts.home) not in _SHARES or (parts.layer is not None and not _same(parts)):
        return None
    remove_tree(path)  # of a run that was killed
    stack.callback(remove_tree, path)
    stack.enter_context(place(path, replace(row, level="namespaces")))
    home, upper = _directory(f"{path}/home"), None
    stack.callback(os.close, home)
    if parts.layer is not None:
        os.mkdir(f"{path}/layer", 0o700)
        os.chown(f"{path}/layer", row.base, row.base)
        upper = _directory(f"{path}/layer")
        stack.callback(os.close, upper)
    made = Parts(home, upper)
    found = process.fill_from_jail(paths, row, parts, row, made, Shape())
    return made if found["cloned"] >= found["bytes"] else None


def _same(parts: Parts) -> bool:
    assert parts.layer is not None
    return os.fstat(parts.home).st_dev == os.fstat(parts.layer).st_dev


@contextlib.contextmanager
def place(path: str, row: Row) -> Iterator[int]:
    """A new directory ``path``, root's alone, with a new home in it (what is hers of one, in a chroot jail): its
    descriptor."""
    os.mkdir(path, 0o700)
    inner = f"{path}/home"
    quota.directory(inner, 0)  # it counts when it takes its place: beside the home that is there, both might not fit
    if row.level == "chroot":
        inner = f"{inner}/{chroot.FILES}"
        os.mkdir(inner, 0o700)
    os.chown(inner, row.uid, row.gid)
    fd = _directory(inner)
    try:
        yield fd
    finally:
        os.close(fd)


def _directory(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def beside(home: str, name: str, token: str) -> str:
    """A directory beside the home, root's, for what is to become one."""
    return f"{os.path.dirname(home)}/.{name}.jailctl-{token}"
