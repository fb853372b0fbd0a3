"""A user who is changed, disabled or removed between the check and the entry.

The decision that counts must be made when nothing can change any more, and what was decided on must still be so at the
door. Attack A192; A108 and A195 as far as they meet it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from ..host import Host, wait_for
from . import pam
from .damage import chill
from .world import DULL, Flag, Pair, changes, in_jail, keeper, outside, pair, sleeper, state

pytestmark = pytest.mark.host
USER, OTHER = "meanwhile", "meanother"
HOLD = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print('held', flush=True); sys.stdin.read()"


@pytest.fixture(scope="module")
def people() -> Iterator[Pair]:
    with Host() as host:
        host.jailctl("setup")
        both = pair(host, USER)
        pair(host, OTHER)
        yield both


@dataclass
class Login:
    """How it went on after the pause."""

    status: int | None = None
    said: bytes = b""


@contextlib.contextmanager
def paused(people: Pair, command: str) -> Iterator[Login]:
    """A login that has authenticated and waits in the hook for the jail's lock; at the end of ``with`` it goes on."""
    host = people.host
    uid = host.ids(USER)[0]
    assert host.run(["/bin/su", USER, "-c", "true"]).returncode == 0
    lock = ["/usr/bin/python3", "-I", "-c", HOLD, f"/run/jailctl/jails/{uid}/lock"]
    mark, login = len(host.syslog()), Login()
    with host.ssh_spawn(USER, command) as process:
        with host.spawn(lock) as holder:
            assert holder.stdout and holder.stdout.read(5) == b"held\n"
            host.wait_syslog(f"session opened for user {USER}", after=mark)
            wait_for(lambda: any(p.argv == ("/opt/jailctl/libexec/hook",) for p in host.processes()), 5)
            yield login
        assert process.stdout
        login.said, login.status = process.stdout.read(), process.wait(20)


def recipe(host: Host, old: str, new: str) -> None:
    path = host.root / f"var/lib/jailctl/jails/{USER}/recipe"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def disable(host: Host) -> None:
    chill(host, USER)
    recipe(host, "disabled \n", "disabled for the test\n")


def enable(host: Host) -> None:
    recipe(host, "disabled for the test\n", "disabled \n")


def unjail(host: Host) -> None:
    chill(host, USER)
    os.rename(host.root / f"var/lib/jailctl/jails/{USER}", host.root / "var/lib/jailctl/aside")


def rejail(host: Host) -> None:
    os.rename(host.root / "var/lib/jailctl/aside", host.root / f"var/lib/jailctl/jails/{USER}")


def deny_service(host: Host) -> None:
    chill(host, USER)
    recipe(host, "services sshd\n", "")


def allow_service(host: Host) -> None:
    recipe(host, "services su\n", "services sshd\nservices su\n")
    chill(host, USER)


