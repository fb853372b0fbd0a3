"""Reading and replacing whole text files of the host."""

from __future__ import annotations

import os


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def write(path: str, text: str, mode: int) -> None:
    """Replace ``path`` atomically. The name in between begins with a dot: sshd's ``Include *.conf`` does not see it."""
    directory, _, name = path.rpartition("/")
    temporary = f"{directory}/.{name}.{os.urandom(6).hex()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
