"""Writing files of our own so that a reader, a crash or a full disk never sees half of one."""

from __future__ import annotations

import contextlib
import os

from ..errors import JailkitError
from ..kernel import disk


def write(path: str, data: bytes, mode: int, sync: bool = True) -> None:
    """Replace ``path``, in a directory of root's, by a new file of root's. The name it is written under is always the
    same, so that what a killed run left is replaced by the next (one at a time: the caller has the jail's lock); it is
    never opened if it exists. sync: False where the caller flushes the whole file system afterwards. Raise OSError; the
    old file is then as it was."""
    directory, _, name = path.rpartition("/")
    temporary = f"{directory}/.{name}.new"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(fd, mode)
            if sync:
                os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if sync:
        disk.sync_names(directory)


def remove(path: str, sync: bool = True) -> bool:
    """Unlink ``path`` and make it last; sync: see :func:`write`. Return False if it was not there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    if sync:
        disk.sync_names(os.path.dirname(path))
    return True


def read(path: str, limit: int = 1 << 20) -> bytes | None:
    """Content of a plain file, or None if there is none; never waits at a FIFO. Raise ``unsafe.file``, OSError."""
    import stat

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise JailkitError("unsafe.file", f"{path} is not a plain file", f"ls -l {path}")
        return file.read(limit)


def directory(path: str, mode: int) -> None:
    """Make ``path`` a directory of root's with exactly ``mode``. Raise ``unsafe.path`` if it is something else."""
    import stat

    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0:
        raise JailkitError("unsafe.path", f"{path} is not a directory of root", f"ls -ld {path}")
    if stat.S_IMODE(status.st_mode) != mode:
        os.chmod(path, mode)
