"""A chroot jail: the hook makes the link that sshd changes its root to, while there are sessions; the door refuses."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jailkit.jail.record import _HEAD, FLAG_CHROOT, FOREVER, Record

from .caller import CLOSE, OPEN, Caller, refused, warm
from .lab import ALLOW, UID, USER, Ground, Lab
from .test_layout import RECORD, offsets
from .test_linger import gone, watchers


def record(home: Path, **fields: object) -> Record:
    values = {
        "user": USER, "uid": UID, "gid": UID, "pid": 0, "start": 0, "userns": 0, "home": str(home), "shell": "/bin/sh",
        "sftp": "", "path": "/bin", "cgroups": (), "services": ("sshd",), "image": "", "linger": FOREVER,
        "flags": FLAG_CHROOT, "filter": b"",
    }  # fmt: skip
    return Record(**{**values, **fields})  # type: ignore[arg-type]


@pytest.fixture
def home(lab: Lab) -> Iterator[Path]:
    """Two levels below a directory of root's."""
    path = lab.root / "drop" / "dora"
    path.mkdir(parents=True)
    yield path
    path.rmdir()
    path.parent.rmdir()


@pytest.fixture
def files(caller: Caller, home: Path) -> Iterator[Caller]:
    caller.lab.write_record(record(home).pack())
    yield caller
    link(caller.lab).unlink(missing_ok=True)


def link(lab: Lab) -> Path:
    return Path(lab.paths.chroot(UID))


def test_the_link_is_there_while_a_session_is(files: Caller, home: Path) -> None:
    assert warm(files.lab) and not os.path.lexists(link(files.lab))
    assert files.run(OPEN) == 0
    assert os.readlink(link(files.lab)) == str(home)
    assert os.lstat(link(files.lab)).st_uid == 0
    assert files.record.exists()
    assert files.run(CLOSE) == 0
    assert not os.path.lexists(link(files.lab)) and not files.record.exists()
    assert warm(files.lab), "ready for the next"


def test_it_stays_for_another_session(files: Caller) -> None:
    assert files.run(OPEN) == 0
    files.lab.admit()  # this process has one, too
    assert files.run(CLOSE) == 0
    assert os.path.lexists(link(files.lab))


def test_one_that_leads_elsewhere_is_replaced(files: Caller, home: Path) -> None:
    link(files.lab).symlink_to("/")
    assert files.run(OPEN) == 0
    assert os.readlink(link(files.lab)) == str(home)
    assert files.run(CLOSE) == 0


def test_what_is_refused_makes_no_link(files: Caller) -> None:
    refused(files, {**OPEN, "PAM_SERVICE": "su-l"}, "login.service-denied")
    assert not os.path.lexists(link(files.lab))


def test_a_killed_session_and_the_end(files: Caller, home: Path) -> None:
    """Nobody closes it: the watcher sees that its process ended, takes the link away, and later the jail."""
    lab = files.lab
    lab.write_record(record(home, linger=1).pack())
    assert files.run(OPEN) == 0
    assert os.path.lexists(link(lab)) and len(watchers(lab)) == 1
    os.kill(files.pid, signal.SIGKILL)
    assert gone(lambda: not os.path.lexists(link(lab)))
    assert warm(lab)
    assert gone(lambda: not warm(lab)) and not os.path.lexists(f"{lab.paths.run_names}/{USER}")
    assert gone(lambda: watchers(lab) == [])


CHANGES: dict[str, Callable[[Path], object]] = {
    "0777": lambda path: path.chmod(0o777),
    "group": lambda path: path.chmod(0o775),
    "tenant's": lambda path: os.chown(path, UID, -1),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("up", [0, 1, 2])
def test_a008_the_wrong_component_is_named(files: Caller, home: Path, change: str, up: int) -> None:
    wrong = [home, home.parent, files.lab.root][up]
    assert files.run(OPEN) == 0 and files.run(CLOSE) == 0
    before = wrong.stat()
    CHANGES[change](wrong)
    try:
        if wrong == files.lab.root:  # above the jail's records as well
            refused(files, OPEN, "login.path-unsafe")
        else:
            line = refused(files, OPEN, "login.path-unsafe")
            assert f" {wrong}: others than root may change it" in line
        assert not os.path.lexists(link(files.lab))
    finally:
        os.chown(wrong, before.st_uid, before.st_gid)
        wrong.chmod(stat.S_IMODE(before.st_mode))
    assert files.run(OPEN) == 0


def test_a008_a_link_in_the_way(files: Caller, home: Path) -> None:
    real = home.parent.with_name("real")
    home.parent.rename(real)
    home.parent.symlink_to("real")
    try:
        assert f" {home.parent}: " in refused(files, OPEN, "login.path-unsafe")
    finally:
        home.parent.unlink()
        real.rename(home.parent)


def test_a_home_that_is_gone(files: Caller, home: Path) -> None:
    home.rmdir()
    assert f" {home}: No such file" in refused(files, OPEN, "login.no-home")
    home.mkdir()


@pytest.mark.parametrize("asan", [False, True])
def test_the_door_refuses_though_the_hook_admitted(ground: Ground, asan: bool) -> None:
    """sshd asked the door, so the user is no member of jailed-chroot any more."""
    ground.write_record(record(ground.root).pack())
    assert ground.run("internal-sftp", asan=asan).refused("login.service-denied")
    assert ground.run(None, asan=asan).refused("login.service-denied")
    next(ground.sessions.iterdir()).unlink()
    assert ground.run("true", asan=asan).refused("login.no-verdict")


HALF: dict[str, dict[str, object]] = {
    "with a keeper": {"pid": 4711},
    "with a namespace": {"userns": 1},
    "with a filter": {"filter": ALLOW},
    "without the flag": {"flags": 0},
}


@pytest.mark.parametrize("case", HALF)
def test_half_of_each_kind_is_damaged(ground: Ground, case: str) -> None:
    ground.write_record(record(ground.root, **HALF[case]).pack())
    assert ground.run("true").refused("login.bad-record")


def test_the_pid_is_where_both_look(ground: Ground) -> None:
    place, size = offsets(_HEAD, RECORD)["pid"]
    assert record(ground.root).pack()[place : place + size] == bytes(4)
