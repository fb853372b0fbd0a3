"""A host's files, read for an image: link by link as the kernel would, never outside, and only what is root's own.

Every component on the way is root's and nobody else may write it, so nobody but root can change what a path means
between two looks at it (sshd's rule for ChrootDirectory, too). Links are resolved here, not by the kernel: a link's
target is taken from the tree's own root, as in a chroot, and what a path passed on its way is known. Files and
directories are opened beneath the root and through no link (openat2)."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections import deque
from dataclasses import dataclass
from typing import BinaryIO

from ....kernel.beneath import openat2
from ....spec.template import FORBIDDEN

_LINKS = 40  # the kernel's own limit (path_resolution(7))
_RUNTIME = ("/dev", "/proc", "/sys", "/run", "/tmp", "/var/tmp", "/var/lib/jailctl")


class Refused(Exception):
    """A path that no image may hold. str(): what is wrong with it, as the rest of a sentence."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a path leads. path: without a link in it. links: (path, target) of each one passed, in order.
    directories: those passed; more than what is above ``path`` where ".." or a link left one of them."""

    path: str
    status: os.stat_result
    links: tuple[tuple[str, str], ...] = ()
    directories: tuple[str, ...] = ()


def forbidden(path: str) -> bool:
    """Whether ``path`` is a secret, or belongs to a running system: what no image holds, whatever a template says."""
    return path.startswith(FORBIDDEN) or any(path == top or path.startswith(f"{top}/") for top in _RUNTIME)


class HostTree:
    """The tree below ``root``; all paths are absolute, as seen from there. A context manager.

    What was looked at is remembered: one build sees one state of each name."""

    def __init__(self, root: str) -> None:
        """Raise OSError."""
        self.fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._seen: dict[str, os.stat_result | None] = {}
        self._fine: dict[str, os.stat_result] = {}

    def __enter__(self) -> HostTree:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def status(self, path: str) -> os.stat_result | None:
        """Of ``path``, whose directories are no links; None if nothing is there."""
        if path not in self._seen:
            try:
                self._seen[path] = os.stat(path.lstrip("/") or ".", dir_fd=self.fd, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                self._seen[path] = None
        return self._seen[path]

    def resolve(self, path: str) -> Found:
        """Follow ``path`` to its end. Raise FileNotFoundError, :class:`Refused`."""
        parts = deque(path.split("/"))
        here = ""
        links: list[tuple[str, str]] = []
        directories: list[str] = []
        while parts:
            part = parts.popleft()
            if part in ("", "."):
                continue
            child = os.path.dirname(here).rstrip("/") if part == ".." else f"{here}/{part}"
            status = self.require(child or "/")
            if stat.S_ISLNK(status.st_mode):
                links.append((child, self.target(child)))
                if len(links) > _LINKS:
                    raise Refused("leads through too many links, or in a circle")
                parts.extendleft(reversed(links[-1][1].split("/")))
                here = "" if links[-1][1].startswith("/") else here
                continue
            if parts and not stat.S_ISDIR(status.st_mode):
                raise FileNotFoundError(f"{child} is not a directory")
            here = child
            if here and stat.S_ISDIR(status.st_mode):
                directories.append(here)
        return Found(here or "/", self.require(here or "/"), tuple(links), tuple(directories))

    def require(self, path: str) -> os.stat_result:
        """The status of one name. Raise FileNotFoundError if nothing is there, :class:`Refused` unless everybody may
        read it and only root may change it."""
        if path in self._fine:
            return self._fine[path]
        status = self.status(path)
        if status is None:
            raise FileNotFoundError(f"{path} does not exist")
        if path == "/":
            return status
        if forbidden(path):
            raise Refused(f"leads to {path}, which is never copied into an image")
        if not path.isprintable():
            raise Refused(f"leads to {ascii(path)}, which is no printable UTF-8")
        self._fine[path] = _require(path, status)
        return status

    def target(self, path: str) -> str:
        text = os.readlink(path.lstrip("/"), dir_fd=self.fd)
        if not text.isprintable():
            raise Refused(f"leads through {path}, a link to what is no printable UTF-8: {ascii(text)}")
        return text

    def open(self, path: str) -> BinaryIO:
        """A regular file, to be read; its ``path`` is one that :meth:`resolve` gave. Raise Refused, OSError."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.fdopen(openat2(self.fd, path.lstrip("/"), flags, cross_mounts=True), "rb")
        try:
            status = _require(path, os.fstat(file.fileno()))
            if not stat.S_ISREG(status.st_mode):
                raise Refused(f"leads to {path}, which is no regular file")
        except Refused:
            file.close()
            raise
        return file

    def names(self, path: str) -> list[str]:
        """What a directory holds, sorted; :class:`Refused` where not everybody may list it."""
        fd = openat2(self.fd, path.lstrip("/") or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, cross_mounts=True)
        try:
            if not os.fstat(fd).st_mode & 0o004:
                raise Refused(f"leads to {path}, which not everybody may list")
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def text(self, path: str) -> str:
        """The content of a small file, "" if there is none; bytes that are no UTF-8 are replaced. Raise Refused."""
        try:
            found = self.resolve(path)
            with self.open(found.path) as file:
                return file.read(64 << 20).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def holds(self, path: str) -> bool:
        """Whether there is anything at ``path``, be it a link that leads to nothing."""
        above, _, name = path.rpartition("/")
        try:
            return self._holds(above, name)
        except Refused:
            return True

    def is_link(self, path: str) -> bool:
        """Whether ``path``, which :meth:`resolve` followed, itself is a link: not only something above it."""
        above, _, name = path.rpartition("/")
        status = self.status(f"{self.resolve(above).path.rstrip('/')}/{name}")
        return status is not None and stat.S_ISLNK(status.st_mode)

    def leads_to_file(self, path: str) -> bool:
        try:
            return stat.S_ISREG(self.resolve(path).status.st_mode)
        except (FileNotFoundError, Refused):
            return False

    def glob(self, pattern: str) -> list[str]:
        """Paths that match, sorted; as a shell would, ``*`` matches no leading dot. Raise Refused."""
        bases = [""]
        for part in pattern.strip("/").split("/"):
            if any(sign in part for sign in "*?["):
                bases = [f"{base}/{name}" for base in bases for name in self._matching(base, part)]
            else:
                bases = [f"{base}/{part}" for base in bases if self._holds(base, part)]
        return bases

    def _matching(self, base: str, part: str) -> list[str]:
        found = self._directory(base)
        if found is None:
            return []
        return [
            name
            for name in self.names(found)
            if fnmatch.fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))
        ]

    def _holds(self, base: str, part: str) -> bool:
        found = self._directory(base)
        return found is not None and self.status(f"{found.rstrip('/')}/{part}") is not None

    def _directory(self, path: str) -> str | None:
        try:
            found = self.resolve(path)
        except FileNotFoundError:
            return None
        return found.path if stat.S_ISDIR(found.status.st_mode) else None


def _require(path: str, status: os.stat_result) -> os.stat_result:
    if status.st_uid != 0:
        raise Refused(f"leads to {path}, which belongs to uid {status.st_uid}, not to root")
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return status
    if mode & 0o022:
        raise Refused(f"leads to {path}, which others than root may write (mode {mode:04o})")
    if stat.S_ISDIR(status.st_mode) and not mode & 0o001:
        raise Refused(f"leads to {path}, a directory that not everybody may enter (mode {mode:04o})")
    if stat.S_ISREG(status.st_mode) and not mode & 0o004:
        raise Refused(f"leads to {path}, which not everybody may read (mode {mode:04o})")
    return status
