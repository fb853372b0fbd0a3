"""The end of a jail, some seconds after that of its last session: whoever was killed, and whatever was forgotten."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from jailkit.jail import recipe as recipes
from jailkit.kernel import proc

from .caller import CLOSE, OPEN, Caller, chill, refused, warm
from .lab import UID, USER, Lab


def gone(condition: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def cold(lab: Lab) -> bool:
    return proc.start_time(lab.record.pid) != lab.record.start and not os.path.exists(lab.paths.record(UID))


def watchers(lab: Lab) -> list[int]:
    own = lab.programs.path("hook"), lab.programs.path("hook", True)
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.readlink(f"/proc/{entry}/exe") in own:
                    found.append(int(entry))
            except OSError:
                continue
    return found


def test_close_takes_the_record_away(caller: Caller) -> None:
    assert caller.run(OPEN) == 0
    assert caller.run(CLOSE) == 0
    assert not caller.record.exists()
    assert warm(caller.lab)
    assert watchers(caller.lab) == [], "this one lingers for ever"


def test_close_without_open(caller: Caller, product: Path) -> None:
    assert caller.run(CLOSE) == 0
    chill(caller.lab)
    assert caller.run(CLOSE) == 0
    assert caller.run({**CLOSE, "PAM_USER": "../x"}) == 0


def test_the_jail_ends_after_its_last_session(caller: Caller) -> None:
    lab = caller.lab
    lab.changed(linger=1)
    assert caller.run(OPEN) == 0
    begin = time.monotonic()
    assert caller.run(CLOSE) == 0
    left = watchers(lab)
    assert len(left) == 1
    assert gone(lambda: [os.readlink(f"/proc/{left[0]}/fd/{fd}") for fd in (0, 1, 2)] == ["/dev/null"] * 3)
    assert gone(lambda: Path(f"/proc/{left[0]}/comm").read_text() == "jailctl-watch\n")
    assert os.getsid(left[0]) == left[0]
    assert gone(lambda: f"/jailctl/{UID}\n" not in Path(f"/proc/{left[0]}/cgroup").read_text()), (
        "it left the jail's group"
    )
    assert warm(lab)
    assert gone(lambda: cold(lab))
    assert time.monotonic() - begin > 0.9
    assert not os.path.lexists(f"{lab.paths.run_names}/{USER}")
    assert gone(lambda: watchers(lab) == [])
    for procs in lab.record.cgroups:
        assert caller.pid in map(int, Path(procs).read_text().split()), "the caller is still in it, so it stays"


def test_at_once_without_linger(caller: Caller) -> None:
    lab = caller.lab
    lab.changed(linger=0)
    lab.admit()
    assert lab.run("sleep 1000 >/dev/null 2>&1 </dev/null & echo left").out == b"left\n"
    caller.lab.sessions.joinpath(str(os.getpid())).unlink(missing_ok=True)
    assert caller.run(OPEN) == 0
    assert caller.run(CLOSE) == 0
    assert gone(lambda: cold(lab))
    assert gone(lambda: lab.processes() == [])


def test_a_session_keeps_the_jail(caller: Caller, program: Path) -> None:
    """And the last one's end counts, not the first one's; there is only one watcher."""
    lab = caller.lab
    lab.changed(linger=1)
    with Caller(lab, program) as second:
        assert caller.run(OPEN) == 0
        assert second.run(OPEN) == 0
        assert caller.run(CLOSE) == 0
        assert len(watchers(lab)) == 1
        time.sleep(1.3)
        assert warm(lab)
        assert second.run(CLOSE) == 0
        assert len(watchers(lab)) == 1
        time.sleep(0.6)
        begin = time.monotonic()
        assert caller.run(OPEN) == 0
        assert caller.run(CLOSE) == 0  # from here it is another second
        assert len(watchers(lab)) == 1
        assert gone(lambda: cold(lab))
        assert time.monotonic() - begin > 0.95
        assert gone(lambda: watchers(lab) == [])


def test_a_session_that_comes_while_the_jail_lingers(caller: Caller) -> None:
    lab = caller.lab
    lab.changed(linger=1)
    assert caller.run(OPEN) == 0
    assert caller.run(CLOSE) == 0
    assert caller.run(OPEN) == 0
    time.sleep(1.3)
    assert warm(lab)
    assert caller.run(CLOSE) == 0
    assert gone(lambda: cold(lab))


def test_killed_callers_keep_nothing(caller: Caller, program: Path) -> None:
    """sshd is killed, su too: nobody closes a session, and the jail ends all the same."""
    lab = caller.lab
    lab.changed(linger=1)
    with Caller(lab, program) as second:
        assert second.run(OPEN) == 0
        assert caller.run(OPEN) == 0
        second.child.kill()
        second.child.wait()
        time.sleep(1.3)
        assert warm(lab)
        caller.child.kill()
        caller.child.wait()
    begin = time.monotonic()
    assert gone(lambda: cold(lab))
    assert time.monotonic() - begin > 0.5


def test_killed_watcher(caller: Caller) -> None:
    """The next hook of this jail brings another."""
    lab = caller.lab
    lab.changed(linger=1)
    assert caller.run(OPEN) == 0
    for pid in watchers(lab):
        os.kill(pid, signal.SIGKILL)
    assert gone(lambda: watchers(lab) == [])
    time.sleep(0.2)  # the lock goes a little after the rest of the process
    assert caller.run(CLOSE) == 0
    assert len(watchers(lab)) == 1
    assert gone(lambda: cold(lab))


def test_a_refused_service_starts_no_jail(caller: Caller, product: Path) -> None:
    """Else each run of a forbidden cron job would start one."""
    lab = caller.lab
    chill(lab)
    refused(caller, {**OPEN, "PAM_SERVICE": "cron"}, "login.service-denied")
    assert not warm(lab) and watchers(lab) == []


def test_a_jail_started_for_a_refused_login_ends(lab: Lab, program: Path, product: Path) -> None:
    """su with another shell is refused when the jail is up already."""
    chill(lab)
    lab.sessions.joinpath(str(os.getpid())).unlink(missing_ok=True)
    recipes.save(lab.paths, lab.recipe.but(linger=0))
    try:
        with Caller(lab, program, ["su", "-s", "/bin/sh", USER]) as caller:
            refused(caller, {**OPEN, "PAM_SERVICE": "su"}, "login.shell-override")
        assert gone(lambda: not warm(lab))
        assert gone(lambda: watchers(lab) == [])
    finally:
        recipes.save(lab.paths, lab.recipe)


def test_watchers_take_no_inotify_instance(caller: Caller) -> None:
    """Root has 128 of them, and the host 10,000 jails; other services of root's need theirs."""
    lab = caller.lab
    lab.changed(linger=1)
    assert caller.run(OPEN) == 0
    (watcher,) = watchers(lab)

    def kinds() -> list[str]:
        return [os.readlink(f"/proc/{watcher}/fd/{fd}") for fd in os.listdir(f"/proc/{watcher}/fd")]

    assert gone(lambda: "anon_inode:[signalfd]" in kinds()), "it has come as far as to wait"
    assert not [kind for kind in kinds() if "inotify" in kind]
    assert caller.run(CLOSE) == 0
    assert gone(lambda: cold(lab))


