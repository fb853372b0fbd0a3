"""A throw-away jail: a process in namespaces of its own, with a root of its own, for as long as one command takes.

    caller (root)          builder (root, own mounts)       inner (root of the new user namespace)
    -----------------      -------------------------        --------------------------------------
    fork builder --------> private mounts
    pass its output on     fork inner --------------------> unshare user
    until all has ended    write its id maps                wait
    or time is up          stage the root
                           say "staged" ------------------> unshare mount, pid, uts, ipc, cgroup (net); fork pid 1
                                                            pid 1: /proc, /dev/pts, pivot; forks the command, which
                                                            drops its rights and is executed; reaps; ends with it

Each is killed by the kernel when the one before it ends (prctl(2), PR_SET_PDEATHSIG), and with pid 1 everything in its
pid namespace: whichever of them is killed, nothing runs on. All mounts are in the builder's namespace, or in pid 1's,
and go with them. Pid 1 is never executed and keeps more rights (of its own user namespace) than the command has, so
the command cannot trace it and make it stay. The ids are of one range that nobody has on the host.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...errors import JailkitError
from ...kernel import caps, mount, namespaces, proc, rootfs, seccomp
from ...kernel.libc import put, syscall
from .child import close_all_but, exit_code
from .ids import BUILD_BASE, BUILD_RANGE, JAIL_RANGE

TAIL = 20
"""How many of the last lines are kept for an error."""
_LINE = 4096
_KEPT = 16 << 20
"""Bytes of a command's output that reach its log."""
_CLOEXEC = 4


@dataclass(frozen=True)
class Order:
    """What to run. stage: called as root in the private mount namespace with a descriptor of the user namespace; makes
    the root at the path ``root``, and an empty file at ``masked``. uid, gid: of the command, inside. kept: its
    capabilities. filter: its seccomp program. cwd, environment, argv: of the command. seconds: the time it has.
    jailed: the ids are as in a jail of user ``uid`` (which is one of the build's range); else all ids of the range."""

    stage: Callable[[int], None]
    root: str
    masked: str
    argv: Sequence[str]
    environment: dict[str, str]
    filter: bytes
    hostname: str = "build"
    network: bool = False
    uid: int = 0
    gid: int = 0
    jailed: bool = False
    kept: frozenset[int] = frozenset()
    cwd: str = "/"
    seconds: float = 3600.0

    @property
    def owner(self) -> tuple[int, int]:
        """The command's ids, outside."""
        return (self.uid, self.gid) if self.jailed else (BUILD_BASE + self.uid, BUILD_BASE + self.gid)

    def write_maps(self, pid: int) -> None:
        if self.jailed:
            namespaces.write_maps(pid, self.uid, self.gid, BUILD_BASE, JAIL_RANGE)
        else:
            namespaces.write_plain_maps(pid, BUILD_BASE, BUILD_RANGE)


@dataclass
class Outcome:
    """status: exit status, 128 + n for signal n; None: its time was up. tail: the last lines that it wrote."""

    status: int | None
    tail: list[str] = field(default_factory=list)


def run(order: Order, log: Callable[[str], None]) -> Outcome:
    """Carry out ``order``; every process of it has ended when this returns or raises. Each line that it writes goes to
    ``log`` (without its end, undecodable bytes replaced). Raise what staging raises, ``jail.throw-away``."""
    report, report_in = os.pipe2(os.O_CLOEXEC)
    output, output_in = os.pipe2(os.O_CLOEXEC)
    go_out, go = os.pipe2(os.O_CLOEXEC)
    os.fchown(output_in, *order.owner)  # or it could not open its own /dev/stderr
    caller = os.getpid()
    # Python runs hooks of modules (logging's) right after a fork, and a ^C that is raised in one of them is lost
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        builder = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    if builder == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _child(report_in, lambda: _build(order, caller, report_in, output_in, go_out))
    for fd in (report_in, output_in, go_out):
        os.close(fd)
    watched = _Watched(builder, report, output, go, _Lines(log))
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        in_time = watched.follow(time.monotonic() + order.seconds)
    finally:
        watched.end()
        for fd in (report, output, go):
            os.close(fd)
    return Outcome(_status(watched.said) if in_time else None, list(watched.lines.tail))


