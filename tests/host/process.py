"""Processes inside a throw-away host, as the test holds them."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from typing import IO

import pexpect.fdpexpect

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/bash", "LANG": "C.UTF-8", "TERM": "xterm",
}  # fmt: skip
Ids = tuple[int, int, list[int]]
"""uid, gid, supplementary groups."""


class Process:
    """A running child of the host's init. ``pid`` is its number outside, for /proc; ``inner_pid`` the one inside."""

    def __init__(self, answers: socket.socket, argv: Sequence[str]) -> None:
        self.argv = list(argv)
        self._answers = answers
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        message, fds, _flags, _address = socket.recv_fds(answers, 4096, 1)
        self.inner_pid: int = json.loads(message)["pid"]
        self.pidfd = fds[0]
        self.pid = pid_of(self.pidfd)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.wait(0)

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit status, ``-n`` for signal n; None if it still runs after ``timeout`` seconds."""
        if self.returncode is None:
            ready, _, _ = select.select([self._answers], [], [], timeout)
            if not ready:
                return None
            message = self._answers.recv(4096)
            self._answers.close()
            status = json.loads(message)["status"] if message else 0x7F00
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def signal(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            pass

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def communicate(self, data: bytes, timeout: float) -> tuple[bytes, bytes]:
        """Feeds and reads all, until both outputs are closed. TimeoutExpired after ``timeout`` s, process killed."""
        end = time.monotonic() + timeout
        assert self.stdin and self.stdout and self.stderr
        outputs: dict[int, list[bytes]] = {self.stdout.fileno(): [], self.stderr.fileno(): []}
        reading, view = set(outputs), memoryview(data)
        os.set_blocking(self.stdin.fileno(), False)
        while reading or view:
            if not view and not self.stdin.closed:
                self.stdin.close()
            left = end - time.monotonic()
            writing = [self.stdin] if view else []
            readable, writable, _ = select.select(list(reading), writing, [], max(0.0, left))
            if left <= 0 and not readable:
                self.kill()
                raise subprocess.TimeoutExpired(self.argv, timeout, *(b"".join(part) for part in outputs.values()))
            for number in readable:
                block = os.read(number, 1 << 16)
                outputs[number].append(block)
                if not block:
                    reading.discard(number)
            if writable:
                try:
                    view = view[os.write(self.stdin.fileno(), view) :]
                except BrokenPipeError:
                    view = view[:0]
        self.stdin.close()
        out, err = (b"".join(part) for part in outputs.values())
        return out, err

    def close(self) -> None:
        """Ends it and lets go of what belongs to it; again does nothing."""
        if self.pidfd < 0:
            return
        self.kill()
        self.wait(5)
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream:
                stream.close()
        os.close(self.pidfd)
        self.pidfd = -1

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Terminal(pexpect.fdpexpect.fdspawn):  # type: ignore[type-arg]  # generic in its stubs only
    """A process with a terminal of the host (a pty of its own /dev/pts), to talk to as pexpect does: ``send``,
    ``sendline``, ``expect``, ``before``. Text is UTF-8; the timeout is 10 seconds."""

    def __init__(self, master: int, process: Process) -> None:
        self.process = process
        super().__init__(master, encoding="utf-8", codec_errors="backslashreplace", timeout=10)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.child_fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def control(self, letter: str) -> None:
        """^C is ``control("c")``."""
        self.send(chr(ord(letter) - ord("a") + 1))

    def hang_up(self) -> None:
        """As a closed terminal window does: the master goes, the kernel sends SIGHUP."""
        self.close()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_exc: object) -> None:
        if not self.closed:
            self.close()
        self.process.close()


class Agent:
    """The line to the host's pid 1 (agent.py)."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def start(
        self,
        argv: Sequence[str],
        fds: tuple[int, int, int],
        ids: Ids,
        env: Mapping[str, str] | None,
        cwd: str,
        *,
        tty: bool,
    ) -> Process:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = dict(ENVIRONMENT) if env is None else dict(env)
        request = {"argv": list(argv), "env": environment, "cwd": cwd, "ids": ids, "tty": tty}
        with theirs:
            socket.send_fds(self._control, [json.dumps(request).encode()], [*fds, theirs.fileno()])
        return Process(ours, argv)


def pid_of(pidfd: int) -> int:
    """The pid in our own pid namespace (pid -1 in fdinfo: it is gone already)."""
    with open(f"/proc/self/fdinfo/{pidfd}") as info:
        for line in info:
            if line.startswith("Pid:"):
                return int(line.split()[1])
    raise RuntimeError("the kernel shows no pid for a pidfd")
