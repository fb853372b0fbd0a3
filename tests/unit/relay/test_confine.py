"""What is left to the worker: each thing is first done by the same process before it is confined."""

from __future__ import annotations

import errno
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from jailkit.kernel import caps
from jailkit.relay import confine


def says(call: Callable[[], object]) -> str:
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def family(number: int) -> Callable[[], object]:
    return lambda: socket.socket(number, socket.SOCK_DGRAM).close()


TRIES: dict[str, Callable[[], object]] = {
    "open": lambda: os.close(os.open("/", os.O_RDONLY)),
    "stat": lambda: os.stat("/"),
    "kill": lambda: os.kill(os.getppid(), 0),
    "fork": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
    "setuid": lambda: os.setresuid(0, 0, 0),
    "chroot": lambda: os.chroot("/"),
    "unix": family(socket.AF_UNIX),
    "netlink": family(socket.AF_NETLINK),
    "prctl": lambda: caps.prctl(39),
}


def test_what_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving up rights needs some")
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before = {name: says(call) for name, call in TRIES.items()}
            confine.confine(str(tmp_path))
            after = {name: says(call) for name, call in TRIES.items()}
            inet = [says(family(number)) for number in (socket.AF_INET, socket.AF_INET6)]
            os.write(into, repr((before, after, inet)).encode())
        except BaseException:  # noqa: BLE001 - the forked child must not run pytest's own code
            os.write(into, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out) as answers:
        text = answers.read()
    os.waitpid(child, 0)
    assert text.startswith("("), text
    before, after, inet = eval(text, {"__builtins__": {}})  # written by this very function
    assert set(before.values()) == {""}
    assert {name for name, said in after.items() if said == ""} == set()
    assert after["unix"] == after["netlink"] == "EAFNOSUPPORT"
    assert inet == ["", ""]


def test_what_runs_out_of_memory_is_the_worker_and_not_its_parent(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving up rights needs some")
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            Path("/proc/self/oom_score_adj").write_text("300")  # root of a container may not go below 0
            before, after = (os.open("/proc/self/oom_score_adj", os.O_RDONLY) for _ in range(2))
            os.write(into, os.read(before, 9))
            confine.confine(str(tmp_path))
            os.write(into, os.read(after, 9))
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out) as answers:
        said = answers.read().split()
    os.waitpid(child, 0)
    assert said == ["300", "0"]
