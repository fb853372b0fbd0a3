"""The ways in. Each holds a session of a user open for as long as the test looks at it, and finds the process in it.

Most run a ``sleep`` with a number of its own, so that it is found whatever the way did to its surroundings. Those that
run a fixed program (sftp, scp, rsync) are held open by a transfer that the client slows down.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ..host import Host, wait_for
from ..host.observe import Seen

INTERNAL_PORT = 2201
"""Where an sshd with ``Subsystem sftp internal-sftp`` listens."""

PASSWORD = "correct horse battery staple"
_numbers = itertools.count(1)
Find = Callable[[Seen], bool]
SECONDS = 10.0
"""How long a way may take to its end."""


@dataclass(frozen=True)
class Way:
    """name: the test's id. tty: the session has a terminal. open: a session as long as ``with``; gives its process."""

    name: str
    tty: bool
    open: Callable[[Host, str], AbstractContextManager[Seen]]


def find(host: Host, matches: Find, what: str) -> Seen:
    """The first process that matches, waited for. Of a chain (sh -c, then the program) the deepest."""
    found: list[Seen] = []

    def look() -> bool:
        found[:] = [process for process in host.processes() if matches(process)]
        return bool(found)

    def otherwise() -> str:
        rows = "\n".join(f"{p.pid} {p.parent} uid={p.uids[0]} {' '.join(p.argv)}" for p in host.processes())
        return f"no {what} among:\n{rows}\nlog:\n" + "\n".join(host.syslog()[-12:])

    wait_for(look, SECONDS, otherwise)
    return found[-1]


def marker() -> str:
    return f"{86400 + next(_numbers)}"


def sleeps(seconds: str) -> Find:
    return lambda process: process.argv == ("sleep", seconds)


def of(host: Host, user: str, name: str) -> Find:
    """A process of the user's uid whose program is called so. A sftp-server that sshd has built in shows as sshd."""
    uid = host.ids(user)[0]
    names = (name, f"sshd: {user}@internal-sftp" if name == "sftp-server" else name)
    return lambda process: (
        process.uids[0] == uid and process.argv[:1] != () and process.argv[0].rpartition("/")[2] in names
    )


# -- ssh


@contextlib.contextmanager
def ssh_command(host: Host, user: str) -> Iterator[Seen]:
    number = marker()
    with host.ssh_spawn(user, f"sleep {number}"):
        yield find(host, sleeps(number), "sleep")


@contextlib.contextmanager
def ssh_command_with_tty(host: Host, user: str) -> Iterator[Seen]:
    number = marker()
    with host.ssh_terminal(user, f"sleep {number}"):
        yield find(host, sleeps(number), "sleep")


@contextlib.contextmanager
def ssh_shell(host: Host, user: str) -> Iterator[Seen]:
    number = marker()
    with host.ssh_terminal(user) as terminal:
        terminal.expect(r"\$ ")
        terminal.sendline(f"sleep {number}")
        yield find(host, sleeps(number), "sleep")


@contextlib.contextmanager
def ssh_shell_without_tty(host: Host, user: str) -> Iterator[Seen]:
    number = marker()
    with host.ssh_spawn(user, opts=["-T"]) as process:
        assert process.stdin
        process.stdin.write(f"sleep {number}\n".encode())
        yield find(host, sleeps(number), "sleep")


@contextlib.contextmanager
def further_session(host: Host, user: str) -> Iterator[Seen]:
    """A second session on an open connection (ControlMaster): sshd opens PAM once for both."""
    number, path = marker(), f"/tmp/control-{user}"
    with host.ssh_spawn(user, "sleep 86399", opts=["-M", "-S", path]):
        wait_for(lambda: (host.root / path.lstrip("/")).exists(), 10, "no control socket")
        with host.ssh_spawn(user, f"sleep {number}", opts=["-S", path]):
            yield find(host, sleeps(number), "sleep")


# -- files over ssh


def big_file(host: Host) -> str:
    path = "/var/tmp/big"
    if not (host.root / path.lstrip("/")).exists():
        (host.root / path.lstrip("/")).write_bytes(bytes(range(256)) * 20000)
    return path


@contextlib.contextmanager
def sftp_external(host: Host, user: str) -> Iterator[Seen]:
    with host.spawn(host.sftp_argv(user)) as process:
        assert process.stdin
        process.stdin.write(b"pwd\n")
        yield find(host, of(host, user, "sftp-server"), "sftp-server")


@contextlib.contextmanager
def sftp_internal(host: Host, user: str) -> Iterator[Seen]:
    with host.spawn(host.sftp_argv(user, opts=["-o", f"Port={INTERNAL_PORT}"])) as process:
        assert process.stdin
        process.stdin.write(b"pwd\n")
        yield find(host, of(host, user, "sftp-server"), "sftp-server or internal-sftp")


def scp_with(option: str, program: str) -> Callable[[Host, str], AbstractContextManager[Seen]]:
    @contextlib.contextmanager
    def scp(host: Host, user: str) -> Iterator[Seen]:
        with host.spawn(host.scp_argv(user, [big_file(host)], ":big", opts=[option, "-l", "80"])):
            yield find(host, of(host, user, program), program)

    return scp


@contextlib.contextmanager
def rsync(host: Host, user: str) -> Iterator[Seen]:
    shell = " ".join(host.ssh_argv(user)[:-1])
    argv = ["/usr/bin/rsync", "--bwlimit=10", "-e", shell, big_file(host), f"{user}@127.0.0.1:big.rsync"]
    with host.spawn(argv):
        yield find(host, of(host, user, "rsync"), "rsync --server")


