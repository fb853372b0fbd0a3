"""What the door refuses for the sake of who calls it: arguments, ids, descriptors. Run with both builds."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .lab import UID, Ground

pytestmark = pytest.mark.parametrize("asan", [False, True], ids=["door", "asan"])


@pytest.mark.parametrize(
    "argv",
    [
        ["door", "-x"],
        ["door", "-c"],
        ["door", "-c", "true", "x"],
        ["door", "true"],
        ["door", ""],
        ["-door", "--login"],
        ["door", "-c", "true", "-c", "true"],
        ["door", "-ctrue"],
    ],
)
def test_arguments(ground: Ground, argv: list[str], asan: bool) -> None:
    assert ground.run(argv=argv, asan=asan).refused("login.bad-args")


def test_root(ground: Ground, asan: bool) -> None:
    assert ground.run("true", uid=0, gid=0, asan=asan).refused("login.bad-args")


def test_group_of_root(ground: Ground, asan: bool) -> None:
    assert ground.run("true", gid=0, asan=asan).refused("login.bad-args")


def test_another_group(ground: Ground, asan: bool) -> None:
    """Without the group the directory stays shut."""
    assert ground.run("true", gid=UID + 1, asan=asan).refused("login.path-unsafe")


def set_ids(uids: tuple[int, int, int], gids: tuple[int, int, int]) -> Callable[[], None]:
    def change() -> None:
        os.setgroups([])
        os.setresgid(*gids)
        os.setresuid(*uids)

    return change


@pytest.mark.parametrize(
    "ids",
    [
        ((UID, UID + 1, UID), (UID,) * 3),
        ((UID, UID, 0), (UID,) * 3),
        ((UID,) * 3, (UID, UID + 1, UID)),
        ((UID,) * 3, (UID, UID, 0)),
    ],
)
def test_ids_that_differ(ground: Ground, ids: tuple[tuple[int, int, int], tuple[int, int, int]], asan: bool) -> None:
    """exec makes the saved id the effective one, so what a setuid caller would leave shows in the first two."""
    done = ground.run("true", asan=asan, uid=None, gid=None, preexec_fn=set_ids(*ids))
    effective = ids[0][0] != ids[0][1] or ids[1][0] != ids[1][1]
    assert done.refused("login.bad-args" if effective else "login.kernel"), done


def test_sftp_where_the_template_has_none(ground: Ground, asan: bool) -> None:
    assert ground.run("internal-sftp -l INFO", asan=asan).refused("login.service-denied")


# -- descriptors


def block_device() -> int:
    numbers = next(Path("/sys/dev/block").iterdir()).name.split(":")
    node = f"/dev/shm/jailkit-door-{os.getpid()}"
    os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(int(numbers[0]), int(numbers[1])))
    try:
        return os.open(node, os.O_RDONLY | os.O_NONBLOCK)
    finally:
        os.unlink(node)


DESCRIPTORS: dict[str, Callable[[], int]] = {
    "directory": lambda: os.open("/", os.O_RDONLY | os.O_DIRECTORY),
    "path": lambda: os.open("/etc/passwd", os.O_PATH),
    "path of a link": lambda: os.open("/proc/self/exe", os.O_PATH | os.O_NOFOLLOW),
    "eventfd": lambda: os.eventfd(0),
    "pidfd": lambda: os.pidfd_open(os.getpid()),
    "namespace": lambda: os.open("/proc/self/ns/mnt", os.O_RDONLY),
    "block device": block_device,
}


@pytest.mark.parametrize("fd", [0, 1, 2])
@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_descriptor(ground: Ground, kind: str, fd: int, asan: bool) -> None:
    opened = DESCRIPTORS[kind]()
    try:
        stream: dict[str, Any] = {("stdin", "stdout", "stderr")[fd]: opened}
        done = ground.run("true", asan=asan, **stream)
    finally:
        os.close(opened)
    assert done.status == 1
    assert [f"code=login.bad-fd descriptor {fd}" in line for line in done.log] == [True]


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_closed_descriptor(ground: Ground, closed: tuple[int, ...], asan: bool) -> None:
    def shut() -> None:
        for fd in closed:
            os.close(fd)

    done = ground.run("true", asan=asan, preexec_fn=shut)
    assert done.status == 1
    assert ["code=login.bad-fd" in line for line in done.log] == [True]


def test_hung_up_terminal(ground: Ground, asan: bool) -> None:
    master, slave = os.openpty()
    os.close(master)
    try:
        done = ground.run("true", asan=asan, stdin=slave)
    finally:
        os.close(slave)
    assert done.refused("login.bad-fd"), done


def test_without_a_log(ground: Ground, asan: bool) -> None:
    """No syslog decides nothing, neither way."""
    log = ground.root / "log"
    log.rename(ground.root / "away")
    try:
        done = ground.run("true", asan=asan)
    finally:
        (ground.root / "away").rename(log)
    assert (done.status, done.log) == (1, [])


def test_full_log(ground: Ground, asan: bool) -> None:
    """A log that takes nothing holds a refusal up for a second, not for ever."""
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            sender.sendto(b"x", str(ground.root / "log"))
    sender.close()
    with ground.spawn(["door", "-c", "true"], asan=asan, stderr=subprocess.PIPE) as child:
        child.wait(10)
    assert child.returncode == 1
    assert not any("refused" in line for line in ground.lines())


def test_killed_by_nobody(ground: Ground, asan: bool) -> None:
    """Inherited dispositions do not matter: SIGCHLD ignored, SIGPIPE ignored, everything blocked."""

    def hostile() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())

    assert ground.run("true", asan=asan, preexec_fn=hostile).refused("login.kernel")