def test_a_number_in_the_watch_file_that_means_another_process(caller: Caller, program: Path) -> None:
    """It would be killed by the signal that a watcher takes as a poke."""
    lab = caller.lab
    lab.changed(linger=1)
    assert caller.run(OPEN) == 0
    file = Path(lab.paths.run_jail(UID), "watch")
    whole = file.read_bytes()
    time.sleep(0.1)  # a start time counts in hundredths of a second
    with Caller(lab, program) as victim:
        file.write_bytes(victim.pid.to_bytes(4, "little") + whole[4:])
        assert caller.run(CLOSE) == 0
        assert victim.child.poll() is None
    for pid in watchers(lab):
        os.kill(pid, signal.SIGKILL)


def test_watcher_costs_no_time(lab: Lab, program: Path) -> None:
    lab.sessions.joinpath(str(os.getpid())).unlink()
    lab.changed(linger=1)
    with Caller(lab, program) as caller:
        assert caller.run(OPEN) == 0
        (watcher,) = watchers(lab)
        time.sleep(0.2)
        before = Path(f"/proc/{watcher}/schedstat").read_text()
        time.sleep(1.2)
        assert Path(f"/proc/{watcher}/schedstat").read_text() == before
    assert gone(lambda: cold(lab))


def test_memory_of_the_watcher(lab: Lab, program: Path) -> None:
    lab.sessions.joinpath(str(os.getpid())).unlink()
    lab.changed(linger=60)
    with Caller(lab, program) as caller:
        assert caller.run(OPEN) == 0
        assert caller.run(CLOSE) == 0
        (watcher,) = watchers(lab)
        time.sleep(0.1)
        rollup = dict(line.split()[:2] for line in Path(f"/proc/{watcher}/smaps_rollup").read_text().splitlines()[1:])
        os.kill(watcher, signal.SIGKILL)
        assert int(rollup["Private_Dirty:"]) < 150
