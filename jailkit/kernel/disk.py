"""What is to survive a crash of the host, and what only one process may do at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator

from .libc import call

_AT_FDCWD = -100
_EXCHANGE = 2
_SET_LOCK = 37
"""F_OFD_SETLK (fcntl(2)), for an open file description: against POSIX locks of others as one of these, but between
threads too, and gone when its last descriptor is, whatever else of this process closes the file."""


def sync_names(directory: str) -> None:
    """Make names in ``directory`` last (fsync(2): a rename is on the disk when its directory is). Raise OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def take_place(made: str, place: str) -> None:
    """Give ``made`` the name ``place``, in one step; what stood there, if anything, has the other name then
    (renameat2(2), RENAME_EXCHANGE). Both last. Raise OSError."""
    if os.path.lexists(place):
        one, other = os.fsencode(made), os.fsencode(place)
        call("renameat2", _AT_FDCWD, one, _AT_FDCWD, other, _EXCHANGE, what=f"exchange {place}")
    else:
        os.rename(made, place)
    for directory in {os.path.dirname(made), os.path.dirname(place)}:
        sync_names(directory)


def sync_file_system(directory: str) -> None:
    """Flush the whole file system of ``directory``: one syncfs(2) for thousands of fsync(2). Raise OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call("syncfs", fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def turn(path: str) -> Iterator[None]:
    """Wait for the lock of the file ``path``, made if need be in a directory of root's, and hold it (flock(2)). It
    goes with the process, however that ends. Raise OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def take(fd: int, start: int = 0, length: int = 0) -> bool:
    """Lock ``length`` bytes (0: all there will ever be) from ``start`` of a file that is open for writing. False:
    somebody else has a lock there. Raise OSError."""
    # struct flock: type, whence, start, length, pid
    try:
        fcntl.fcntl(fd, _SET_LOCK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True
