"""What the host's programs send to /dev/log, kept for the test to read."""

from __future__ import annotations

import os
import select
import socket
import threading


class Syslog:
    """Listens on ``path`` (of the host, reached through /proc/PID/root) from ``with`` on. A socket bound from outside
    serves inside, as path names of sockets know no network namespace."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines: list[str] = []
        self._open()

    def _open(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._path)
        os.chmod(self._path, 0o666)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def stop(self) -> None:
        """As a daemon that ends: the socket is closed, and its name removed."""
        self.__exit__()
        os.unlink(self._path)

    def start(self) -> None:
        """A new socket; the lines of before are kept."""
        self._open()
        self.__enter__()

    def lines(self) -> list[str]:
        return list(self._lines)

    def _listen(self) -> None:
        while True:
            ready, _, _ = select.select([self._socket.fileno(), self._stop_read], [], [])
            if self._stop_read in ready:
                return
            self._lines.append(self._socket.recv(65536).decode(errors="backslashreplace").rstrip("\n\0"))

    def __enter__(self) -> Syslog:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._stop_write)
        self._thread.join()
        os.close(self._stop_read)
        self._socket.close()
