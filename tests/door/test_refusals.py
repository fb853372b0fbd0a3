"""What the door refuses before it enters: each with one dull line, one log line with a stable code, and status 1.

Run with the door as it is installed and with the one that has the sanitizers. A first test shows that the ground on
which the rest stand would have got past all of these checks.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jailkit.jail.record import _HEAD

from .lab import UID, USER, Ground
from .test_layout import RECORD, offsets

pytestmark = pytest.mark.parametrize("asan", [False, True], ids=["door", "asan"])


def test_positive_control(ground: Ground, asan: bool) -> None:
    """With nothing changed it comes as far as setns, which a process of our own user namespace refuses (EINVAL)."""
    done = ground.run("true", asan=asan)
    assert done.refused("login.kernel"), done
    assert f"refused user={USER} uid={UID} code=login.kernel setns: Invalid argument" in done.log[0]
    assert done.log[0].startswith("<84>jailctl-door[")


# -- the record

PLACES = offsets(_HEAD, RECORD)
TEXTS = ("user", "home", "shell", "sftp", "path", "image")
LISTS = ("cgroups", "events", "services")


def at(field: str) -> int:
    return PLACES[field][0]


def end(field: str) -> int:
    return sum(PLACES[field])


def patch(place: int, data: bytes) -> Callable[[Ground], None]:
    def write(ground: Ground) -> None:
        packed = bytearray(ground.record.pack())
        packed[place : place + len(data)] = data
        ground.write_record(bytes(packed))

    return write


def number(field: str, value: int) -> Callable[[Ground], None]:
    return patch(at(field), value.to_bytes(4, "little"))


def cut(size: int) -> Callable[[Ground], None]:
    return lambda ground: ground.write_record(ground.record.pack()[:size])


DAMAGED: dict[str, Callable[[Ground], None]] = {
    "empty": cut(0),
    "half": cut(700),
    "head only": cut(_HEAD.size),
    "one byte less": lambda ground: ground.write_record(ground.record.pack()[:-1]),
    "one byte more": lambda ground: ground.write_record(ground.record.pack() + b"\0"),
    "more than fits": lambda ground: ground.write_record(ground.record.pack() + bytes(8 * 600)),
    "magic": patch(0, b"JAILREC2"),
    "size": number("size", 1456 + 1),
    "unknown flag": number("flags", 4),
    "uid of another": number("uid", UID + 1),
    "uid 0": number("uid", 0),
    "gid of another": number("gid", UID + 1),
    "gid 0": number("gid", 0),
    "pid 0": number("pid", 0),
    "pid 1": number("pid", 1),
    "pid -1": number("pid", 0xFFFFFFFF),
    "no filter": lambda ground: ground.changed(filter=b""),
    "filter count": number("nfilter", 2),
    "filter count too big": number("nfilter", 513),
    "pad": number("pad", 1),
    "user": patch(at("user"), b"../x\0"),
    "user root": patch(at("user"), b"root\0"),
    "no user": patch(at("user"), b"\0"),
    "home relative": patch(at("home"), b"x"),
    "shell relative": patch(at("shell"), b"x"),
    "no shell": patch(at("shell"), b"\0"),
    "no path": patch(at("path"), b"\0"),
    "sftp relative": patch(at("sftp"), b"x"),
    **{f"{field} unterminated": patch(at(field), b"/" * (end(field) - at(field))) for field in TEXTS},
    **{f"{field} unterminated": patch(end(field) - 1, b"x") for field in LISTS},
    **{f"{field}' last but one": patch(end(field) - 2, b"x") for field in LISTS},
    "more hours than fit": number("nhours", 97),
    "more sources than fit": number("nsources", 17),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_record(ground: Ground, case: str, asan: bool) -> None:
    DAMAGED[case](ground)
    done = ground.run("true", asan=asan)
    assert done.refused("login.bad-record"), done


def without_entry(ground: Ground) -> None:
    os.unlink(ground.paths.record(UID))


def entry_link(ground: Ground) -> None:
    target = ground.directory / "real"
    os.rename(ground.paths.record(UID), target)
    os.symlink("real", ground.paths.record(UID))


def entry_fifo(ground: Ground) -> None:
    without_entry(ground)
    os.mkfifo(ground.paths.record(UID), 0o640)
    os.chown(ground.paths.record(UID), 0, UID)


def entry_directory(ground: Ground) -> None:
    without_entry(ground)
    os.mkdir(ground.paths.record(UID), 0o755)


def entry_secret(ground: Ground) -> None:
    os.chmod(ground.paths.record(UID), 0o600)


PATHS: dict[str, tuple[str, Callable[[Ground], None]]] = {
    "no entry": ("login.no-jail", without_entry),
    "entry is a link": ("login.path-unsafe", entry_link),
    "entry is a fifo": ("login.bad-record", entry_fifo),
    "entry is a directory": ("login.bad-record", entry_directory),
    "entry not readable": ("login.path-unsafe", entry_secret),
    "entry hers": ("login.path-unsafe", lambda g: g.write_record(g.record.pack(), owner=UID)),
    "entry group-writable": ("login.path-unsafe", lambda g: g.write_record(g.record.pack(), mode=0o660)),
    "entry writable": ("login.path-unsafe", lambda g: g.write_record(g.record.pack(), mode=0o646)),
}


@pytest.mark.parametrize("case", PATHS)
def test_entry(ground: Ground, case: str, asan: bool) -> None:
    code, change = PATHS[case]
    change(ground)
    try:
        done = ground.run("true", asan=asan)
    finally:
        entry = Path(ground.paths.record(UID))
        if entry.is_dir() and not entry.is_symlink():
            entry.rmdir()
        else:
            entry.unlink(missing_ok=True)
        (ground.directory / "real").unlink(missing_ok=True)
    assert done.refused(code), done


@pytest.fixture
def parts(ground: Ground) -> Iterator[list[Path]]:
    """The directories above the record, put right again afterwards."""
    found = [
        ground.root,
        ground.root / "run",
        ground.root / "run/jailctl",
        Path(ground.paths.run_jails),
        ground.directory,
    ]
    before = [(path, path.stat()) for path in found]
    yield found
    for path, status in before:
        os.chown(path, status.st_uid, status.st_gid)
        path.chmod(stat.S_IMODE(status.st_mode))


@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("change", ["hers", "group", "everybody", "link"])
def test_directories_above_the_record(ground: Ground, parts: list[Path], part: int, change: str, asan: bool) -> None:
    path = parts[part]
    if change == "hers":
        os.chown(path, UID, path.stat().st_gid)
    elif change == "link":
        os.rename(path, f"{path}.real")
        os.symlink(f"{path}.real", path)
    else:
        path.chmod(path.stat().st_mode | (0o020 if change == "group" else 0o002))
    try:
        done = ground.run("true", asan=asan)
    finally:
        if change == "link":
            path.unlink()
            os.rename(f"{path}.real", path)
    assert done.refused("login.path-unsafe"), done


def test_no_directory(ground: Ground, asan: bool) -> None:
    done = ground.run("true", asan=asan, uid=UID + 1, gid=UID + 1)
    assert done.refused("login.no-jail"), done
    assert f"user=- uid={UID + 1}" in done.log[0]


# -- the keeper


def test_keeper_of_another_start_time(ground: Ground, asan: bool) -> None:
    ground.changed(start=ground.record.start + 1)
    assert ground.run("true", asan=asan).refused("login.keeper-dead")


def test_keeper_of_another_namespace(ground: Ground, asan: bool) -> None:
    ground.changed(userns=ground.record.userns + 1)
    assert ground.run("true", asan=asan).refused("login.keeper-dead")


def test_keeper_gone(ground: Ground, asan: bool) -> None:
    with subprocess.Popen(["/bin/true"]) as gone:
        gone.wait()
    ground.changed(pid=gone.pid)
    assert ground.run("true", asan=asan).refused("login.keeper-dead")


def test_keeper_is_a_zombie(ground: Ground, asan: bool) -> None:
    assert ground.keeper is not None
    ground.keeper.kill()
    os.waitid(os.P_PID, ground.keeper.pid, os.WEXITED | os.WNOWAIT)
    done = ground.run("true", asan=asan)
    ground.keeper.wait()
    ground.keeper = None
    assert done.refused("login.keeper-dead"), done


# -- the verdict


def no_session(ground: Ground) -> None:
    (ground.sessions / str(os.getpid())).unlink()


def session_of_another_process(ground: Ground) -> None:
    assert ground.keeper is not None
    no_session(ground)
    ground.admit(ground.keeper.pid)


def session_cut(ground: Ground) -> None:
    path = ground.sessions / str(os.getpid())
    path.write_bytes(path.read_bytes()[:-1])


def session_link(ground: Ground) -> None:
    path = ground.sessions / str(os.getpid())
    path.rename(ground.directory / "session")
    path.symlink_to("../session")


def session_magic(ground: Ground) -> None:
    path = ground.sessions / str(os.getpid())
    path.write_bytes(b"JAILSES2" + path.read_bytes()[8:])


def session_of_pid_1(ground: Ground) -> None:
    path = ground.sessions / str(os.getpid())
    path.write_bytes(path.read_bytes()[:8] + (1).to_bytes(4, "little") + path.read_bytes()[12:])


VERDICTS: dict[str, Callable[[Ground], None]] = {
    "no session": no_session,
    "another process": session_of_another_process,
    "a reused pid": lambda ground: ground.admit(start=1),
    "pid in the record": session_of_pid_1,
    "another user": lambda ground: ground.admit(user="doris"),
    "cut": session_cut,
    "magic": session_magic,
    "a link": session_link,
    "hers": lambda ground: ground.admit(owner=UID),
    "writable": lambda ground: ground.admit(mode=0o660),
    "not readable": lambda ground: ground.admit(mode=0o600),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_no_verdict(ground: Ground, case: str, asan: bool) -> None:
    VERDICTS[case](ground)
    done = ground.run("true", asan=asan)
    (ground.directory / "session").unlink(missing_ok=True)
    assert done.refused("login.no-verdict"), done


def test_writable_directory_of_sessions(ground: Ground, asan: bool) -> None:
    ground.sessions.chmod(0o770)
    try:
        assert ground.run("true", asan=asan).refused("login.no-verdict")
    finally:
        ground.sessions.chmod(0o750)


@pytest.mark.parametrize(("depth", "admitted"), [(8, True), (12, False)])
def test_verdict_reaches_ten_ancestors(ground: Ground, depth: int, admitted: bool, asan: bool) -> None:
    inner = f"exec {ground.programs.path('door', asan)} -c true"
    for _ in range(depth):
        inner = f"( {inner}; exit $? )"
    with subprocess.Popen(
        ["/bin/sh", "-c", inner],
        user=UID,
        group=UID,
        extra_groups=[],
        env={"ASAN_OPTIONS": "detect_leaks=0"},
        stderr=subprocess.DEVNULL,
    ) as child:
        child.wait()
    assert ("login.kernel setns" if admitted else "login.no-verdict") in ground.lines()[0]
