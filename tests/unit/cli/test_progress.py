"""Silence for two seconds, then a sign of life on stderr."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys, time
from jailkit.cli import progress
from jailkit.cli.output import Settings
progress._AFTER = 0.1
with progress.Progress(Settings(quiet="q" in sys.argv[1], json="j" in sys.argv[1]), "first") as p:
    if "f" in sys.argv[1]:
        sys.exit()
    time.sleep(0.3)
    p.step("second\\x1b[2J")
    time.sleep(0.1)
time.sleep(0.1)
"""


def shown(flags: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, flags], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout == ""
    return done.stderr


def test_progress_of_a_long_run() -> None:
    assert shown("-") == "... first\n... second\\x1b[2J\n"


def test_none_of_a_short_run_nor_where_nobody_wants_it() -> None:
    assert [shown("f"), shown("q"), shown("j")] == ["", "", ""]
