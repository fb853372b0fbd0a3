"""Root's file work in a user's tree: on descriptors, beneath one directory, through no link, across no mount.

Whoever owns a directory can swap what is in it between any check and any use (CVE-2013-4235, CVE-2017-5180, LXC's
CVE-2015-1335). So nothing here joins strings and hopes: openat2(2) resolves with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS,
RESOLVE_NO_MAGICLINKS and RESOLVE_NO_XDEV, what was opened is checked as what it is, and changed through its descriptor.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from ..errors import JailkitError
from .libc import syscall

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_XDEV = 0x01
_NO_MAGICLINKS = 0x02
_NO_SYMLINKS = 0x04
_BENEATH = 0x08


class _How(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


def openat2(directory: int, path: str, flags: int, mode: int = 0, cross_mounts: bool = False) -> int:
    """Open ``path`` beneath the descriptor ``directory``. Raise OSError: ELOOP at a link, EXDEV at ``..`` or a
    mount."""
    resolve = _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH | (0 if cross_mounts else _NO_XDEV)
    how = _How(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(100):
        try:
            return syscall(
                "openat2", directory, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how), what=f"open {path}"
            )
        except OSError as error:
            if error.errno != errno.EAGAIN:  # a rename elsewhere on the machine raced with the walk (openat2(2))
                raise
    raise OSError(errno.EAGAIN, f"open {path}: renames never cease")


def require_root_owned_chain(path: str, owner: int = 0) -> None:
    """Walk ``path`` from ``/``: every component a directory (the last may be a file), owned by root (the last by
    ``owner``), writable by nobody else. A sticky directory is no exception: what lies in it can be replaced.

    Raise ``unsafe.path`` that names the component (sshd's ChrootDirectory rule, session.c safely_chroot)."""
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        walked = ""
        parts = [part for part in path.split("/") if part]
        _require(fd, "/", owner if not parts else 0)
        for index, part in enumerate(parts):
            walked += f"/{part}"
            last = index == len(parts) - 1
            try:
                child = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            except OSError as error:
                raise JailkitError("unsafe.path", f"{walked}: {error.strerror}", f"ls -ld {walked}") from None
            os.close(fd)
            fd = child
            _require(fd, walked, owner if last else 0, directory=not last)
    finally:
        os.close(fd)


def _require(fd: int, path: str, owner: int, directory: bool = True) -> None:
    status = os.fstat(fd)
    if stat.S_ISLNK(status.st_mode):
        raise JailkitError(
            "unsafe.path", f"{path} is a symbolic link", f"use the path that it points to: readlink -f {path}"
        )
    if directory and not stat.S_ISDIR(status.st_mode):
        raise JailkitError("unsafe.path", f"{path} is not a directory", f"ls -ld {path}")
    if status.st_uid != owner:
        raise JailkitError(
            "unsafe.path", f"{path} belongs to uid {status.st_uid}, not to {owner}", f"chown {owner} {path}"
        )
    if status.st_mode & 0o022:
        raise JailkitError(
            "unsafe.path", f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others may write", f"chmod go-w {path}"
        )


def mount_id(fd: int) -> int:
    """Of the mount that ``fd`` is in. Raise OSError."""
    # statx(2) has it as stx_mnt_id; /proc/self/fdinfo says the same and needs no binding
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return int(line.split()[1])
    raise OSError(errno.EIO, "no mnt_id in fdinfo")


class Tree:
    """A directory whose content somebody else may change at any moment. A context manager; close() ends it."""

    def __init__(self, path: str) -> None:
        """Open ``path``; its own last component must not be a link. The components above are the caller's duty
        (:func:`require_root_owned_chain`). Raise OSError."""
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0) -> int:
        """Open beneath the tree; never blocks on a FIFO. Raise OSError."""
        return openat2(self.fd, path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, mode)

    def read_file(self, path: str, limit: int = 1 << 20) -> bytes:
        """Content of a regular file with one name. Raise OSError, or ``unsafe.file`` for anything else."""
        fd = self.open(path)
        try:
            self._regular(fd, path)
            with os.fdopen(os.dup(fd), "rb") as file:
                return file.read(limit)
        finally:
            os.close(fd)

    def _regular(self, fd: int, path: str) -> None:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise JailkitError(
                "unsafe.file", f"{self.path}/{path} is not a plain file with one name", f"ls -li {self.path}/{path}"
            )

    def mkdir(self, path: str, mode: int, uid: int, gid: int) -> None:
        """Make a directory that is never visible with a wider mode or another owner than it gets. An existing
        directory is left as it is."""
        parent, name = self._parent(path)
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
            fd = openat2(parent, name, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fchown(fd, uid, gid)
                os.fchmod(fd, mode)
            finally:
                os.close(fd)
        except FileExistsError:
            pass
        finally:
            os.close(parent)

    def write_file(self, path: str, data: bytes, mode: int, uid: int, gid: int, sync: bool = True) -> None:
        """Replace ``path`` atomically by a new file: what stood there (a link, a FIFO, a hard link to somebody's
        file) is unlinked, never opened. sync: it is on the disk when this returns."""
        parent, name = self._parent(path)
        temporary = f".jailctl-{os.getpid()}-{os.urandom(6).hex()}"
        try:
            fd = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent
            )
            try:
                with os.fdopen(os.dup(fd), "wb") as file:
                    file.write(data)
                os.fchown(fd, uid, gid)
                os.fchmod(fd, mode)
                if sync:
                    os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError:
            try:
                os.unlink(temporary, dir_fd=parent)
            except FileNotFoundError:
                pass
            raise
        finally:
            os.close(parent)

    def make_file(self, path: str, data: bytes, mode: int, uid: int, gid: int, sync: bool = True) -> None:
        """Make a file in a tree that nobody else has reached yet: under its own name, which nothing has; else
        FileExistsError. sync: see :meth:`write_file`."""
        directory, _, name = path.rpartition("/")
        parent = openat2(self.fd, directory, os.O_RDONLY | os.O_DIRECTORY) if directory else self.fd
        try:
            fd = os.open(
                name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent
            )
            with os.fdopen(fd, "wb", buffering=0) as file:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]
                os.fchown(fd, uid, gid)
                os.fchmod(fd, mode)
                if sync:
                    os.fsync(fd)
        finally:
            if directory:
                os.close(parent)

    def symlink(self, target: str, path: str, uid: int, gid: int) -> None:
        """Make a link owned by ``uid``; FileExistsError if something is there."""
        parent, name = self._parent(path)
        try:
            os.symlink(target, name, dir_fd=parent)
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)

    def _parent(self, path: str) -> tuple[int, str]:
        directory, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            raise ValueError(f"not a file name: {path!r}")
        return openat2(self.fd, directory or ".", os.O_RDONLY | os.O_DIRECTORY), name

    def remove_content(self) -> int:
        """Delete everything below the tree, the tree itself not. Return the number of names removed.

        Never follows a link, never leaves the mount: a directory that is a mount point is refused by openat2 (EXDEV)
        before anything in it is looked at, and rmdir(2) on it answers EBUSY. Raise ``busy.mounted``, OSError."""
        return _remove_content(self.fd, mount_id(self.fd), self.path)