def _status(said: bytes) -> int:
    """The status, of what builder, inner and pid 1 wrote: ``pid N``, ``status N``, ``error code|text|hint``."""
    status = None
    for line in said.decode(errors="replace").splitlines():
        word, _, rest = line.partition(" ")
        if word == "error":
            code, text, hint = (rest.split("|") + ["", ""])[:3]
            raise JailkitError(code, text, hint)
        if word == "status":
            status = int(rest)
    if status is None:
        raise JailkitError("jail.throw-away", "the throw-away jail was killed", "dmesg; then try again")
    return status


class _Lines:
    """Bytes in, lines out."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log, self._rest, self._room = log, b"", _KEPT
        self.tail: deque[str] = deque(maxlen=TAIL)

    def feed(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(self._shortened(line))
        self._rest = self._shortened(rest)

    def _shortened(self, line: bytes) -> bytes:
        while len(line) > _LINE:
            self._line(line[:_LINE])
            line = line[_LINE:]
        return line

    def finish(self) -> None:
        if self._rest:
            self._line(self._rest)
            self._rest = b""

    def _line(self, line: bytes) -> None:
        text = line.rstrip(b"\r").decode(errors="replace")
        self.tail.append(text)
        if self._room < 0:
            return
        self._room -= len(text.encode()) + 1
        # a command that never stops writing fills no disk with its log
        self._log(text if self._room >= 0 else f"... what else it writes is not kept: {_KEPT >> 20} MiB are")


class _Watched:
    """The caller's end: follows the jail, and ends it."""

    def __init__(self, builder: int, report: int, output: int, go: int, lines: _Lines) -> None:
        self.said = b""
        self.lines = lines
        self._builder, self._report, self._output, self._go = builder, report, output, go
        self._first = -1

    def follow(self, end: float) -> bool:
        """Return True when the jail has ended, False when its time is up."""
        poll = select.poll()
        poll.register(self._report, select.POLLIN)
        poll.register(self._output, select.POLLIN)
        while (left := end - time.monotonic()) > 0:
            for fd, _ in poll.poll(min(left, 60.0) * 1000 + 1):
                data = os.read(fd, 65536)
                if fd == self._output and data:
                    self.lines.feed(data)
                elif fd == self._output:
                    poll.unregister(fd)  # closed by all; what goes on may still do something
                elif not data:
                    self._drain()
                    return True
                else:
                    self.said += data
                    self._identify()
        return False

    def _identify(self) -> None:
        """Inner reaps pid 1 only after "go", so the number means that process when its descriptor is made."""
        for line in self.said.splitlines(keepends=True):
            if self._first < 0 and line.startswith(b"pid ") and line.endswith(b"\n"):
                try:
                    self._first = os.pidfd_open(int(line[4:]))
                    os.write(self._go, b"gg")  # one for inner, one for pid 1
                except (ProcessLookupError, BrokenPipeError):
                    pass  # inner was killed, and pid 1 with it

    def _drain(self) -> None:
        os.set_blocking(self._output, False)
        try:
            while data := os.read(self._output, 65536):
                self.lines.feed(data)
        except BlockingIOError:
            pass
        self.lines.finish()

    def end(self) -> None:
        """Kill what is left of it and wait until it has ended: the builder is our child, so its number is its own."""
        os.kill(self._builder, 9)
        os.waitpid(self._builder, 0)
        if self._first >= 0:
            ended = proc.wait(self._first, 30.0)  # pid 1 ends after all others of its namespace (pid_namespaces(7))
            os.close(self._first)
            if not ended:
                text = "processes of a throw-away jail do not end"
                raise JailkitError("busy.processes", text, f"ps -eo pid,uid,stat,wchan,args | grep {BUILD_BASE}")


