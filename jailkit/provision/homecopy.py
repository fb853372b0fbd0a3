"""Moving a home: one rename(2) where that can be; else a copy that is made by processes with the user's ids only
(backup/process.py), read again and compared, and put into its place as a whole."""

from __future__ import annotations

import errno
import os
from typing import Any

from ..errors import JailkitError
from ..jail import chroot
from ..kernel import disk, quota
from ..kernel.beneath import remove_tree, require_root_owned_chain
from ..paths import Paths
from . import homes
from .backup import process, same
from .backup.judge import Shape
from .state import Row

_MAY_GO = (": a socket", ": a FIFO", ": its set-id bits")
"""What a copy may leave out: nothing is in it, and the programs that want it make it anew."""


def move(old: str, new: str, row: Row) -> bool:
    """Rename the home. False where it has to be copied: another file system, or another quota's tree (EXDEV).

    The directories above both are root's alone, so nobody else puts something there in between. Raise
    ``unsafe.path``, ``unsafe.home-owner``, ``missing.home``, ``conflict.home-exists``, ``busy.mounted``."""
    require_root_owned_chain(os.path.dirname(new))
    fd = homes.open_own(old, row)
    if fd is None:
        raise JailkitError("missing.home", f"there is no home {old}", f"jailctl add-user {row.name} makes it anew")
    os.close(fd)
    if os.path.lexists(new):
        raise JailkitError("conflict.home-exists", f"{new} exists already", f"ls -ld {new}")
    try:
        os.rename(old, new)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        if error.errno == errno.EBUSY:
            raise JailkitError("busy.mounted", f"something is mounted at {old}", f"umount {old}, then again") from None
        raise
    for directory in {os.path.dirname(old), os.path.dirname(new)}:
        disk.sync_names(directory)
    return True


def copy(paths: Paths, old: str, new: str, row: Row, temporary: str) -> None:
    """Copy the home to ``new``, by way of ``temporary`` beside it, which is root's alone while it is filled. Raise
    ``conflict.not-hers`` where something could not be copied, ``io.archive`` where the copy is not the same, and what
    process.fill_from_jail raises."""
    if row.level == "chroot" and (more := sorted(set(os.listdir(old)) - {chroot.FILES, "etc"})):
        raise JailkitError(
            "conflict.not-hers", f"{old} holds {', '.join(more[:5])} of root's, which is not copied",
            f"take it away; then again; then into {new}",
        )  # fmt: skip
    remove_tree(temporary)
    require_root_owned_chain(os.path.dirname(new))
    os.mkdir(temporary, 0o700)
    place = f"{temporary}/home"
    if row.level == "chroot":
        homes.build_chroot(place, row.uid, row.gid, number=row.base)
        _fill(paths, f"{old}/{chroot.FILES}", f"{place}/{chroot.FILES}", row)
    else:
        quota.directory(place, row.base)
        os.chown(place, row.uid, row.gid)
        _fill(paths, old, place, row)
    disk.sync_file_system(place)
    homes.publish(place, new)
    os.rmdir(temporary)


def _fill(paths: Paths, old: str, new: str, row: Row) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    source = os.open(old, flags)
    target = os.open(new, flags)
    try:
        found = process.fill_from_jail(
            paths, row, process.Parts(source), row, process.Parts(target), Shape()
        )  # fmt: skip
        _require_whole(old, row, found)
        same.require(paths, row, source, target)
    finally:
        os.close(source)
        os.close(target)


def _require_whole(old: str, row: Row, found: dict[str, Any]) -> None:
    lost = [text for text in found["left_out"] if not text.endswith(_MAY_GO)]
    if lost or found["skipped"] > len(found["left_out"]):
        raise JailkitError(
            "conflict.not-hers", f"not all of {old} can be copied: {'; '.join(lost[:5])}",
            f"give it to {row.name}, or take it away; then again",
        )  # fmt: skip
