"""A login with a terminal, as sshd makes one: a pty that belongs to the user is the session's controlling terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import termios
import time
from collections.abc import Sequence

from .lab import UID, Lab


class Terminal:
    """fds: which of 0, 1 and 2 are the terminal; others: what the rest are. owner: whose the terminal is (under ``su``
    not the user's)."""

    def __init__(
        self,
        lab: Lab,
        command: str | None = None,
        fds: Sequence[int] = (0, 1, 2),
        size: tuple[int, int] = (24, 80),
        others: dict[int, int] | None = None,
        owner: int = UID,
        env: dict[str, str] | None = None,
        wrap: Sequence[str] = (),
    ) -> None:
        self.master, self.slave = pty.openpty()
        os.fchown(self.slave, owner, 5)
        termios.tcsetwinsize(self.slave, size)
        self.before = termios.tcgetattr(self.slave)
        standard = [self.slave if fd in fds else (others or {})[fd] for fd in (0, 1, 2)]
        self.child = lab.spawn(
            ["-door"] if command is None else ["door", "-c", command],
            stdin=standard[0],
            stdout=standard[1],
            stderr=standard[2],
            start_new_session=True,
            env=env,
            wrap=wrap,
            preexec_fn=self._take,
        )
        self.seen = b""

    def _take(self) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.master, data) :]

    def expect(self, what: bytes, seconds: float = 10) -> bytes:
        """Read until ``what`` was seen; return all up to its end."""
        end = time.monotonic() + seconds
        while what not in self.seen:
            if not self.read(end - time.monotonic()):
                raise AssertionError(f"no {what!r} in {self.seen[-2000:]!r}")
        at = self.seen.index(what) + len(what)
        found, self.seen = self.seen[:at], self.seen[at:]
        return found

    def read(self, seconds: float) -> bool:
        if seconds <= 0 or not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += data
        return bool(data)

    def raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def wait_raw(self, seconds: float = 5) -> None:
        """What is typed before that, the outer terminal edits and echoes, as for any shell that is still starting."""
        end = time.monotonic() + seconds
        while not self.raw():
            assert time.monotonic() < end
            time.sleep(0.005)

    def restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def wait(self, seconds: float = 10) -> int:
        """Exit status of the login; reads on meanwhile, as sshd does, and what is left then."""
        end = time.monotonic() + seconds
        while self.child.poll() is None and time.monotonic() < end:
            self.read(0.01)
        if self.child.poll() is None:
            raise AssertionError(f"still running; {self.seen[-2000:]!r}")
        while self.read(0.02):
            pass
        return self.child.returncode


def cpu(pid: int) -> float:
    """Seconds of processor time that ``pid`` has had."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rsplit(b")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
