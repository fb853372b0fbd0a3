"""Rights dropped are gone, and those kept are exactly the ones asked for."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from jailkit.kernel import caps


def in_child(body: Callable[[], None]) -> dict[str, str]:
    """/proc/self/status of a child after ``body``."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            body()
            with open("/proc/self/status", "rb") as file:
                os.write(into, file.read())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as file:
        lines = file.read().decode().splitlines()
    os.waitpid(pid, 0)
    return {line.split(":")[0]: line.split(":")[1].strip() for line in lines}


@pytest.mark.skipif(os.geteuid() != 0, reason="rights to be dropped need root")
@pytest.mark.parametrize("kept", [frozenset(), frozenset({0, 7}), frozenset({6, 31, 33})])
def test_only_what_is_kept_is_left(kept: frozenset[int]) -> None:
    said = in_child(lambda: caps.keep_only(kept))
    mask = f"{sum(1 << cap for cap in kept):016x}"
    assert (said["CapPrm"], said["CapEff"], said["CapBnd"]) == (mask,) * 3
    assert (said["CapInh"], said["CapAmb"], said["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")


@pytest.mark.skipif(os.geteuid() != 0, reason="rights to be dropped need root")
def test_what_one_has_not_cannot_be_kept() -> None:
    def body() -> None:
        caps.keep_only(frozenset({8}))
        caps.keep_only(frozenset({0}))

    assert in_child(body) == {}


def test_a_child_dies_with_its_parent() -> None:
    out, into = os.pipe()
    parent = os.fork()
    if parent == 0:
        if os.fork() == 0:
            caps.die_with_parent()
            os.write(into, b"x")
            os.read(os.pipe()[0], 1)
        os.read(out, 1)
        os._exit(0)
    os.close(into)
    os.waitpid(parent, 0)
    assert os.read(out, 2) == b""  # its end is closed: the child, too, has ended
    os.close(out)
