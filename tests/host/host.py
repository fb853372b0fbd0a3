"""The throw-away host: see the package's docstring for what it is; here is how a test uses it."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from . import groups, observe
from .golden import CACHE, Golden, golden
from .process import Agent, Ids, Process, Terminal
from .ssh import Ssh
from .syslog import Syslog

PYTHON = "/usr/bin/python3"
SSHD = "/usr/sbin/sshd"
BOOT = Path(__file__).with_name("boot.py")
_numbers = itertools.count(1)
TIOCGPTPEER = 0x5441
TIOCSPTLCK = 0x40045431
Result = subprocess.CompletedProcess[str]


class Host(Ssh):
    """One machine. ``with Host() as h:`` or ``start()`` and ``stop()``.

    product: with jailkit installed by ``./install`` (not set up: that is ``h.jailctl("setup")``); else a bare Debian
    sshd: start Debian's sshd on port 22
    below, layer, binds, writable, network: for golden.py, which builds the layers inside a host
    """

    def __init__(
        self,
        *,
        product: bool = True,
        sshd: bool = True,
        hostname: str = "testhost",
        network: str = "own",
        below: Golden | None = None,
        layer: Golden | None = None,
        binds: Sequence[tuple[str, str]] = (),
        writable: Sequence[str] = (),
    ) -> None:
        self._product, self._with_sshd = product, sshd
        self._below, self._layer = below, layer
        self._config = {"hostname": hostname, "network": network, "binds": list(binds), "writable": list(writable)}
        self.cgroups: dict[str, str] = {}
        self._sshd: Process | None = None
        self._open = contextlib.ExitStack()

    # -- life

    def start(self) -> Host:
        with contextlib.ExitStack() as stack:
            self._open = stack
            self._boot(stack)
            self._log = stack.enter_context(Syslog(f"{self.root}/dev/log"))
            if self._with_sshd:
                self.sshd_restart()
            self._open = stack.pop_all()
        return self

    def _boot(self, stack: contextlib.ExitStack) -> None:
        number = next(_numbers)
        self.cgroups = groups.plan(number)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(ours)
        life_read, life_write = os.pipe()
        config = (
            self._config
            | self._layers()
            | {"cgroups": self.cgroups, "life_fd": life_read, "control_fd": theirs.fileno()}
        )
        supervisor = subprocess.Popen(
            [PYTHON, "-I", "-S", str(BOOT)],
            pass_fds=(life_read, theirs.fileno()),
            stdin=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            cwd="/",
        )
        stack.callback(supervisor.wait)
        stack.callback(os.close, life_write)
        assert supervisor.stdin
        with supervisor.stdin as stdin:
            stdin.write(json.dumps(config).encode())
        os.close(life_read)
        theirs.close()
        answer = json.loads(ours.recv(65536) or b'{"failed": "the supervisor died; see its error output"}')
        if "failed" in answer:
            raise RuntimeError(f"the test host could not be made: {answer['failed']}")
        self._agent = Agent(ours)
        with self.spawn(["/usr/bin/sleep", "10"]) as probe:
            self.init = observe.seen(probe.pid).parent

    def _layers(self) -> dict[str, object]:
        scratch = CACHE / "scratch"  # stays empty: what is mounted on it shows in the host's own namespace only
        scratch.mkdir(parents=True, exist_ok=True)
        lower: list[str]
        own: dict[str, object]
        if self._layer:
            upper = self._layer.lower[0]
            lower = [str(path) for path in self._layer.lower[1:]]
            own = {"upper": str(upper), "work": str(upper.with_name("work")), "usr_local": str(self._layer.usr_local)}
        else:
            below = self._below or golden(self._product)
            lower = [str(path) for path in below.lower]
            own = {"upper": "", "work": "", "usr_local": str(below.usr_local)}
        return {"scratch": str(scratch), "lower": lower} | own

    def stop(self) -> None:
        """Returns when every process, mount and control group of it is gone."""
        self._open.close()

    def __enter__(self) -> Host:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    # -- running things inside

    @property
    def root(self) -> Path:
        """The host's file system as seen from outside: ``h.root / "etc/passwd"``. Its absolute symlinks lead astray:
        read those from inside."""
        return Path(f"/proc/{self.init}/root")

    def watched(self, uid: int) -> bool:
        """Whether a jail has a watcher: it holds the lock of that file as long as it lives."""
        with (self.root / f"run/jailctl/jails/{uid}/watch").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def ids(self, user: str | None) -> Ids:
        """Uid, gid and groups that the host's own files give the user; root's for None."""
        if user is None:
            return 0, 0, [0]
        accounts = [line.split(":") for line in (self.root / "etc/passwd").read_text().splitlines()]
        uid, gid = next((int(entry[2]), int(entry[3])) for entry in accounts if entry[0] == user)
        memberships = [line.split(":") for line in (self.root / "etc/group").read_text().splitlines()]
        return uid, gid, sorted({gid} | {int(entry[2]) for entry in memberships if user in entry[3].split(",")})

    def image(self, template: str) -> str:
        """Digest of the image that the template's tag names."""
        return os.path.basename(os.readlink(self.root / "var/lib/jailctl/tags" / template))

    def spawn(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
    ) -> Process:
        """Starts ``argv`` inside, its three streams on pipes. As another ``user``: with bare ids, without PAM
        and without a jail; so as a jailed user only to play an unjailed process of hers. Close it (``with``)."""
        inside: list[int] = []
        ends = []
        for output in (False, True, True):
            read, write = os.pipe()
            inside.append(write if output else read)
            ends.append(os.fdopen(read, "rb", 0) if output else os.fdopen(write, "wb", 0))
        try:
            process = self._agent.start(argv, (inside[0], inside[1], inside[2]), self.ids(user), env, cwd, tty=False)
        finally:
            for descriptor in inside:
                os.close(descriptor)
        process.stdin, process.stdout, process.stderr = ends
        return process

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        input: str | bytes | None = None,
        timeout: float = 30,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        check: bool = False,
    ) -> Result:
        """Runs to its end; output as text, what is not UTF-8 in it as \\xNN. ``check``: fail unless the status is 0."""
        done = self.run_bytes(argv, user=user, input=input, timeout=timeout, env=env, cwd=cwd)
        out, err = (part.decode(errors="backslashreplace") for part in (done.stdout, done.stderr))
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(argv)}: status {done.returncode}\n{out}{err}")
        return subprocess.CompletedProcess(list(argv), done.returncode, out, err)

    def run_bytes(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        input: str | bytes | None = None,
        timeout: float = 30,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
    ) -> subprocess.CompletedProcess[bytes]:
        """As ``run``, byte for byte."""
        data = input.encode() if isinstance(input, str) else input or b""
        with self.spawn(argv, user=user, env=env, cwd=cwd) as process:
            out, err = process.communicate(data, timeout)
            status = process.wait(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(list(argv), timeout, out, err)
        return subprocess.CompletedProcess(list(argv), status, out, err)

    def terminal(
        self, argv: Sequence[str], *, user: str | None = None, env: Mapping[str, str] | None = None, cwd: str = "/"
    ) -> Terminal:
        """Starts ``argv`` on a new terminal of the host, 24 by 80, as a getty or an administrator's window would."""
        master = os.open(self.root / "dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
        fcntl.ioctl(master, TIOCSPTLCK, b"\0\0\0\0")
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
        try:
            process = self._agent.start(argv, (slave, slave, slave), self.ids(user), env, cwd, tty=True)
        finally:
            os.close(slave)
        terminal = Terminal(master, process)
        terminal.resize(24, 80)
        return terminal

    def jailctl(self, *args: str, input: str | bytes | None = None, timeout: float = 60, check: bool = True) -> Result:
        """The product's command, as root."""
        return self.run(["/usr/local/sbin/jailctl", *args], input=input, timeout=timeout, check=check)

    # -- looking

    def processes(self) -> list[observe.Seen]:
        """All of the host, its jails too, from outside. The first is the host's pid 1."""
        return observe.below(self.init)

    def syslog(self, containing: str = "") -> list[str]:
        """The lines sent to /dev/log so far, oldest first, as sent: ``<38>Nov 24 03:00:00 sshd[12]: text``."""
        return [line for line in self._log.lines() if containing in line]

    @contextlib.contextmanager
    def without_syslog(self) -> Iterator[None]:
        """The host's log is down, and comes back with a new socket."""
        self._log.stop()
        try:
            yield
        finally:
            self._log.start()

    def wait_syslog(self, containing: str, *, after: int = 0, timeout: float = 5) -> str:
        """The first line from number ``after`` on that contains the text; fails when none comes."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [line for line in self._log.lines()[after:] if containing in line]
            return bool(found)

        wait_for(
            look, timeout, lambda: f"no line with {containing!r} in the log:\n" + "\n".join(self._log.lines()[after:])
        )
        return found[0]

    # -- sshd

    def sshd_restart(self, config: str | None = None) -> None:
        """Starts sshd anew, as Debian does. ``config``: text for its file instead of Debian's; None: leave that."""
        if self._sshd:
            self._sshd.close()
        if config is not None:
            (self.root / "etc/ssh/sshd_config").write_text(config)
        self._sshd = self._start_sshd(22)

    def sshd_on(self, port: int, config: str) -> Process:
        """Starts a further sshd, on a port and with a configuration of its own. What is ``stock_sshd_config`` with a
        change reads /etc/ssh/sshd_config.d as the first sshd does."""
        file = f"etc/ssh/sshd_config.{port}"
        (self.root / file).write_text(config)
        return self._start_sshd(port, "-p", str(port), "-f", f"/{file}", "-o", f"PidFile=/run/sshd.{port}.pid")

    def _start_sshd(self, port: int, *args: str) -> Process:
        checked = self.run([SSHD, "-t", *args])
        if checked.returncode != 0:
            raise AssertionError(f"sshd -t: {checked.stderr}")
        process = self.spawn([SSHD, "-D", *args], env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        self._open.callback(process.close)

        def listens() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"sshd ended with {process.returncode}")
            return f":{port:04X} 00000000:0000 0A" in Path(f"/proc/{process.pid}/net/tcp").read_text()

        wait_for(listens, 5, "sshd does not listen")
        return process

    @property
    def stock_sshd_config(self) -> str:
        return Path("/usr/share/openssh/sshd_config").read_text()

    @property
    def sshd_pid(self) -> int:
        """Of the listening sshd, outside."""
        assert self._sshd
        return self._sshd.pid


def wait_for(condition: object, timeout: float, otherwise: object = "it did not come to pass") -> None:
    """Polls until ``condition()`` is true; AssertionError of ``otherwise`` (text or function) after ``timeout`` s."""
    assert callable(condition)
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(otherwise() if callable(otherwise) else otherwise)
        time.sleep(0.02)
