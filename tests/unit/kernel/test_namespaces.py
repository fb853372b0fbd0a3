from __future__ import annotations

import pytest

from jailkit.kernel import caps, mount, proc
from jailkit.kernel.namespaces import id_map


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (1001, "0 700000000 1001\n1001 1001 1\n1002 700001002 22\n"),
        (1023, "0 700000000 1023\n1023 1023 1\n"),
        (1024, "0 700000000 1024\n1024 1024 1\n"),
        (60000, "0 700000000 1024\n60000 60000 1\n"),
        (0, "0 0 1\n1 700000001 1023\n"),
    ],
)
def test_id_maps_hold_the_user_and_the_range_and_nothing_else(own: int, expected: str) -> None:
    text = id_map(own, 700_000_000, 1024)
    assert text == expected
    inside = [
        n
        for line in text.splitlines()
        for n in range(int(line.split()[0]), int(line.split()[0]) + int(line.split()[2]))
    ]
    assert len(inside) == len(set(inside)), "no id is mapped twice"


def test_a_process_is_its_pid_and_its_start() -> None:
    import os
    import time

    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    start = proc.start_time(pid)
    assert start is not None
    fd = proc.open_same(pid, start)
    assert fd is not None and proc.open_same(pid, start + 1) is None
    assert pid in set(proc.of_uid(0)) and proc.parent(pid) == os.getpid()
    proc.send(fd, 9)
    assert proc.wait(fd, 5)
    assert proc.start_time(pid) is None, "a zombie is nobody"
    os.waitpid(pid, 0)
    os.close(fd)


def test_a_strange_command_name_does_not_shift_the_fields(tmp_path: object) -> None:
    import os

    pid = os.fork()
    if pid == 0:
        with open("/proc/self/comm", "w") as file:
            file.write("a) Z 1 (b")
        os.kill(os.getpid(), 19)
    os.waitpid(pid, os.WUNTRACED)
    assert proc.parent(pid) == os.getpid() and proc.start_time(pid)
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def test_dropping_is_read_back() -> None:
    import os

    pid = os.fork()
    if pid == 0:
        try:
            caps.become(54321, 54321, keep_caps=True)
            caps.drop_all()
            try:
                os.setuid(0)
            except PermissionError:
                os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def test_the_mount_table_is_read() -> None:
    assert any(point == "/proc" and kind == "proc" for _, point, kind, _ in mount.table())
