"""What --json collects of a command: all of it up to the limit, and never more than that in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import os, subprocess, sys
from jailkit.cli import exec as e
e._LIMIT = int(sys.argv[1])
c = e.Collected()
with c:
    status = subprocess.run(["/bin/sh", "-c", sys.argv[2]]).returncode
print([status, c.text(1), c.text(2), c.truncated])
"""


def collected(command: str, limit: int = 1 << 20) -> list[object]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(limit), command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stderr == ""
    result = eval(done.stdout)
    assert isinstance(result, list)
    return result


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("echo out; echo err >&2; exit 3", [3, "out\n", "err\n", False]),
        ("true", [0, "", "", False]),
        ("printf 'a\\377b'", [0, "a\ufffdb", "", False]),
        ("exec >&-; echo late >&2", [0, "", "late\n", False]),
        ("(sleep 60 >/dev/null 2>&1 &) ; echo x", [0, "x\n", "", False]),
        (
            "sleep 60 & echo held",
            [0, "held\n", "", False],
        ),  # a background process keeps the pipes: it is not waited for
    ],
)
def test_collected(command: str, expected: list[object]) -> None:
    assert collected(command) == expected


def test_the_limit() -> None:
    status, out, err, truncated = collected("head -c 300000 /dev/zero | tr '\\0' x; echo e >&2", limit=100_000)
    assert (status, out, err, truncated) == (0, "x" * 100_000, "e\n", True)


def test_exactly_the_limit() -> None:
    assert collected("head -c 1000 /dev/zero | tr '\\0' x", limit=1000)[3] is False


def test_descriptors_are_as_before() -> None:
    program = PROGRAM + "print(sorted(int(n) for n in os.listdir('/proc/self/fd')))"
    done = subprocess.run(
        [sys.executable, "-c", program, "100", "true"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == str([0, 1, 2, 3])  # 3: the listing itself
