"""The grounds on which the C programs are tried, and how a login is played.

:class:`Ground` is a runtime directory with an entry record that names a process of this test as its keeper: enough for
everything that is refused before entering. :class:`Lab` is a real jail, started by ``jailkit.jail.start``.
"""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jailkit.jail import recipe as recipes
from jailkit.jail import runtime, start, stop
from jailkit.jail.record import Record, Session
from jailkit.kernel import proc
from jailkit.paths import Paths

HERE = Path(__file__).resolve().parent
DOOR = HERE.parents[1] / "jailkit/login/door"
USER = "dora"
IMAGE = "0" * 64
UID = 1_600_000_000 + os.getpid()
"""Nobody else's: the end of a jail is the end of every process of its uid."""
BASE = 1_700_000_000
DULL = b"This account is not available at the moment.\n"
ENV = {"TERM": "xterm", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
ALLOW = bytes.fromhex("0600000000 00ff7f".replace(" ", ""))
"""A seccomp program that allows everything."""


def compiled(scratch: Path, name: str) -> Path:
    """A helper in C of these tests."""
    program = scratch / name
    subprocess.run(
        ["/usr/bin/gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-static", str(HERE / f"{name}.c"), "-o", str(program)],
        check=True,
    )
    return program


@dataclass(frozen=True)
class Programs:
    build: Path

    def path(self, name: str, asan: bool = False) -> str:
        return str(self.build / "asan" / name if asan else self.build / name)


@dataclass
class Done:
    status: int
    out: bytes
    err: bytes
    log: list[str]

    def refused(self, code: str) -> bool:
        """The dull line for the user, one line with the code for the log, nothing else."""
        return (self.status, self.out, self.err) == (1, b"", DULL) and [code] == [
            word.removeprefix("code=") for line in self.log for word in line.split() if word.startswith("code=")
        ]


class Ground:
    """The runtime directory of one user below ``root``. She needs no account: the programs ask no name service."""

    keepers: ClassVar[set[int]] = set()
    """Stand-ins that run while the tests do."""

    def __init__(self, root: Path, programs: Programs, log: socket.socket) -> None:
        self.root, self.programs, self._log = root, programs, log
        self.paths = Paths(str(root))
        self.keeper: subprocess.Popen[bytes] | None = None
        self.record: Record = None  # type: ignore[assignment]  # reset() makes one

    @property
    def directory(self) -> Path:
        return Path(self.paths.run_jail(UID))

    @property
    def sessions(self) -> Path:
        return Path(self.paths.sessions(UID))

    def reset(self) -> None:
        """As after the start of a jail and the admission of one login, that of this process."""
        (self.root / "run").mkdir(exist_ok=True)
        runtime.prepare(self.paths, UID, UID, USER)
        for path in self.sessions.iterdir():
            path.unlink()
        self.record = self._running()
        self.write_record(self.record.pack())
        self.admit()
        self.lines()

    def _running(self) -> Record:
        if self.keeper is None or self.keeper.poll() is not None:  # a stop of a jail ends all that is hers
            self.keeper = subprocess.Popen(["/bin/sleep", "1000"], user=UID, group=UID, extra_groups=[])
            self.keepers.add(self.keeper.pid)
        pid = self.keeper.pid
        return Record(
            user=USER,
            uid=UID,
            gid=UID,
            pid=pid,
            start=proc.start_time(pid) or 0,
            userns=proc.namespace(pid, "user") or 0,
            home="/",
            shell="/bin/sh",
            sftp="",
            path="/bin",
            cgroups=(),
            services=("sshd",),
            image="",
            linger=0,
            flags=0,
            filter=ALLOW,
        )

    def close(self) -> None:
        if self.keeper is not None:
            self.keeper.kill()
            self.keeper.wait()

    def write_record(self, data: bytes, mode: int = 0o640, owner: int = 0) -> None:
        path = Path(self.paths.record(UID))
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        os.chown(path, owner, UID)
        path.chmod(mode)

    def changed(self, **fields: object) -> None:
        record = copy.copy(self.record)
        for name, value in fields.items():
            setattr(record, name, value)
        self.write_record(record.pack())

    def admit(self, pid: int | None = None, mode: int = 0o640, owner: int = 0, **fields: object) -> None:
        """What the hook writes when it lets the process ``pid`` (default: this one) in."""
        pid = os.getpid() if pid is None else pid
        session = Session(pid, proc.start_time(pid) or 0, int(time.time()), USER, "sshd", "", "", "")
        for name, value in fields.items():
            setattr(session, name, value)
        path = self.sessions / str(pid)
        path.write_bytes(session.pack())
        os.chown(path, owner, UID)
        path.chmod(mode)

    def lines(self) -> list[str]:
        """What was logged since the last call."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._log.recv(4096).decode())
        return found

    def spawn(
        self,
        argv: Sequence[str],
        *,
        uid: int | None = UID,
        gid: int | None = UID,
        asan: bool = False,
        env: dict[str, str] | None = None,
        wrap: Sequence[str] = (),
        **more: Any,
    ) -> subprocess.Popen[bytes]:
        """Start the door as sshd does. wrap: a command that starts it, as root, and takes care of the ids."""
        environment = {**ENV, "ASAN_OPTIONS": "detect_leaks=0", **(env or {})}
        door = self.programs.path("door", asan)
        if wrap:
            argv, door, uid, gid = [*wrap, door, *argv], wrap[0], None, None
        return subprocess.Popen(
            argv,
            executable=door,
            env=environment,
            cwd="/",
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            **more,
        )

    def run(
        self,
        command: str | None = None,
        data: bytes = b"",
        timeout: float = 20,
        argv: Sequence[str] | None = None,
        **more: Any,
    ) -> Done:
        """One login without a terminal; with ``argv`` exactly that."""
        argv = argv or (["-door"] if command is None else ["door", "-c", command])
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with self.spawn(argv, start_new_session=True, **{**streams, **more}) as child:
            try:
                out, err = child.communicate(data if child.stdin else None, timeout)
            except subprocess.TimeoutExpired:
                child.kill()
                raise
        return Done(child.returncode, out or b"", err or b"", self.lines())


class Lab(Ground):
    """A real jail. ``reset`` starts it again if a test ended it."""

    def __init__(self, root: Path, programs: Programs, log: socket.socket) -> None:
        super().__init__(root, programs, log)
        self.home = root / "home" / USER
        self._make_image()
        self.recipe = recipes.Recipe(
            user=USER,
            uid=UID,
            gid=UID,
            base=BASE,
            home=str(self.home),
            hostname=USER,
            template="lab",
            image=IMAGE,
            files={},
            services=["sshd", "su", "su-l", "jailctl"],
            linger=None,
        )
        os.makedirs(self.paths.jail(USER))
        recipes.save(self.paths, self.recipe)

    def _make_image(self) -> None:
        image = Path(self.paths.image_root(IMAGE))
        for name in ("usr", "etc", "srv", "tmp", "var/tmp", "run", "dev", "proc"):
            (image / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            if os.path.islink(f"/{name}"):
                (image / name).symlink_to(f"usr/{name}")
        (image / "etc/passwd").write_text(f"root:x:0:0::/:/bin/sh\n{USER}:x:{UID}:{UID}::{self.home}:/bin/bash\n")
        (image / "etc/group").write_text(f"root:x:0:\ntty:x:5:\n{USER}:x:{UID}:\n")
        self.home.mkdir(parents=True)
        os.chown(self.home, UID, UID)

    def _running(self) -> Record:
        """The record as it was at the start, whatever a test has made of it."""
        if self.record is None or proc.start_time(self.record.pid) != self.record.start:
            self.record = start.start(self.paths, USER)
        return self.record

    def close(self) -> None:
        stop.stop(self.paths, UID, USER)
        for base in ("/sys/fs/cgroup/pids/jailctl", "/sys/fs/cgroup/jailctl"):
            with contextlib.suppress(OSError):
                os.rmdir(base)

    def processes(self) -> list[int]:
        """Hers, in the jail and outside, but the keepers."""
        running = runtime.running(self.paths, UID)
        keepers = {running.pid if running else 0, self.record.pid, *self.keepers}
        return [pid for pid in proc.of_uid(UID) if pid not in keepers]

    def inside(self, seconds: float = 5) -> int:
        """The session's process: of her uid, in the jail's pid namespace, no child of another such."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            jail = proc.namespace(self.record.pid, "pid")
            here = [pid for pid in self.processes() if proc.namespace(pid, "pid") == jail]
            with contextlib.suppress(OSError):
                first = [
                    pid
                    for pid in here
                    if proc.parent(pid) not in here and "door" not in os.readlink(f"/proc/{pid}/exe")
                ]
                if len(first) == 1:
                    return first[0]
            time.sleep(0.01)
        raise AssertionError(f"sessions: {here}")

    def check(self) -> None:
        """No test may leave a process of hers."""
        end = time.monotonic() + 5
        while self.processes() and time.monotonic() < end:
            time.sleep(0.01)
        left = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in self.processes()}
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, left
