"""Jails of level "chroot": sshd's own sftp server, after sshd has changed its root (ChrootDirectory, sshd_config(5)).
No namespace, no mount, no process, so nothing that a kernel could refuse; and nothing to run, so nothing to enter.

    /home/alice          root:alice  0750   the root that a session sees
    /home/alice/etc      root        0755   the jail's own passwd and group: names in listings, not numbers
    /home/alice/files    alice       0700   hers; a session starts there

A start checks these, puts the jail's own files in place and writes the entry record. The rest is the hook's
(login/door/chroot.c) and sshd's.
"""

from __future__ import annotations

import os
import stat

from ..errors import JailkitError
from ..kernel.beneath import Tree, require_root_owned_chain
from ..paths import Paths
from . import limits, runtime, slices
from .recipe import Recipe
from .record import FLAG_CHROOT, FOREVER, Record

FILES = "files"
MODE, FILES_MODE = 0o750, 0o700


def start(paths: Paths, recipe: Recipe) -> Record:
    """Make the jail ready for sessions; called with its lock held. Raise ``missing.home``, ``unsafe.*``, ``io.home``,
    ``io.record``."""
    check(recipe)
    try:
        _place(paths, recipe)
    except OSError as error:
        etc = f"{recipe.home}/etc"
        raise JailkitError(
            "io.home", f"cannot write into {etc}: {error.strerror}", f"ls -ld {etc}; df -h {etc}"
        ) from None
    place = slices.place(recipe.uid, limits.amounts(paths, recipe))
    record = Record(
        user=recipe.user, uid=recipe.uid, gid=recipe.gid, pid=0, start=0, userns=0, home=recipe.home,
        shell=recipe.shell, sftp=recipe.sftp, path=recipe.path, cgroups=place.procs, events=place.events,
        services=tuple(recipe.services), image=recipe.image,
        linger=FOREVER if recipe.linger is None else recipe.linger, flags=FLAG_CHROOT, filter=b"",
        **limits.of_logins(recipe),
    )  # fmt: skip
    runtime.publish(paths, record)
    return record


def check(recipe: Recipe) -> None:
    """Raise unless sshd would take the home for a root and the user could use it, with the component that is wrong and
    the command that mends it: ``missing.home``, ``unsafe.path``, ``unsafe.home``."""
    home, files = recipe.home, f"{recipe.home}/{FILES}"
    require_root_owned_chain(os.path.dirname(home))
    status = _require(home, 0, recipe.gid, MODE)
    has = stat.S_IMODE(status.st_mode)
    if has & 0o022:
        raise JailkitError("unsafe.path", f"{home} has mode {has:04o}: others may write", f"chmod {MODE:o} {home}")
    if has & 0o007:
        # she may give any mode to what is below, set-user-id programs too: nobody else may get there
        raise JailkitError("unsafe.home", f"{home} has mode {has:04o}: others may enter", f"chmod {MODE:o} {home}")
    if has & 0o050 != 0o050:
        raise JailkitError(
            "unsafe.home", f"{home} has mode {has:04o}: {recipe.user} cannot enter", f"chmod {MODE:o} {home}"
        )
    _require(files, recipe.uid, recipe.gid, FILES_MODE)  # its mode is hers to change


def _require(path: str, uid: int, gid: int, mode: int) -> os.stat_result:
    """A directory of that owner and group."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        mend = f"install -d -o {uid} -g {gid} -m {mode:o} {path}"
        raise JailkitError("missing.home", f"there is no {path}", mend) from None
    if not stat.S_ISDIR(status.st_mode):
        raise JailkitError("unsafe.path", f"{path} is not a directory", f"ls -ld {path}")
    if (status.st_uid, status.st_gid) != (uid, gid):
        has = f"uid {status.st_uid}, gid {status.st_gid}"
        raise JailkitError(
            "unsafe.path", f"{path} belongs to {has}, not to uid {uid}, gid {gid}", f"chown {uid}:{gid} {path}"
        )
    return status


def _place(paths: Paths, recipe: Recipe) -> None:
    """The jail's own files, where they differ. The directory is root's, so nobody else writes in it meanwhile."""
    require_root_owned_chain(paths.jail(recipe.user))
    with Tree(recipe.home) as tree:
        tree.mkdir("etc", 0o755, 0, 0)
        for name, data in recipe.files.items():
            try:
                same = tree.read_file(f"etc/{name}") == data
            except (OSError, JailkitError):  # it is missing, or something else than a file
                same = False
            if not same:
                tree.write_file(f"etc/{name}", data, 0o644, 0, 0)
