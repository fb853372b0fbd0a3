"""A login that is tried: a user made for it, over the host's own sshd, looked at from the host's side.

What the session says of itself proves nothing; what counts is what the kernel says of its processes: another root and
other namespaces than ours, no capability, no_new_privs, and no process of that uid outside, sshd's own aside. In a
chroot jail all are sshd's own, and the home is their root.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

from ..errors import JailkitError
from ..kernel import proc
from ..names import user_name
from ..paths import Paths
from . import sshd, sshd_daemon
from .run import ENVIRONMENT, run
from .steps import Provision

PREFIX = "jailctl-test-"
"""Names that begin so are ours alone."""
FILES_ONLY = "sftp-only"
TEMPLATES = ("shell", FILES_ONLY)
"""What logins are tested with: a template of each level of confinement."""

_SECONDS = 20.0
_READY = b"jailctl-test-ready\n"
_SFTP_INIT = bytes([0, 0, 0, 5, 1, 0, 0, 0, 3])
"""draft-ietf-secsh-filexfer-02: length, SSH_FXP_INIT, version 3. The answer is SSH_FXP_VERSION (2)."""
_KINDS = ("user", "mnt", "pid", "uts", "ipc", "cgroup")


def require_other_name(name: str) -> None:
    """Raise ``invalid.user-name`` for the names of the test users."""
    if name.startswith(PREFIX):
        text = f"names that begin with {PREFIX} are setup's own: {name}"
        raise JailkitError("invalid.user-name", text, "choose another name")


def login(paths: Paths, provision: Provision, progress: Callable[[str], None]) -> str:
    """For each level of confinement make a user, log in in three ways, remove the user. Return where it was tried
    ("127.0.0.1 port 22").

    Raise ``host.no-sshd-running``, ``host.sshd-overridden``, ``login.test-failed``."""
    require_sshd()
    where = sshd_daemon.address()
    if not sshd_daemon.wait_for(where):
        raise JailkitError(
            "login.test-failed", f"nothing answers on {where[0]} port {where[1]}", "systemctl status ssh"
        )
    clean(provision)
    for template in TEMPLATES:
        _login(paths, provision, progress, where, template)
    return f"{where[0]} port {where[1]}"


def _login(
    paths: Paths, provision: Provision, progress: Callable[[str], None], where: tuple[str, int], template: str
) -> None:
    name, files_only = user_name(PREFIX + secrets.token_hex(3)), template == FILES_ONLY
    progress(f"testing a login as {name}")
    with tempfile.TemporaryDirectory(prefix="jailctl-test-", dir="/run") as directory:
        key = f"{directory}/key"
        status, _, err = run(["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key])
        if status != 0:
            raise JailkitError("host.ssh-keygen", f"ssh-keygen failed: {err.strip()}", "df -h /run")
        with open(f"{key}.pub", encoding="ascii") as file:
            public = file.read().strip()
        try:
            provision.add(name, public, template)
            sshd.refuse(sshd.differences([name], sshd.wanted(sshd.fragment(paths), files_only)))
            (_FilesTest if files_only else _Test)(name, key, where).run(progress)
        finally:
            provision.remove(name)


def require_sshd() -> None:
    """Raise ``host.no-sshd-running``."""
    if sshd_daemon.running() is None:
        raise JailkitError(
            "host.no-sshd-running",
            "no sshd with the standard configuration runs here, so no login can be tested",
            "start it (systemctl start ssh), or: jailctl setup --no-login-test",
        )


def clean(provision: Provision) -> None:
    """Remove users of tests that were killed."""
    for name in provision.jails():
        if name.startswith(PREFIX):
            provision.remove(name)


class _Test:
    def __init__(self, name: str, key: str, where: tuple[str, int]) -> None:
        import pwd

        account = pwd.getpwnam(name)
        self._name, self._uid, self._home = name, account.pw_uid, account.pw_dir
        self._options = ["-F", "none", "-i", key, "-p", str(where[1]), "-l", name]
        for option in (
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=no",
            "BatchMode=yes",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "PreferredAuthentications=publickey",
            "ConnectTimeout=10",
        ):
            self._options += ["-o", option]
        self._where = where

    def run(self, progress: Callable[[str], None]) -> None:
        progress("testing: a command over ssh")
        with self._ssh([self._where[0], f"echo {_READY.decode().strip()}; exec cat"]) as client:
            self._expect(client, b"", _READY, "a command")
            self._require_confined("a command")
        self._sftp(progress)
        self._forwarding(progress)

    def _sftp(self, progress: Callable[[str], None]) -> None:
        progress("testing: sftp")
        with self._ssh(["-s", self._where[0], "sftp"]) as client:
            self._expect(client, _SFTP_INIT, b"\x02", "sftp")
            self._require_confined("sftp")

    def _forwarding(self, progress: Callable[[str], None]) -> None:
        progress("testing: forwarding is refused")
        with self._ssh(["-W", f"{self._where[0]}:{self._where[1]}", self._where[0]]) as client:
            assert client.stdout
            answer = _read(client.stdout.fileno(), b"SSH-", 5.0)
            if b"SSH-" in answer:
                raise self._failed("sshd forwards TCP connections for a jailed user")

    @contextlib.contextmanager
    def _ssh(self, arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        try:
            client = subprocess.Popen(
                ["/usr/bin/ssh", *self._options, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=ENVIRONMENT,
                cwd="/",
            )
        except FileNotFoundError:
            raise JailkitError(
                "missing.program", "/usr/bin/ssh is not installed", "apt install openssh-client"
            ) from None
        try:
            yield client
        finally:
            client.kill()
            client.communicate()

    def _expect(self, client: subprocess.Popen[bytes], send: bytes, answer: bytes, way: str) -> None:
        assert client.stdin and client.stdout and client.stderr
        with contextlib.suppress(BrokenPipeError):
            client.stdin.write(send)
            client.stdin.flush()
        got = _read(client.stdout.fileno(), answer, _SECONDS)
        if answer not in got:
            client.kill()
            said = client.stderr.read().decode(errors="replace").strip().splitlines()
            raise self._failed(f"{way} as {self._name} did not work: {said[-1] if said else 'no answer'}")

    def _require_confined(self, way: str) -> None:
        inside, outside = _sort(self._uid)
        if outside:
            raise self._failed(f"{way} as {self._name} has processes outside the jail: {'; '.join(outside)}")
        if not inside:
            raise self._failed(f"{way} as {self._name} has no process in the jail")

    def _failed(self, what: str) -> JailkitError:
        settings = sshd.effective({"user": self._name, "host": "localhost", "addr": self._where[0]})
        hint = "journalctl -t jailctl-hook -t jailctl-door -t sshd -n 20 (or /var/log/auth.log)"
        if settings.get("authenticationmethods", "any") != "any":
            methods = settings["authenticationmethods"]
            hint = f"sshd asks for {methods}, which the test cannot give: --no-login-test; {hint}"
        for keyword in ("allowusers", "allowgroups"):
            if keyword in settings:
                hint = f"sshd has {keyword} {settings[keyword]}: do jailed users belong there?; {hint}"
        return JailkitError("login.test-failed", what, hint)


class _FilesTest(_Test):
    """Of a chroot jail: sftp works in it, and nothing else does."""

    def run(self, progress: Callable[[str], None]) -> None:
        self._sftp(progress)
        progress("testing: a command is refused")
        with self._ssh([self._where[0], f"echo {_READY.decode().strip()}"]) as client:
            assert client.stdout
            if _READY in _read(client.stdout.fileno(), _READY, 5.0):
                raise self._failed("sshd runs a command for a user who has files only")
        self._forwarding(progress)

    def _require_confined(self, way: str) -> None:
        pids = list(proc.of_uid(self._uid))
        home, inside = os.stat(self._home), 0
        for pid in pids:
            try:
                place, status = proc.look(os.stat, pid, "root/"), _status(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
            if place is None:
                continue
            if (place.st_dev, place.st_ino) != (home.st_dev, home.st_ino) or int(status["CapEff"], 16):
                raise self._failed(f"{way} as {self._name} has a process, {pid}, that is not confined to {self._home}")
            inside += 1
        if not inside:
            raise self._failed(f"{way} as {self._name} has no process in {self._home}")


def _read(fd: int, until: bytes, seconds: float) -> bytes:
    """What comes on ``fd`` until ``until`` is in it, the end, or the time is over."""
    data, end = b"", time.monotonic() + seconds
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while until not in data:
        left = end - time.monotonic()
        if left <= 0 or not poll.poll(int(left * 1000)):
            break
        chunk = os.read(fd, 4096)
        if not chunk:
            break
        data += chunk
    return data


def _sort(uid: int) -> tuple[list[int], list[str]]:
    """Processes of ``uid``: pids of those in a jail, and a description of each that is not what it should be."""
    inside, outside = [], []
    own = {kind: proc.namespace(os.getpid(), kind) for kind in _KINDS}
    root = os.stat("/")
    for pid in proc.of_uid(uid):
        try:
            program, place, status = proc.look(os.readlink, pid, "exe"), proc.look(os.stat, pid, "root/"), _status(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if program is None or place is None:
            continue
        program = os.path.basename(program)
        shared = [kind for kind in _KINDS if proc.namespace(pid, kind) == own[kind]]
        if shared == list(_KINDS) and program.startswith("sshd"):
            continue  # sshd's own child: not dumpable, so no process of hers can touch it (attacks A042)
        if shared == ["pid"] and program == "door":
            continue  # the door's parent, which relays and waits: in every namespace but the pid one
        why = [f"{kind} namespace of the host" for kind in shared]
        why += ["the host's root"] if (place.st_dev, place.st_ino) == (root.st_dev, root.st_ino) else []
        why += [f"{key} {status.get(key)}" for key in ("CapEff", "CapPrm", "CapBnd") if int(status.get(key, "1"), 16)]
        why += ["no_new_privs is off"] if status.get("NoNewPrivs") != "1" else []
        why += ["no seccomp filter"] if status.get("Seccomp") != "2" else []
        if why:
            outside.append(f"{program} ({pid}): {', '.join(why)}")
        else:
            inside.append(pid)
    return inside, outside


def _status(pid: int) -> dict[str, str]:
    """Fields of proc_pid_status(5)."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
