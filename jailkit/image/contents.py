"""The bytes of files, kept once however many images hold them: ``contents/ab/<sha256>.<mode>``, hard links.

A link, not a reflink: it works on every file system, and one inode is one copy in the page cache, too. A mode belongs
to an inode, so it is part of the name. No tenant can write through one: they are root's own, 0644 at most, and a jail
sees them through a read-only mount whose ids are mapped, so that nobody inside is their owner; a writable root is an
overlay, which copies before it writes. The store is 0700, as a hard link to a file is a way to keep it.

What a build adds lies in its scratch directory until it is on the disk: what stands in the store was synced."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from ..errors import JailkitError
from ..kernel import disk
from ..paths import Paths
from .layer import EPOCH, Row

_SMALL = 1 << 20
_CHUNK = 1 << 18


def name_of(row: Row) -> str:
    return f"{row.sha256[:2]}/{row.sha256}.{row.mode:03o}"


class Counted:
    """Contents that are hashed and not kept: to know what an image would be."""

    def add(self, source: BinaryIO, executable: bool, private: bool) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
        return digest.hexdigest(), size


class Store:
    """One build's view of the store. scratch: an empty directory on the same file system, the build's own.

    trust: take what stands in the store by its name, size and time; else it is read, and replaced if it is not what it
    is called."""

    def __init__(self, paths: Paths, scratch: str, trust: bool = True) -> None:
        self._top, self._trust = paths.contents, trust
        self._fresh = f"{scratch}/contents"
        os.mkdir(self._fresh, 0o700)

    def add(self, source: BinaryIO, executable: bool, private: bool) -> tuple[str, int]:
        """See layer.Contents. Memory does not grow with the file."""
        mode = (0o700 if private else 0o755) if executable else (0o600 if private else 0o644)
        head = source.read(_SMALL)
        if len(head) < _SMALL:
            sha256 = hashlib.sha256(head).hexdigest()
            if not self._known(sha256, mode, len(head)):
                self._write(f"{self._fresh}/{sha256}.{mode:03o}", head, None, mode)
            return sha256, len(head)
        temporary = f"{self._fresh}/.new"
        sha256, size = self._write(temporary, head, source, mode)
        if self._known(sha256, mode, size):
            os.unlink(temporary)
        else:
            os.rename(temporary, f"{self._fresh}/{sha256}.{mode:03o}")
        return sha256, size

    def _write(self, path: str, head: bytes, rest: BinaryIO | None, mode: int) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            chunk = head
            while chunk:
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
                chunk = rest.read(_CHUNK) if rest is not None else b""
            file.flush()
            os.fchmod(fd, mode)
            os.utime(fd, (EPOCH, EPOCH))
        return digest.hexdigest(), size

    def _known(self, sha256: str, mode: int, size: int) -> bool:
        """Whether these contents need not be written again. What somebody has written to stays with the images that
        have it, where `image verify` sees it, and leaves the store."""
        path = self._place(sha256, mode)
        if not path:
            return False
        status = os.lstat(path)
        whole = (status.st_size, status.st_mtime_ns, status.st_uid) == (size, EPOCH * 10**9, 0)
        if whole and not self._trust:
            with open(path, "rb") as file:
                whole = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        if not whole:
            os.unlink(path)
        return whole

    def _place(self, sha256: str, mode: int) -> str:
        """Where these contents are now, or ""."""
        for path in (f"{self._top}/{sha256[:2]}/{sha256}.{mode:03o}", f"{self._fresh}/{sha256}.{mode:03o}"):
            if os.path.exists(path):
                return path
        return ""

    def has(self, row: Row) -> bool:
        return row.kind != "file" or self._place(row.sha256, row.mode) != ""

    def settle(self) -> None:
        """Move what was added into the store, once it is on the disk. What another build has put there since stays: it
        has names in that one's image, and a store that lost sight of them would sweep away what is in use."""
        names = sorted(os.listdir(self._fresh))
        if not names:
            return
        disk.sync_file_system(self._fresh)
        for name in names:
            with contextlib.suppress(FileExistsError):
                os.mkdir(f"{self._top}/{name[:2]}", 0o700)
            with contextlib.suppress(FileExistsError):
                os.link(f"{self._fresh}/{name}", f"{self._top}/{name[:2]}/{name}")
            os.unlink(f"{self._fresh}/{name}")

    def link(self, row: Row, target: str) -> None:
        """Make ``target`` a name of these contents. Raise ``io.contents`` if they are gone."""
        path = self._place(row.sha256, row.mode)
        if not path:
            raise JailkitError("io.contents", f"the contents of {row.path} are gone", "build it again, with --no-cache")
        try:
            os.link(path, target, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EMLINK:  # ext4 allows 65,000 names
                raise
            self._renew(path)
            os.link(path, target, follow_symlinks=False)

    def _renew(self, path: str) -> None:
        """Replace a file that has all the names it may have by a copy with one. Of two builds that do, each has its
        own copy until then."""
        temporary = f"{self._fresh}/.renewed"
        shutil.copy2(path, temporary)
        fd = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)


@contextlib.contextmanager
def in_use(paths: Paths) -> Iterator[None]:
    """Held by each build: nothing that it counts on is swept away meanwhile (flock(2), shared)."""
    fd = _lock(paths)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def alone(paths: Paths) -> Iterator[bool]:
    """For who sweeps: True while no build is under way and none can begin, False where one is."""
    fd = _lock(paths)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(fd)


def _lock(paths: Paths) -> int:
    return os.open(f"{paths.contents}/.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def sweep(paths: Paths, keep: set[str], gone: Mapping[str, int], dry_run: bool = False) -> tuple[int, int]:
    """Remove contents that no image has a name of and that are not in ``keep`` (of :func:`name_of`). Return how many
    and how many bytes. gone: names that are to be thought away. To be called within :func:`alone`."""
    count = size = 0
    for directory in sorted(os.listdir(paths.contents)):
        if directory == ".lock":
            continue
        for name in sorted(os.listdir(f"{paths.contents}/{directory}")):
            path = f"{paths.contents}/{directory}/{name}"
            status = os.lstat(path)
            if status.st_nlink - gone.get(f"{directory}/{name}", 0) == 1 and f"{directory}/{name}" not in keep:
                count += 1
                size += status.st_blocks * 512
                if not dry_run:
                    os.unlink(path)
    return count, size