def git_with(service: str) -> Callable[[Host, str], AbstractContextManager[Seen]]:
    """push runs the repository's hook, clone a hook of the user's own configuration: both programs of hers, inside."""

    @contextlib.contextmanager
    def git(host: Host, user: str) -> Iterator[Seen]:
        number = marker()
        there, here = f"/home/{user}/{service}.git", f"/var/tmp/{user}-{service}"
        url = f"ssh://{user}@127.0.0.1{there}"
        host.run(["/bin/rm", "-rf", there, here], check=True)
        host.run(["/usr/bin/git", "init", "-q", "--bare", there], check=True)
        hook = f"{there}/hooks/pre-receive" if service == "push" else f"/home/{user}/pack"
        (host.root / hook.lstrip("/")).write_text(f"#!/bin/sh\nsleep {number}\n")
        (host.root / f"home/{user}/.gitconfig").write_text(f"[uploadpack]\n\tpackObjectsHook = {hook}\n")
        host.run(["/bin/chmod", "755", hook], check=True)
        host.run(["/usr/bin/git", "init", "-q", here], check=True)
        host.run([*GIT, "-C", here, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
        if service == "clone":
            host.run([*GIT, "-C", here, "push", "-q", there, "HEAD:main"], check=True)
        host.run(["/bin/chown", "-R", f"{user}:", f"/home/{user}"], check=True)
        argv = [*GIT, "-c", f"core.sshCommand={' '.join(host.ssh_argv(user)[:-1])}"]
        argv += ["-C", here, "push", url, "HEAD:main"] if service == "push" else ["clone", url, f"{here}-2"]
        with host.spawn(argv):
            yield find(host, sleeps(number), "sleep of the hook")

    return git


GIT = ["/usr/bin/git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "safe.directory=*"]


# -- without ssh


@contextlib.contextmanager
def su_shell(host: Host, user: str) -> Iterator[Seen]:
    number = marker()
    with host.terminal(["/bin/su", "-", user]) as terminal:
        terminal.expect(r"\$ ")
        terminal.sendline(f"sleep {number}")
        yield find(host, sleeps(number), "sleep")


@contextlib.contextmanager
def su_command(host: Host, user: str) -> Iterator[Seen]:
    number = marker()
    with host.spawn(["/bin/su", user, "-c", f"sleep {number}"]):
        yield find(host, sleeps(number), "sleep")


@contextlib.contextmanager
def su_login_command(host: Host, user: str) -> Iterator[Seen]:
    number = marker()
    with host.spawn(["/bin/su", "-l", user, "-c", f"sleep {number}"]):
        yield find(host, sleeps(number), "sleep")


@contextlib.contextmanager
def login(host: Host, user: str) -> Iterator[Seen]:
    number = marker()
    with host.terminal(["/bin/login", "-f", user]) as terminal:
        terminal.expect(r"\$ ")
        terminal.sendline(f"sleep {number}")
        yield find(host, sleeps(number), "sleep")


@contextlib.contextmanager
def su_by_another_user(host: Host, user: str) -> Iterator[Seen]:
    """With her password, by an ordinary user: the hook then runs with a real uid that is not root's."""
    number = marker()
    with host.terminal(["/bin/su", "-", user], user="nobody") as terminal:
        terminal.expect("Password: ")
        terminal.sendline(PASSWORD)
        terminal.expect(r"\$ ")
        terminal.sendline(f"sleep {number}")
        yield find(host, sleeps(number), "sleep")


@contextlib.contextmanager
def login_with_password(host: Host, user: str) -> Iterator[Seen]:
    number = marker()
    with host.terminal(["/bin/login"]) as terminal:
        terminal.expect("login: ")
        terminal.sendline(user)
        terminal.expect("Password: ")
        terminal.sendline(PASSWORD)
        terminal.expect(r"\$ ")
        terminal.sendline(f"sleep {number}")
        yield find(host, sleeps(number), "sleep")


@contextlib.contextmanager
def ssh_with_password(host: Host, user: str) -> Iterator[Seen]:
    number = marker()
    opts = ["-o", "PreferredAuthentications=password,keyboard-interactive", "-o", "PubkeyAuthentication=no"]
    with host.ssh_terminal(user, opts=opts) as terminal:
        terminal.expect("password: ")
        terminal.sendline(PASSWORD)
        terminal.expect(r"\$ ")
        terminal.sendline(f"sleep {number}")
        yield find(host, sleeps(number), "sleep")


WAYS = [
    Way("ssh", True, ssh_shell),
    Way("ssh-T", False, ssh_shell_without_tty),
    Way("ssh-command", False, ssh_command),
    Way("ssh-tt-command", True, ssh_command_with_tty),
    Way("ssh-further-session", False, further_session),
    Way("sftp-external", False, sftp_external),
    Way("sftp-internal", False, sftp_internal),
    Way("scp-O", False, scp_with("-O", "scp")),
    Way("scp-s", False, scp_with("-s", "sftp-server")),
    Way("rsync", False, rsync),
    Way("git-push", False, git_with("push")),
    Way("git-clone", False, git_with("clone")),
    Way("su-shell", True, su_shell),
    Way("su-command", False, su_command),
    Way("su-login-command", False, su_login_command),
    Way("su-by-another-user", True, su_by_another_user),
    Way("login", True, login),
    Way("login-with-password", True, login_with_password),
    Way("ssh-with-password", True, ssh_with_password),
]
