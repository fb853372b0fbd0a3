"""The hook: whom it lets in, what it writes down, and whose word counts."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

from jailkit.jail import meter, runtime
from jailkit.jail.record import read_session
from jailkit.kernel import proc

from .caller import OPEN, Caller, chill, refused, warm
from .lab import UID, USER

# -- admitted


def test_warm(caller: Caller) -> None:
    before = int(time.time())
    assert caller.run({**OPEN, "SSH_AUTH_INFO_0": "publickey ssh-ed25519 AAAA"}) == 0
    assert caller.out.read_bytes() == b""
    session = read_session(str(caller.record))
    assert session is not None
    assert (session.pid, session.start) == (caller.pid, proc.start_time(caller.pid))
    assert (session.user, session.service, session.rhost, session.tty) == (USER, "sshd", "192.0.2.7", "ssh")
    assert session.auth == "publickey ssh-ed25519 AAAA"
    assert before <= session.time <= int(time.time())
    status = caller.record.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, UID, 0o640)
    for procs in caller.lab.record.cgroups:
        assert caller.pid in map(int, Path(procs).read_text().split())
    assert caller.lab.lines() == []
    assert [path.name for path in caller.lab.sessions.iterdir()] == [str(caller.pid)]


def test_logins_are_counted_and_nothing_else_depends_on_it(caller: Caller) -> None:
    """There is no Python here that could have done it."""
    path = Path(caller.lab.paths.meter(UID))
    path.unlink(missing_ok=True)
    for number in (1, 2):
        assert caller.run(OPEN) == 0
        found = meter.read(caller.lab.paths, UID)
        assert found is not None and found.logins == number
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"damaged")
    assert meter.read(caller.lab.paths, UID) is None
    assert caller.run(OPEN) == 0
    assert meter.read(caller.lab.paths, UID).logins == 1  # type: ignore[union-attr]
    path.unlink()
    path.mkdir()
    assert caller.run(OPEN) == 0
    path.rmdir()


def test_the_door_takes_its_verdict(caller: Caller) -> None:
    """What the hook writes is what the door looks for."""
    caller.lab.admit(caller.pid, start=1)
    assert caller.lab.run("true").refused("login.no-verdict")
    caller.record.unlink()
    assert caller.run(OPEN) == 0
    session = read_session(str(caller.record))
    assert session is not None
    caller.lab.admit(user=session.user)
    assert caller.lab.run("true").status == 0


def test_cold(caller: Caller, product: Path) -> None:
    chill(caller.lab)
    assert caller.run(OPEN) == 0
    assert warm(caller.lab)
    assert caller.record.exists()


def test_after_the_keeper_died(caller: Caller, product: Path) -> None:
    """A stale record: the jail is started again."""
    old = caller.lab.record.pid
    pidfd = os.pidfd_open(old)
    os.kill(old, signal.SIGKILL)
    assert proc.wait(pidfd, 10)
    os.close(pidfd)
    assert caller.run(OPEN) == 0
    record = runtime.running(caller.lab.paths, UID)
    assert record is not None
    assert record.pid != old


def test_after_the_record_was_damaged(caller: Caller, product: Path) -> None:
    caller.lab.write_record(b"JAILREC1" + bytes(100))
    old = caller.lab.record.pid
    assert caller.run(OPEN) == 0
    if proc.start_time(old) is not None:
        os.kill(old, signal.SIGKILL)  # nobody can know of it any more
    assert warm(caller.lab)


def test_stale_sessions_go(caller: Caller) -> None:
    with subprocess.Popen(["/bin/true"]) as gone:
        gone.wait()
    caller.lab.admit(gone.pid)
    caller.lab.admit(start=1)
    (caller.lab.sessions / ".123").write_bytes(b"half")
    (caller.lab.sessions / "999999999999").write_bytes(b"junk")
    assert caller.run(OPEN) == 0
    assert [path.name for path in caller.lab.sessions.iterdir()] == [str(caller.pid)]


def test_without_a_log(caller: Caller) -> None:
    log = caller.lab.root / "log"
    log.rename(caller.lab.root / "away")
    try:
        assert caller.run(OPEN) == 0
        assert caller.run({**OPEN, "PAM_SERVICE": "cron"}) == 1
    finally:
        (caller.lab.root / "away").rename(log)


def test_long_values_are_cut(caller: Caller) -> None:
    assert caller.run({**OPEN, "PAM_RHOST": "r" * 5000, "PAM_TTY": "t" * 5000, "SSH_AUTH_INFO_0": "a" * 5000}) == 0
    session = read_session(str(caller.record))
    assert session is not None
    assert (session.rhost, session.tty, session.auth) == ("r" * 255, "t" * 63, "a" * 511)


# -- whose word counts: A072, A074


def test_the_users_own_variables_do_not_count(caller: Caller) -> None:
    """pam_env may have read them from a file of hers; pam_exec puts its own behind them."""
    own = ["PAM_TYPE=close_session", "PAM_USER=root", "PAM_SERVICE=jailctl", "PAM_RHOST=forged", "PAM_TTY=forged"]
    real = ["PAM_SERVICE=sshd", f"PAM_USER={USER}", "PAM_TYPE=open_session"]  # no host, no terminal: they are left out
    assert caller.run([*own, *real]) == 0
    session = read_session(str(caller.record))
    assert session is not None
    assert (session.service, session.rhost, session.tty) == ("sshd", "", "")
    caller.record.unlink()
    refused(caller, [*own, "PAM_SERVICE=cron", f"PAM_USER={USER}", "PAM_TYPE=open_session"], "login.service-denied")


def test_nothing_of_the_environment_reaches_the_start(caller: Caller, product: Path) -> None:
    seen = caller.lab.root / "seen"
    product.unlink()
    product.write_text(
        f'#!/bin/bash -p\n{{ env; echo "$@"; ulimit -c; umask; pwd; ls -l /proc/self/fd; }} >{seen}\nexit 3\n'
    )
    product.chmod(0o755)
    chill(caller.lab)
    hostile = {
        "LD_PRELOAD": "/x.so",
        "PATH": "/x",
        "PYTHONPATH": "/x",
        "BASH_ENV": "/x",
        "IFS": "x",
        "HOME": "/x",
        "TZ": "/x",
    }
    assert caller.run({**hostile, **OPEN}) == 1
    lines = seen.read_text().splitlines()
    names = {line.split("=")[0] for line in lines if "=" in line and not line.startswith("-")}
    assert names <= {"PATH", "LANG", "PWD", "SHLVL", "_"}
    assert "PATH=/usr/sbin:/usr/bin:/sbin:/bin" in lines
    assert "/" in lines
    opt = caller.lab.root / "opt/jailctl"
    assert f"-I -S {opt}/lib/jailkit/jail/cold.py {USER} sshd {caller.lab.root}/ 192.0.2.7" in lines
    assert {line.split(" -> ")[1] for line in lines if " -> " in line and "proc" not in line} == {
        "/dev/null",
        str(seen),
    }
    caller.lab.lines()


def test_waits_for_the_lock(caller: Caller) -> None:
    fd = os.open(caller.lab.paths.lock(UID), os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    pid = os.fork()
    if pid == 0:
        time.sleep(0.5)
        os._exit(0)
    os.close(fd)  # the child still holds it
    begin = time.monotonic()
    assert caller.run(OPEN) == 0
    os.waitpid(pid, 0)
    assert time.monotonic() - begin > 0.3


def test_lock_that_is_never_free(caller: Caller) -> None:
    """Logins cannot be held up for ever by one that hangs: 2 + 1 s here."""
    with open(caller.lab.paths.lock(UID), "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(caller, OPEN, "login.kernel")
