"""Trees of a tenant's, written and filled by the processes of provision/backup."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from jailkit.paths import Paths
from jailkit.provision.backup import check, process
from jailkit.provision.backup.fill import Owner
from jailkit.provision.backup.judge import Shape
from jailkit.provision.backup.process import Parts, Shown, Written
from jailkit.provision.state import Row

UID, OTHER = 54777, 54778
ROW = Row("alice", UID, UID, 700000000, "present", False, "", False, "/home/alice", "", {}, 0)
BOB = replace(ROW, name="bob", uid=OTHER, gid=OTHER, base=700001024, home="/home/bob")
PLAIN, WHOLE = Shape(plain=True), Shape()


@contextmanager
def parts(home: Path, layer: Path | None = None) -> Iterator[Parts]:
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (home, layer) if path is not None]
    try:
        yield Parts(fds[0], fds[1] if layer is not None else None)
    finally:
        for fd in fds:
            os.close(fd)


def new(path: Path, owner: int = OTHER) -> Path:
    path.mkdir(mode=0o700)
    os.chown(path, owner, owner)
    return path


def write(
    paths: Paths, file: Path, home: Path, layer: Path | None = None, packer: str = "", shown: str = "home"
) -> Written:  # fmt: skip
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with parts(home, layer) as seen:
            return process.write(paths, ROW, seen, fd, packer, Shown(shown))
    finally:
        os.close(fd)


def checked(paths: Paths, file: Path, shape: Shape = PLAIN) -> check.Checked:
    with check.opened(str(file)) as fd:
        return check.whole(paths, fd, shape, check.room(str(file.parent)))


def filled(
    paths: Paths, file: Path, home: Path, layer: Path | None = None, shape: Shape = PLAIN, row: Row = BOB
) -> dict[str, Any]:
    """Unpack what is alice's for ``row``, without looking at it as a whole first."""
    with check.opened(str(file)) as fd, parts(home, layer) as into:
        room = check.room(str(file.parent))
        return process.fill_from_archive(paths, row, into, fd, room, Owner((UID, UID), (row.uid, row.gid)), shape)


def copied(
    paths: Paths, home: Path, into: Path, layer: Path | None = None, into_layer: Path | None = None
) -> dict[str, Any]:  # fmt: skip
    with parts(home, layer) as seen, parts(into, into_layer) as made:
        return process.fill_from_jail(paths, ROW, seen, BOB, made, WHOLE)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def holes(path: bytes, size: int) -> list[tuple[int, int]]:
    """Where a file has data, as the file system says."""
    fd, found, at = os.open(path, os.O_RDONLY), [], 0
    try:
        while at < size:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(fd, start, os.SEEK_HOLE)
            found.append((start, at))
    finally:
        os.close(fd)
    return found


def picture(top: Path, own: int) -> dict[bytes, tuple[object, ...]]:
    """All that a backup should bring back of a tree, by name; hard links as the first name of each."""
    found: dict[bytes, tuple[object, ...]] = {}
    first: dict[int, bytes] = {}
    for base, directories, names in os.walk(os.fsencode(top)):
        for name in sorted([*directories, *names, b"."]):
            path = os.path.join(base, name)
            status = os.lstat(path)
            key = os.path.relpath(path, os.fsencode(top))
            link = first.setdefault(status.st_ino, key) if not stat.S_ISDIR(status.st_mode) else key
            row: list[object] = [stat.filemode(status.st_mode), status.st_mtime_ns, status.st_uid == own, link]
            if stat.S_ISLNK(status.st_mode):
                row.append(os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    row += [hashlib.sha256(file.read()).hexdigest(), holes(path, status.st_size)]
            if not stat.S_ISLNK(status.st_mode):
                row.append({k: os.getxattr(path, k) for k in os.listxattr(path) if not k.startswith("security")})
            found[key] = tuple(row)
    return found
