"""Where the probes run: the same agent (probe.py) in a jail, as an ordinary user without one, and as root.

A case has three parts: the probe succeeds unjailed, it is refused in the jail, and the host shows no effect of it:
after every test the canary and the host's mounts are what they were, and the test looks at what else it would change.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import secrets
import select
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..host import Host, wait_for
from ..host.host import PYTHON
from ..host.observe import Seen, seen
from ..ways.people import make_jailed, make_plain

PROBE = Path(__file__).with_name("probe.py")
PLACE = "/var/tmp/probe.py"
"""Where the agent lies for who has no jail. A jailed user has it in her home."""
FIRST, SECOND, PLAIN = "esc1", "esc2", "escplain"
_marks = itertools.count(1)


class Refused(Exception):
    """The probe was told no; ``name``: the errno's."""

    def __init__(self, verb: str, name: str) -> None:
        super().__init__(f"{verb}: {name}")
        self.name = name


class Cell:
    """An agent that runs somewhere, and answers. ``secret``: a text that it must never be able to say."""

    def __init__(self, host: Host, argv: Sequence[str], *, user: str | None = None, secret: str = "") -> None:
        """``argv`` starts the agent, with ``{}`` for its mark; ``user``: with bare ids, see Host.spawn."""
        mark = f"--agent-{next(_marks)}"
        self.host, self._secret, self._unread = host, secret, b""
        self.process = host.spawn([part.replace("{}", mark) for part in argv], user=user, cwd="/")
        assert self.ask("status")["Name"].startswith("python3")
        (self.pid,) = {p.pid for p in host.processes() if p.argv[-1:] == (mark,)}  # it has no child now
        self.uid = seen(self.pid).uids[0]

    def ask(self, verb: str, **args: Any) -> Any:
        """The verb's result. Raises Refused where it says no; AssertionError where the probe itself is broken, or
        says the secret."""
        answer = self._exchange({"verb": verb, "args": args})
        if "errno" in answer:
            raise Refused(verb, answer["errno"])
        assert "is" in answer, f"probe {verb}: {answer}"
        return answer["is"]

    def says(self, verb: str, **args: Any) -> str:
        """Empty for a success, else the errno's name."""
        try:
            self.ask(verb, **args)
        except Refused as refused:
            return refused.name
        return ""

    def calls(self, *steps: Sequence[Any]) -> list[str]:
        """System calls one after the other in one process (probe.call); for each "" or the errno's name."""
        return [name for _result, name, _room in self.ask("call", steps=steps)]

    @contextlib.contextmanager
    def held(self, verb: str, **args: Any) -> Iterator[tuple[Any, Seen]]:
        """The verb's result, and its process, asleep, as the host sees it."""
        answer = self._exchange({"verb": verb, "args": args, "hold": True})
        try:
            assert "is" in answer, f"probe {verb}: {answer}"
            if verb == "become":
                wait_for(lambda: self.seen(answer["pid"]).argv[:1] == (args["argv"][0],), 5)
            yield answer["is"], self.seen(answer["pid"])
        finally:
            self._exchange({"verb": "release"})

    def seen(self, inner: int) -> Seen:
        """The process that has this pid where the agent is."""
        mine = os.stat(f"/proc/{self.pid}/ns/pid").st_ino
        return next(p for p in self.host.processes() if p.namespaces["pid"] == mine and p.inner_pid == inner)

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        self.send(request)
        return self.receive()

    def send(self, request: dict[str, Any]) -> None:
        """Without waiting for the answer."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request).encode() + b"\n")

    def receive(self, seconds: float = 30) -> dict[str, Any]:
        assert self.process.stdout and self.process.stderr
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self.process.stdout], [], [], seconds)
            part = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            if not part:
                raise AssertionError(f"the agent is gone: {self.errors()!r}" if ready else "the agent does not answer")
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        assert not self._secret or self._secret.encode() not in line, f"the secret came out: {line!r}"
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def errors(self, seconds: float = 1) -> str:
        """What it has written to its error output by now."""
        assert self.process.stderr
        ready, _, _ = select.select([self.process.stderr], [], [], seconds)
        return os.read(self.process.stderr.fileno(), 1 << 16).decode(errors="backslashreplace") if ready else ""

    def __enter__(self) -> Cell:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Its end, and that of its session."""
        assert self.process.stdin
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        self.process.wait(5)
        self.process.close()


class Canary:
    """A tree outside the jail with random content, that any user of the host may read, change and remove.

    path: inside the host; secret: in each of its files; deep: one of them"""

    def __init__(self, host: Host) -> None:
        self.path = f"/srv/canary-{secrets.token_hex(8)}"
        self.secret = secrets.token_hex(24)
        self.deep = f"{self.path}/a/b/file"
        self._root = host.root
        top = self._root / self.path.lstrip("/")
        (top / "a/b").mkdir(parents=True)
        for name in ("file", "a/file", "a/b/file"):
            (top / name).write_text(f"{self.secret}\n{name}\n")
            (top / name).chmod(0o666)
        for directory in (top, top / "a", top / "a/b"):
            directory.chmod(0o777)

    def digest(self) -> str:
        """Of names, content, types, owners, modes and times of change of all of it."""
        total = hashlib.sha256()
        top = self._root / self.path.lstrip("/")
        for path in [top, *sorted(top.rglob("*"))]:
            status = path.lstat()
            facts = (status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns)
            total.update(repr((str(path.relative_to(top)), facts)).encode())
            total.update(path.read_bytes() if path.is_file() and not path.is_symlink() else b"")
        return total.hexdigest()


