"""Confined processes, seen from outside. Others may run on the same machine: only those below one of ours count."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jailkit.kernel import proc


def below(ancestor: int, uid: int, seccomp: int = 2) -> list[int]:
    """Pids of processes of ``uid`` that descend from ``ancestor`` and have the seccomp mode (proc_pid_status(5))."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{name}/status").read_text()
            ids, mode = re.search(r"^Uid:\t(\d+)", text, re.M), re.search(r"^Seccomp:\t(\d)", text, re.M)
            if ids is not None and mode is not None and (int(ids[1]), int(mode[1])) == (uid, seccomp):
                above = int(name)
                while above not in (0, 1, ancestor):
                    above = proc.parent(above)
                if above == ancestor:
                    found.append(int(name))
    return found


def wait_for(look: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it does not come")


def ends(pids: list[int]) -> None:
    """Wait until none of them is a process any more."""
    starts = {pid: proc.start_time(pid) for pid in pids}
    wait_for(lambda: all(start is None or proc.start_time(pid) != start for pid, start in starts.items()))
