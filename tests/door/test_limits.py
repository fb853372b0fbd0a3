"""Limits of logins, by the hook and the entry record: how many, when, from where, until when."""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jailkit.jail.record import FOREVER

from .caller import CLOSE, OPEN, Caller
from .lab import Lab
from .test_linger import gone, watchers

MINUTES = 7 * 1440
SOURCES = ((bytes((192, 0, 2, 0)), 24), (bytes((10, 0, 0, 1)), 32), (bytes.fromhex("20010db8" + "00" * 12), 33))


@pytest.fixture(autouse=True)
def without_limits(lab: Lab) -> Iterator[None]:
    """Afterwards the watcher that they needed is told, and ends."""
    yield
    lab.reset()
    env = {"PAM_TYPE": "limits", "PAM_USER": OPEN["PAM_USER"], "PAM_SERVICE": "jailctl"}
    subprocess.run([lab.programs.path("hook")], env=env, check=True)
    assert gone(lambda: watchers(lab) == [])


def refused(caller: Caller, env: dict[str, str], code: str, told: str) -> None:
    """With a sentence for the user, one line in the log, and no session."""
    caller.lab.lines()
    assert caller.run(env) == 1
    assert told in caller.out.read_text() and caller.out.read_text().count("\n") == 1
    (line,) = [line for line in caller.lab.lines() if "jailctl-hook" in line]
    assert f" code={code} " in line
    assert not caller.record.exists()


def minute() -> int:
    now = datetime.datetime.now()
    return now.weekday() * 1440 + now.hour * 60 + now.minute


@pytest.mark.parametrize(
    "rhost",
    ["192.0.2.0", "192.0.2.255", "10.0.0.1", "::ffff:192.0.2.9", "2001:db8::1", "2001:db8:7fff::1", "2001:db8::1%eth0"],
)
def test_a_source_that_is_listed(caller: Caller, rhost: str) -> None:
    caller.lab.changed(sources=SOURCES)
    assert caller.run({**OPEN, "PAM_RHOST": rhost}) == 0


@pytest.mark.parametrize(
    "rhost",
    ["192.0.3.0", "10.0.0.2", "2001:db8:8000::1", "::1", "client.example.org", "UNKNOWN", "", "192.0.2.1 ",
     "0300.0.2.1", "::ffff:192.0.3.9", "%192.0.2.1", "1" * 250],
)  # fmt: skip
def test_a176_a_source_that_is_not(caller: Caller, rhost: str) -> None:
    """A name is what the other side's DNS says, so no address; sshd always has one."""
    caller.lab.changed(sources=SOURCES)
    refused(caller, {**OPEN, "PAM_RHOST": rhost}, "login.source", "from this address")


def test_who_came_over_no_network_has_no_source(caller: Caller) -> None:
    caller.lab.changed(sources=SOURCES, services=("sshd", "login", "jailctl"))
    env = [f"{key}={value}" for key, value in OPEN.items() if key not in ("PAM_RHOST", "PAM_SERVICE")]
    assert caller.run([*env, "PAM_SERVICE=login"]) == 0
    assert caller.run([*env, "PAM_SERVICE=login", "PAM_RHOST=203.0.113.1"]) == 1


def test_a176_hours(caller: Caller) -> None:
    """By /etc/localtime, whatever the environment says of the time zone."""
    now = minute()
    for hours in ([(now - 5, now + 5)], [(0, max(1, now - 60)), (now, now + 5)], [(0, MINUTES)]):
        caller.lab.changed(hours=tuple((max(0, begin), min(MINUTES, end)) for begin, end in hours))
        assert caller.run({**OPEN, "TZ": "UTC+11:30"}) == 0
        caller.record.unlink()
    other = (now + 60) % MINUTES
    caller.lab.changed(hours=((other, min(MINUTES, other + 30)),))
    refused(caller, {**OPEN, "TZ": "UTC-1"}, "login.hours", "at this time")


