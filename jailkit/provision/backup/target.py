"""The file that a backup becomes: root's alone, without a name until it is whole and on the disk (open(2), O_TMPFILE);
where a file system has no such files, under a name that nobody can guess. It never replaces what is there."""

from __future__ import annotations

import errno
import os
import stat

from ...errors import JailkitError
from .. import files

_NONE = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)


def check(path: str) -> None:
    """Raise unless an archive may be made at ``path``: absolute, nothing there, in a directory where only root can
    replace what root makes (its own, or a sticky one such as /tmp)."""
    if not os.path.isabs(path) or os.path.normpath(path) != path:
        raise JailkitError("usage.archive", f"{path!r} is not an absolute path", "give the archive's full path")
    directory = os.path.realpath(os.path.dirname(path))
    if not os.path.isdir(directory):
        raise JailkitError("missing.directory", f"there is no directory {directory}", f"mkdir {directory}")
    if os.path.lexists(path):
        raise JailkitError("conflict.archive-exists", f"{path} exists already", "choose another name")
    while True:
        status = os.stat(directory)
        open_to_all = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if status.st_uid != 0 or open_to_all:
            raise JailkitError("unsafe.path", f"{directory} is not root's alone", "choose a directory of root's")
        if directory == "/":
            return
        directory = os.path.dirname(directory)


class Target:
    """temporary: the name that it has meanwhile, or ""."""

    def __init__(self, path: str, named: str) -> None:
        """named: the name to use where a file cannot be without one. Raise OSError."""
        self.path, self.temporary = path, ""
        directory, _, self._name = path.rpartition("/")
        self._directory = os.open(directory or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fd = self._made(named)
        except BaseException:
            os.close(self._directory)
            raise

    def _made(self, named: str) -> int:
        try:
            return os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=self._directory)
        except OSError as error:
            if error.errno not in _NONE:
                raise
        self.temporary = named
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(os.path.basename(named), flags, 0o600, dir_fd=self._directory)

    def flush(self) -> os.stat_result:
        """Put it on the disk. Return what it is."""
        os.fsync(self.fd)
        return os.fstat(self.fd)

    def publish(self) -> None:
        """Give it its name, by link(2), which never replaces anything. Raise FileExistsError, OSError."""
        os.link(
            f"/proc/self/fd/{self.fd}", self._name, dst_dir_fd=self._directory, follow_symlinks=True
        )  # fmt: skip
        os.fsync(self._directory)
        self.close()

    def close(self) -> None:
        """End it. What has no name yet is gone."""
        if self.fd >= 0:
            os.close(self.fd)
            os.close(self._directory)
            self.fd = -1
        if self.temporary:
            files.remove(self.temporary)
            self.temporary = ""