CHANGES: dict[str, tuple[Callable[[Host], None], Callable[[Host], None], str]] = {
    "disabled": (disable, enable, "login.disabled"),
    "removed": (unjail, rejail, "login.no-jail"),
    "service taken away": (deny_service, allow_service, "login.service-denied"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a192_decided_under_the_lock(people: Pair, case: str) -> None:
    host, flag = people.host, Flag(people.host)
    change, back, code = CHANGES[case]
    with paused(people, f"touch {flag.path}; echo in") as login:
        mark = len(host.syslog())
        change(host)
        assert host.ssh(people.free, "true").returncode == 0
    try:
        assert (login.status, login.said) == (254, f"{DULL}\n".encode())
        host.wait_syslog(f"refused user={USER} service=sshd rhost=127.0.0.1 code={code}", after=mark)
        assert not flag.raised() and outside(host, USER) == []
    finally:
        back(host)
    assert host.ssh(USER, "hostname").stdout == f"{USER}\n"


def test_a192_the_new_state_exactly(people: Pair) -> None:
    """The jail that she was let into is gone, and there is another, of another name and shell: that one she is in."""
    host = people.host
    with paused(people, "hostname; echo $0") as login:
        chill(host, USER)
        recipe(host, f"hostname {USER}\n", "hostname anew\n")
        recipe(host, "shell /bin/bash\n", "shell /bin/sh\n")
    try:
        assert login.said == b"anew\nsh\n"
    finally:
        recipe(host, "hostname anew\n", f"hostname {USER}\n")
        recipe(host, "shell /bin/sh\n", "shell /bin/bash\n")
        chill(host, USER)


PAUSE = """#!/bin/sh
[ "$PAM_USER:$PAM_TYPE" = "NAME:open_session" ] || exit 0
touch /run/pausing
while [ ! -e /run/go ]; do sleep 0.05; done
rm /run/pausing /run/go
"""
GONE = {
    "account deleted": (["/bin/sed", "-i", f"/^{USER}:/d", "/etc/passwd", "/etc/shadow"], "PAM: pam_open_session()"),
    "no member any more": (["/usr/bin/gpasswd", "-d", USER, "jailed"], "code=login.no-verdict"),
}


@pytest.mark.parametrize("case", GONE)
def test_a192_between_authentication_and_session(people: Pair, case: str) -> None:
    """A module before ours holds sshd up. Then nobody is confined any more by that name, so PAM does not ask the hook.
    Debian's pam_env knows no such user, or the door has no verdict."""
    host, flag = people.host, Flag(people.host)
    change, line = GONE[case]
    assert host.run(["/bin/su", USER, "-c", "true"]).returncode == 0
    common = host.root / "etc/pam.d/common-session"
    files = [common, *(host.root / f"etc/{name}" for name in ("passwd", "shadow", "group", "gshadow"))]
    kept = [path.read_bytes() for path in files]
    mark = len(host.syslog())
    (host.root / "usr/local/bin/pause").write_text(PAUSE.replace("NAME", USER))
    (host.root / "usr/local/bin/pause").chmod(0o755)
    common.write_text(f"session required pam_exec.so /usr/local/bin/pause\n{common.read_text()}")
    try:
        with host.ssh_spawn(USER, f"touch {flag.path}; hostname") as login:
            wait_for((host.root / "run/pausing").exists, 10)
            host.run(change, check=True)
            (host.root / "run/go").touch()
            assert login.wait(20) not in (0, None)
            assert login.stdout and b"testhost" not in login.stdout.read()
    finally:
        for path, content in zip(files, kept, strict=True):
            path.write_bytes(content)
    assert not flag.raised()
    host.wait_syslog(line, after=mark)
    assert outside(host, USER) == []
    assert host.ssh(USER, "hostname").stdout == f"{USER}\n" and host.ssh(people.free, "true").returncode == 0


DOOR = ["/opt/jailctl/libexec/door", "-c", "touch FLAG; hostname"]


def admitted(people: Pair, change: Callable[[Host, Pair], None]) -> tuple[pam.Session, Flag]:
    """A session that the hook has let in; then ``change``; then the door is started in it."""
    flag = Flag(people.host)
    with pam.Held(people.host, "sshd", USER, [word.replace("FLAG", flag.path) for word in DOOR]) as held:
        assert held.opened
        change(people.host, people)
        return held.finish(), flag


def kill_keeper(host: Host, _people: Pair) -> None:
    pid = keeper(host, USER).pid
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 5)


def forget_session(host: Host, _people: Pair) -> None:
    for path in (host.root / f"run/jailctl/jails/{host.ids(USER)[0]}/sessions").iterdir():
        path.unlink()


def other_record(host: Host, _people: Pair) -> None:
    assert host.run(["/bin/su", OTHER, "-c", "true"]).returncode == 0
    data = (host.root / f"run/jailctl/jails/{host.ids(OTHER)[0]}/entry").read_bytes()
    (host.root / f"run/jailctl/jails/{host.ids(USER)[0]}/entry").write_bytes(data)


def no_entry(host: Host, _people: Pair) -> None:
    (host.root / f"run/jailctl/jails/{host.ids(USER)[0]}/entry").unlink()


AT_THE_DOOR = {
    "keeper died": (kill_keeper, "login.keeper-dead"),
    "session was closed": (forget_session, "login.no-verdict"),
    "record is the neighbour's": (other_record, "login.bad-record"),
    "jail was forgotten": (no_entry, "login.no-jail"),
}


@pytest.mark.parametrize("case", AT_THE_DOOR)
def test_a192_still_so_at_the_door(people: Pair, case: str) -> None:
    unchanged, flag = admitted(people, lambda host, people: None)
    assert unchanged.out == f"{USER}\n" and not flag.raised()
    change, code = AT_THE_DOOR[case]
    mark = len(people.host.syslog())
    session, flag = admitted(people, change)
    assert (session.status, session.out) == (1, f"{DULL}\n") and not flag.raised()
    people.host.wait_syslog(f"code={code}", after=mark)
    assert people.host.ssh(USER, "hostname").stdout == f"{USER}\n"


def test_a192_another_jail_started_meanwhile_is_hers_as_well(people: Pair) -> None:
    """The keeper dies between hook and door, and a second login starts the jail anew: the first one lands in that."""

    def change(host: Host, _people: Pair) -> None:
        kill_keeper(host, people)
        assert host.run(["/bin/su", USER, "-c", "true"]).returncode == 0

    session, flag = admitted(people, change)
    assert session.out in (f"{USER}\n", f"{DULL}\n") and not flag.raised()


@pytest.mark.parametrize("verb", ["stop", "remove-user"])
def test_a192_a108_an_open_connection_is_ended(people: Pair, verb: str) -> None:
    """A further session on it (ControlMaster) would ask neither key nor PAM again."""
    host, name = people.host, f"mean{verb[:4]}"
    pair(host, name)
    control = f"/tmp/control-{name}"
    with host.ssh_spawn(name, "exec sleep 8192", opts=["-M", "-S", control]):
        assert in_jail(host, sleeper(host, "8192"), name)
        assert host.ssh(name, "hostname", opts=["-S", control]).stdout == f"{name}\n"
        uid = host.ids(name)[0]
        host.jailctl(verb, name)
        assert not any(uid in process.uids for process in host.processes())
        done = host.ssh(name, "hostname", opts=["-S", control, "-o", "PubkeyAuthentication=no"])
        assert done.returncode == 255 and done.stdout == ""
    if verb == "remove-user":
        assert host.ssh(name, "true").returncode == 255
        assert host.run(["/bin/su", name, "-c", "true"]).returncode != 0


def test_a195_setup_is_not_taken_back_while_there_are_jails(people: Pair) -> None:
    host = people.host
    before = state(host)
    done = host.jailctl("setup", "--undo", check=False)
    assert done.returncode == 7 and USER in done.stderr and "hint" in done.stderr
    assert changes(before, host) == []
    assert host.ssh(USER, "hostname").stdout == f"{USER}\n"
    shells = [line.split(":")[6] for line in (host.root / "etc/passwd").read_text().splitlines() if USER in line]
    assert shells == ["/opt/jailctl/libexec/door"]