def _child(report: int, body: Callable[[], None]) -> None:
    """Run ``body`` in a forked child and never return: what it raises becomes one line on ``report``."""
    status = 1
    try:
        body()
        status = 0
    except JailkitError as error:
        os.write(report, f"error {error.code}|{error.message}|{error.hint}".replace("\n", " ").encode() + b"\n")
    except BaseException as error:  # noqa: BLE001 - a forked child must not unwind into its parent's code
        text = f"error jail.throw-away|a throw-away jail cannot be made: {type(error).__name__}: {error}|jailctl doctor"
        os.write(report, text.replace("\n", " ").encode() + b"\n")
    finally:
        os._exit(status)


def _build(order: Order, caller: int, report: int, output: int, go: int) -> None:
    """The builder, root of the host."""
    caps.die_with_parent()
    if os.getppid() != caller:
        os._exit(1)
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    proc.fresh_session_keyring()
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    close_all_but(0, 1, 2, report, output, go)
    namespaces.unshare(namespaces.NEWNS)
    mount.make_private()
    ready, ready_in = os.pipe2(os.O_CLOEXEC)
    staged, staged_in = os.pipe2(os.O_CLOEXEC)
    builder = os.getpid()
    inner = os.fork()
    if inner == 0:
        os.close(ready)
        os.close(staged_in)
        _child(report, lambda: _inner(order, builder, report, output, (ready_in, staged, go)))
    for fd in (ready_in, staged, output, go):
        os.close(fd)
    if os.read(ready, 1) != b"r":
        raise OSError(10, "the inner process ended")
    order.write_maps(inner)
    userns = os.open(f"/proc/{inner}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    order.stage(userns)
    os.close(userns)
    os.write(staged_in, b"s")
    os.waitpid(inner, 0)


def _inner(order: Order, builder: int, report: int, output: int, waits: tuple[int, int, int]) -> None:
    """Root of the new user namespace. It stays outside of the pid namespace, where nothing in it can see it."""
    ready, staged, go = waits
    namespaces.unshare(namespaces.NEWUSER)
    os.write(ready, b"r")
    if os.read(staged, 1) != b"s":
        raise OSError(10, "the builder ended")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    caps.die_with_parent()
    if os.getppid() != builder:
        os._exit(1)
    flags = namespaces.NEWNS | namespaces.NEWPID | namespaces.NEWUTS | namespaces.NEWIPC | namespaces.NEWCGROUP
    namespaces.unshare(flags | (0 if order.network else namespaces.NEWNET))
    armed, armed_in = os.pipe2(os.O_CLOEXEC)
    first = os.fork()
    if first == 0:
        os.close(armed)
        _child(report, lambda: _first(order, report, output, armed_in, go))
    os.close(armed_in)
    os.close(output)
    os.read(armed, 1)
    os.write(report, f"pid {first}\n".encode())
    os.read(go, 1)
    os.waitpid(first, 0)


def _first(order: Order, report: int, output: int, armed: int, go: int) -> None:
    """Pid 1."""
    caps.die_with_parent()
    caps.untraceable()
    os.write(armed, b"a")  # fails, and ends this process, if its parent ended before it could be asked to die with it
    rootfs.processes_and_terminals(order.root, order.masked)
    namespaces.sethostname(order.hostname)
    if not order.network:
        namespaces.loopback_up()
    put(f"{order.root}/proc/sys/user/max_user_namespaces", "0\n")
    mount.pivot(order.root)
    if os.read(go, 1) != b"g":
        os._exit(1)
    command = os.fork()
    if command == 0:
        _child(report, lambda: _execute(order, output))
    os.close(output)
    while True:
        pid, status = os.wait()
        if pid == command:
            break
    os.write(report, f"status {exit_code(status)}\n".encode())


def _execute(order: Order, output: int) -> None:
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)  # Python ignores the first two, and exec would keep that
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir("/")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the host's core_pattern is not for what crashes here
    syscall("close_range", 3, 0x7FFFFFFF, _CLOEXEC)
    if order.uid:
        caps.become(order.uid, order.gid, keep_caps=True)  # they go next, and are read back there
    caps.keep_only(order.kept)
    seccomp.install(order.filter)
    os.chdir(order.cwd)
    try:
        os.execve(order.argv[0], list(order.argv), order.environment)
    except OSError as error:
        raise JailkitError("invalid.image", f"{order.argv[0]} cannot be run there: {error.strerror}") from None
