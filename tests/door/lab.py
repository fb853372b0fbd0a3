"""The jail that the tests of the C programs share, and how they start the door in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jailkit.jail import recipe as recipes
from jailkit.jail import start, stop
from jailkit.jail.record import Record, Session
from jailkit.kernel import proc
from jailkit.paths import Paths

DOOR = Path(__file__).resolve().parents[2] / "jailkit/login/door"
USER, UID = "dora", 54321
BASE = 1700000000
DULL = b"This account is not available at the moment.\n"
ENV = {"TERM": "xterm", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Programs:
    build: Path

    def door(self, asan: bool = False) -> str:
        return str(self.build / "asan/door" if asan else self.build / "door")

    def hook(self, asan: bool = False) -> str:
        return str(self.build / "asan/hook" if asan else self.build / "hook")


@dataclass
class Done:
    status: int
    out: bytes
    err: bytes
    log: list[str]


class Lab:
    """One user's jail below ``root``. uid: 54321, no account needed: the programs ask no name service."""

    def __init__(self, root: Path, programs: Programs, log: socket.socket) -> None:
        self.root, self.programs, self._log = root, programs, log
        self.paths = Paths(str(root))
        self.home = root / "home" / USER
        self._make_image()
        self.recipe = recipes.Recipe(
            user=USER, uid=UID, gid=UID, base=BASE, home=str(self.home), hostname=USER, image="0" * 64,
            root=str(root / "image"), files=[], services=["sshd", "su", "su-l", "jailctl"], linger=None,
        )  # fmt: skip
        os.makedirs(self.paths.jail(USER) + "/etc")
        (root / "run").mkdir()
        recipes.save(self.paths, self.recipe)
        self.record = start.start(self.paths, USER)

    def _make_image(self) -> None:
        image = self.root / "image"
        for name in ("usr", "etc", "srv", "tmp", "var/tmp", "run", "dev", "proc"):
            (image / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            if os.path.islink(f"/{name}"):
                (image / name).symlink_to(f"usr/{name}")
        (image / "etc/passwd").write_text(f"root:x:0:0::/:/bin/sh\n{USER}:x:{UID}:{UID}::{self.home}:/bin/bash\n")
        (image / "etc/group").write_text(f"root:x:0:\ntty:x:5:\n{USER}:x:{UID}:\n")
        self.home.mkdir(parents=True)
        os.chown(self.home, UID, UID)

    def close(self) -> None:
        stop.stop(self.paths, UID, USER)
        with contextlib.suppress(OSError):
            os.rmdir("/sys/fs/cgroup/pids/jailctl")

    # -- the state that a login finds

    def reset(self) -> None:
        running = start.start(self.paths, USER)
        self.record = running
        self.write_record(self.record)
        for name in os.listdir(self.paths.sessions(UID)):
            os.unlink(f"{self.paths.sessions(UID)}/{name}")
        self.admit()
        self.lines()

    def check(self) -> None:
        """No test may leave a process of hers in the jail but the keeper."""
        end = time.monotonic() + 5
        while self.processes() and time.monotonic() < end:
            time.sleep(0.01)
        left = self.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, left

    def processes(self) -> list[int]:
        return [pid for pid in proc.of_uid(UID) if pid != self.record.pid]

    def write_record(self, record: Record | bytes, mode: int = 0o640, owner: int = 0) -> None:
        path = Path(self.paths.record(UID))
        path.unlink(missing_ok=True)
        path.write_bytes(record if isinstance(record, bytes) else record.pack())
        os.chown(path, owner, UID)
        path.chmod(mode)

    def changed(self, **fields: object) -> None:
        self.write_record(replace(self.record, **fields))  # type: ignore[arg-type]

    def admit(self, pid: int | None = None, **fields: object) -> None:
        """What the hook writes when it lets the process ``pid`` (default: this one) in."""
        pid = os.getpid() if pid is None else pid
        session = Session(pid, proc.start_time(pid) or 0, int(time.time()), USER, "sshd", "", "", "")
        path = Path(f"{self.paths.sessions(UID)}/{pid}")
        path.write_bytes(replace(session, **fields).pack())  # type: ignore[arg-type]
        os.chown(path, 0, UID)
        path.chmod(0o640)

    def lines(self) -> list[str]:
        """What was logged since the last call."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._log.recv(4096).decode())
        return found

    # -- logins

    def argv(self, command: str | None, asan: bool = False) -> list[str]:
        return ["-door"] if command is None else ["door", "-c", command]

    def spawn(self, argv: Sequence[str], *, uid: int = UID, gid: int = UID, groups: Sequence[int] = (), asan: bool = False,
              env: dict[str, str] | None = None, wrap: Sequence[str] = (), **more: object) -> subprocess.Popen[bytes]:  # fmt: skip
        """Start the door as sshd does. wrap: a program and its arguments to run it under (strace)."""
        door = self.programs.door(asan)
        environment = {**ENV, "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0", **(env or {})}
        arguments = [*wrap, door, *argv[1:]] if wrap else list(argv)
        return subprocess.Popen(
            arguments, executable=wrap[0] if wrap else door, env=environment, cwd="/", user=None if wrap else uid,
            group=None if wrap else gid, extra_groups=None if wrap else list(groups), **more,  # type: ignore[call-overload]
        )  # fmt: skip

    def run(self, command: str | None, stdin: bytes = b"", timeout: float = 20, argv: Sequence[str] | None = None,
            **more: object) -> Done:  # fmt: skip
        """One login without a terminal; with ``argv`` exactly that."""
        with self.spawn(argv or self.argv(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                        start_new_session=True, **more) as child:  # type: ignore[arg-type]  # fmt: skip
            try:
                out, err = child.communicate(stdin, timeout)
            except subprocess.TimeoutExpired:
                child.kill()
                raise
        return Done(child.returncode, out, err, self.lines())


class Terminal:
    """A login with a terminal, as sshd makes one: a pty that belongs to the user is the session's."""

    def __init__(self, lab: Lab, argv: Sequence[str], fds: Sequence[int] = (0, 1, 2), size: tuple[int, int] = (24, 80),
                 others: dict[int, int] | None = None, owner: int = UID, **more: object) -> None:  # fmt: skip
        self.lab = lab
        self.master, slave = pty.openpty()
        os.fchown(slave, owner, 5)
        termios.tcsetwinsize(slave, size)
        self.name = os.ttyname(slave)
        self.before = termios.tcgetattr(slave)
        standard = [slave if fd in fds else (others or {})[fd] for fd in (0, 1, 2)]
        self.child = lab.spawn(
            argv, stdin=standard[0], stdout=standard[1], stderr=standard[2], start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0), **more,  # type: ignore[arg-type]
        )  # fmt: skip
        self.slave = slave
        self.seen = b""

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.master, data) :]

    def expect(self, what: bytes, seconds: float = 10) -> bytes:
        """Read until ``what`` was seen; return all up to its end."""
        end = time.monotonic() + seconds
        while what not in self.seen:
            if not self._read(end - time.monotonic()):
                raise AssertionError(f"no {what!r} in {self.seen[-2000:]!r}")
        at = self.seen.index(what) + len(what)
        found, self.seen = self.seen[:at], self.seen[at:]
        return found

    def _read(self, seconds: float) -> bool:
        if seconds <= 0 or not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += data
        return bool(data)

    def modes(self) -> list[object]:
        return termios.tcgetattr(self.slave)

    def raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def wait(self, seconds: float = 10) -> int:
        """The end of the login; reads on meanwhile, as sshd does."""
        end = time.monotonic() + seconds
        while self.child.poll() is None and time.monotonic() < end:
            self._read(0.01)
        if self.child.poll() is None:
            raise AssertionError(f"still running; {self.seen[-2000:]!r}")
        while self._read(0.05):
            pass
        return self.child.returncode

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)
