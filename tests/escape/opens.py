"""Who opens files of one file system, by the kernel's word: fanotify(7) with permission events.

The opener waits in its system call until we have looked at it in /proc, so ids, environment, directory and descriptors
are those of that very moment; processes in jails and short-lived ones are seen as well.
"""

from __future__ import annotations

import ctypes
import os
import select
import stat
import struct
import threading
from dataclasses import dataclass

CLASS_CONTENT, CLOEXEC, NONBLOCK = 0x4, 0x1, 0x2
MARK_ADD, MARK_FILESYSTEM = 0x1, 0x100
OPEN_PERM, OPEN_EXEC_PERM, ONDIR = 0x10000, 0x40000, 0x40000000
ALLOW = 1
_EVENT = struct.Struct("=IBBHQii")
_RESPONSE = struct.Struct("=iI")


@dataclass(frozen=True)
class Opening:
    """path: within its file system's mount where we see it. run: opened to be executed. fsuid: whose rights count.
    fds: what its descriptors are, in their order."""

    path: str
    run: bool
    directory: bool
    pid: int
    argv: tuple[str, ...]
    uids: tuple[int, ...]
    effective: int
    environ: tuple[str, ...]
    cwd: str
    umask: int
    fds: tuple[str, ...]

    @property
    def fsuid(self) -> int:
        return self.uids[3]


class Opens:
    """``with Opens(path) as seen: ...``, then ``seen.all()``: all openings meanwhile, but the test's own, on the file
    system that holds ``path`` (as the test sees it, /proc/PID/root/...)."""

    def __init__(self, path: object) -> None:
        self._path = str(path)
        self._seen: list[Opening] = []
        self._failed: list[BaseException] = []

    def __enter__(self) -> Opens:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.fanotify_init(CLASS_CONTENT | CLOEXEC | NONBLOCK, os.O_RDONLY | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "fanotify_init")
        mask = ctypes.c_uint64(OPEN_PERM | OPEN_EXEC_PERM | ONDIR)
        if libc.fanotify_mark(self._fd, MARK_ADD | MARK_FILESYSTEM, mask, -100, self._path.encode()) != 0:
            raise OSError(ctypes.get_errno(), f"fanotify_mark {self._path}")
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for descriptor in (self._fd, self._stop_read, self._stop_write):
            os.close(descriptor)

    def all(self) -> list[Opening]:
        """After the end of ``with``, or of what is watched."""
        if self._failed:
            raise self._failed[0]
        return list(self._seen)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._fd, self._stop_read], [], [])
            if self._fd in ready:
                self._take(os.read(self._fd, 65536))
            elif self._stop_read in ready:
                return

    def _take(self, data: bytes) -> None:
        while data:
            length, _version, _, _, mask, descriptor, pid = _EVENT.unpack_from(data)
            data = data[length:]
            try:
                if pid != os.getpid():
                    self._seen.append(look(descriptor, bool(mask & OPEN_EXEC_PERM), pid))
            except (FileNotFoundError, ProcessLookupError):
                pass  # killed while it waited: it opens nothing any more
            except BaseException as error:  # noqa: BLE001 - the opener must get its answer whatever happens here
                self._failed.append(error)
            finally:
                os.write(self._fd, _RESPONSE.pack(descriptor, ALLOW))
                os.close(descriptor)


def look(descriptor: int, run: bool, pid: int) -> Opening:
    base = f"/proc/{pid}"
    with open(f"{base}/status", errors="backslashreplace") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return Opening(
        path=os.readlink(f"/proc/self/fd/{descriptor}"),
        run=run,
        directory=stat.S_ISDIR(os.fstat(descriptor).st_mode),
        pid=pid,
        argv=words(f"{base}/cmdline"),
        uids=tuple(map(int, status["Uid"].split())),
        effective=int(status["CapEff"], 16),
        environ=words(f"{base}/environ"),
        cwd=os.readlink(f"{base}/cwd"),
        umask=int(status["Umask"], 8),
        fds=tuple(os.readlink(f"{base}/fd/{name}") for name in sorted(os.listdir(f"{base}/fd"), key=int)),
    )


def words(path: str) -> tuple[str, ...]:
    with open(path, "rb") as file:
        return tuple(part.decode(errors="backslashreplace") for part in file.read().split(b"\0") if part)