class Cells:
    """One host with: ``first`` and ``second``, in their jails; ``plain``, an ordinary user; ``root``, in a mount
    namespace of its own so that it may mount; and the canary."""

    def __init__(self, host: Host, stack: contextlib.ExitStack) -> None:
        self.host, self._stack = host, stack
        self.canary = Canary(host)
        (host.root / PLACE.lstrip("/")).write_bytes(PROBE.read_bytes())
        make_plain(host, PLAIN)
        self.root = self.open([*UNSHARE, PYTHON, "-I", "-S", PLACE, "{}"])
        self.plain = self.open([PYTHON, "-I", "-S", PLACE, "{}"], user=PLAIN)
        for user in (FIRST, SECOND):
            self.make(user)
        self.first = self.enter(FIRST)
        self.second = self.enter(SECOND)

    def make(self, user: str, *options: str) -> None:
        """A jailed user, with the probe in the home. ``options`` are add-user's."""
        make_jailed(self.host, user, *options)
        place = self.home(user) / "probe.py"
        place.write_bytes(PROBE.read_bytes())
        uid, gid, _ = self.host.ids(user)
        os.chown(place, uid, gid)

    def home(self, user: str) -> Path:
        """From outside."""
        return self.host.root / "home" / user

    def open(self, argv: Sequence[str], user: str | None = None, secret: str = "") -> Cell:
        """One more agent, until the tests end or it is closed."""
        cell = Cell(self.host, argv, user=user, secret=secret)
        self._stack.callback(cell.close)
        return cell

    def enter(self, user: str, shell: str = "exec {}") -> Cell:
        """An agent in the user's jail, by ssh. ``shell``: the command, with ``{}`` for the agent's own."""
        command = shell.format(f"{PYTHON} -I -S /home/{user}/probe.py {{}}")
        return self.open(self.host.ssh_argv(user, command, opts=["-o", "BatchMode=yes"]), secret=self.canary.secret)

    def without(self, shell: str, user: str | None = PLAIN) -> Cell:
        """As ``enter``, for an ordinary user (None: root) on the host."""
        return self.open(["/bin/sh", "-c", shell.format(f"{PYTHON} -I -S {PLACE} {{}}")], user=user)

    def once(self, verb: str, place: str = PLACE, **args: Any) -> str:
        """A shell command that runs the probe one-shot."""
        return shlex.join([PYTHON, "-I", "-S", place, verb, json.dumps(args)])

    def keeper(self, user: str) -> Seen:
        """Pid 1 of the user's running jail."""
        uid = self.host.ids(user)[0]
        return next(p for p in self.host.processes() if p.uids[0] == uid and len(p.inner_pids) > 1 and p.inner_pid == 1)

    def mountinfo(self) -> list[str]:
        """Of the host's own mount namespace."""
        return Path(f"/proc/{self.host.init}/mountinfo").read_text().splitlines()

    @contextlib.contextmanager
    def unharmed(self) -> Iterator[None]:
        """The canary and the host's mounts are at the end what they were."""
        before = self.canary.digest(), self.mountinfo()
        yield
        assert self.canary.digest() == before[0], "the canary has changed"
        assert self.mountinfo() == before[1], "the host's mounts have changed"


UNSHARE = ["/usr/bin/unshare", "--mount", "--propagation", "private"]


def mounts(pid: int) -> list[dict[str, str]]:
    """What a process has mounted, proc_pid_mountinfo(5): id, device, root, point, options, optional, type, super."""
    rows = []
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        number, _parent, device, root, point, options, *optional = left.split()
        rows.append({
            "id": number, "device": device, "root": root, "point": point, "options": options,
            "optional": " ".join(optional), "type": right.split()[0], "super": right.split()[2],
        })  # fmt: skip
    return rows


def no_such(condition: object, seconds: float = 0.3) -> None:
    """What must not come to pass has that long to do so."""
    try:
        wait_for(condition, seconds)
    except AssertionError:
        return
    raise AssertionError("it came to pass")


def of_its_mounts(pid: int, what: str) -> bool:
    """Whether ``/proc/PID/<what>`` (cwd, root, fd/3) lies in a mount that the process's own table has: for one in a
    jail, whether it lies in there. The mount's id says it: path and inode of a bound directory are the host's, too."""
    fd = os.open(f"/proc/{pid}/{what}", os.O_PATH)
    try:
        info = Path(f"/proc/self/fdinfo/{fd}").read_text()
    finally:
        os.close(fd)
    number = next(line.split()[1] for line in info.splitlines() if line.startswith("mnt_id:"))
    return number in {row["id"] for row in mounts(pid)}