def test_a176_expired(caller: Caller) -> None:
    caller.lab.changed(expires=int(time.time()) + 3600)
    assert caller.run(OPEN) == 0
    caller.record.unlink()
    caller.lab.changed(expires=int(time.time()))
    refused(caller, OPEN, "login.expired", "has expired")


def test_an_administrator_is_bound_by_none(caller: Caller) -> None:
    now = minute()
    never = ((0, now) if now > 0 else (5, 6),)
    caller.lab.changed(sources=SOURCES, hours=never, expires=1, session=1, services=("sshd", "jailctl"))
    assert caller.run({**OPEN, "PAM_SERVICE": "jailctl", "PAM_RHOST": ""}) == 0
    time.sleep(1.2)
    assert caller.child.poll() is None


def test_a182_sixty_logins_at_once_where_five_may_be(lab: Lab, program: Path) -> None:
    """A slot is free as soon as its process is gone, whatever ended that; an administrator's session takes none."""
    lab.changed(sessions=5, services=("sshd", "jailctl"))
    lab.admit(service="jailctl")
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(Caller(lab, program)) for _ in range(60)]
        with concurrent.futures.ThreadPoolExecutor(60) as pool:
            answers = [pool.submit(one.run, OPEN) for one in callers]
            lines = []
            while not all(answer.done() for answer in answers):
                lines += lab.lines()  # the socket holds ten
                time.sleep(0.005)
        results = [answer.result() for answer in answers]
        assert sorted(results) == [0] * 5 + [1] * 55
        inside = [one for one, result in zip(callers, results, strict=True) if result == 0]
        outside = [one for one in callers if one not in inside]
        assert sum("code=login.too-many" in line for line in [*lines, *lab.lines()]) == 55
        for one in inside[:2]:
            one.child.kill()
            one.child.wait()
        assert [one.run(OPEN) for one in outside[:3]] == [0, 0, 1]
        assert inside[4].run(CLOSE) == 0
        assert outside[2].run(OPEN) == 0
        for one in inside[:2]:
            assert one.child.stdin is not None
            one.child.stdin.close()
            one.child.stdin = None


def test_the_door_bounds_open_files(lab: Lab) -> None:
    lab.admit()
    lab.changed(open_files=77)
    assert lab.run("ulimit -Sn; ulimit -Hn").out == b"77\n77\n"
    lab.changed(open_files=1 << 30)
    before = lab.run("ulimit -Sn").out
    lab.changed(open_files=0)
    assert lab.run("ulimit -Sn").out == before, "a limit is no gift"


def test_a_session_is_ended_when_its_time_is_over(caller: Caller) -> None:
    lab = caller.lab
    lab.changed(session=1, linger=0)
    assert caller.run(OPEN) == 0
    try:
        assert caller.child.wait(10) == -15
    finally:
        caller.child.stdin = None
    line = next(line for line in lab.lines() if "limit.session-ended" in line)
    assert "The time that a session of this account may last is over" in line and f"pid={caller.pid}" in line


def test_sessions_end_when_the_account_expires(caller: Caller) -> None:
    caller.lab.changed(expires=int(time.time()) + 2, linger=0)
    assert caller.run(OPEN) == 0
    try:
        assert caller.child.wait(10) == -15
    finally:
        caller.child.stdin = None
    assert any("This account has expired" in line for line in caller.lab.lines())


@pytest.mark.parametrize("linger", [60, FOREVER])
def test_a_watcher_learns_that_the_limits_have_changed(lab: Lab, program: Path, linger: int) -> None:
    """There is one that waits; or, as the jail stays, none that a limit gave something to do."""
    lab.sessions.joinpath(str(os.getpid())).unlink()  # or the watcher would end this very process
    lab.changed(linger=linger)
    with Caller(lab, program) as one, Caller(lab, program) as other:
        assert one.run(OPEN) == 0
        lab.changed(session=1, linger=linger)
        assert other.run({"PAM_TYPE": "limits", "PAM_USER": OPEN["PAM_USER"], "PAM_SERVICE": "jailctl"}) == 0
        try:
            assert one.child.wait(10) == -15
        finally:
            one.child.stdin = None