def _remove_content(root: int, mount: int, label: str) -> int:
    """Depth first with an explicit stack: a tenant's tree may be deeper than Python's, and PATH_MAX's, limits."""
    removed = 0
    stack: list[tuple[int, str, Iterator[str]]] = [(os.dup(root), "", iter(os.listdir(root)))]
    try:
        while stack:
            fd, name, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                stack.pop()
                os.close(fd)
                if stack:
                    os.rmdir(name, dir_fd=stack[-1][0])
                    removed += 1
                continue
            child = _unlink_or_open(fd, entry, mount, label)
            if child is None:
                removed += 1
            else:
                stack.append((child, entry, iter(os.listdir(child))))
                if len(stack) > 512:
                    removed += _hoist(root, stack)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EBUSY):
            raise JailkitError("busy.mounted", f"something is mounted below {label}", f"findmnt -R {label}") from None
        raise
    finally:
        for fd, _, _ in stack:
            os.close(fd)
    return removed


def _hoist(root: int, stack: list[tuple[int, str, Iterator[str]]]) -> int:
    """A tree deeper than our descriptors reach: move the deepest directory up beneath the root and go on from there."""
    fd, name, _ = stack.pop()
    os.close(fd)
    os.rename(name, f".jailctl-deep-{os.urandom(8).hex()}", src_dir_fd=stack[-1][0], dst_dir_fd=root)
    first = stack[0]
    stack[0] = (first[0], first[1], _again(root))
    return 0


def _again(root: int) -> Iterator[str]:
    # listed anew when its turn comes: what was hoisted meanwhile is there, what was removed is not
    while names := os.listdir(root):
        yield names[0]


def _unlink_or_open(directory: int, name: str, mount: int, label: str) -> int | None:
    """Unlink ``name`` and return None; or, if it is a directory of this mount, return its descriptor."""
    try:
        os.unlink(name, dir_fd=directory)
        return None
    except IsADirectoryError:
        pass
    except PermissionError:  # POSIX lets unlink of a directory answer EPERM; so does an immutable file
        if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise
    child = openat2(directory, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    if mount_id(child) != mount:
        os.close(child)
        raise JailkitError("busy.mounted", f"{label}: {name} is a mount point", f"findmnt -R {label}")
    return child


def remove_tree(path: str) -> int:
    """Delete the directory ``path`` and all below it on its one mount; its parent must be root's own.

    Return the number of names removed; 0 if there is nothing. Raise ``unsafe.path``, ``busy.mounted``, OSError."""
    parent, _, name = path.rstrip("/").rpartition("/")
    require_root_owned_chain(parent or "/")
    try:
        tree = Tree(path)
    except FileNotFoundError:
        return 0
    with tree, Tree(parent or "/") as above:
        if mount_id(tree.fd) != mount_id(above.fd):
            raise JailkitError("busy.mounted", f"{path} is a mount point", f"findmnt {path}")
        removed = tree.remove_content()
        os.rmdir(name, dir_fd=above.fd)
    return removed + 1
