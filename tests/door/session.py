"""A session without a terminal, and what /proc says of it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from .lab import Lab


def status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.split(":")[0]: line.split()[1:] for line in lines}


def start(lab: Lab, command: str = "exec sleep 1000", **more: Any) -> tuple[subprocess.Popen[bytes], int]:
    """A session, and the pid of its process on the host."""
    child = lab.spawn(
        ["door", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **more,
    )
    return child, lab.inside()


def held(pid: int, count: int) -> list[str]:
    """What ``pid`` has open, once that are ``count`` files: it closes the rest just after the session has begun."""
    deadline = time.monotonic() + 5
    while len(names := os.listdir(f"/proc/{pid}/fd")) != count and time.monotonic() < deadline:
        time.sleep(0.01)
    return sorted(os.readlink(f"/proc/{pid}/fd/{name}") for name in names)


def end(child: subprocess.Popen[bytes]) -> int:
    child.terminate()
    child.communicate(timeout=10)
    return child.returncode
