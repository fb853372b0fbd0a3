"""Tests on all cores: ``tests/run -n 2``. What one file has is run by one worker, so its fixtures are made once; so is
all of tests/door, whose jail, control group and user are the machine's own. Files begin in the order of their names:
those of tests/unit, which are short, last.

A test marked ``alone`` looks at the whole machine: while it runs, no other worker of the same run does anything.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

TOGETHER = ("tests/door/",)
LOCK, GATE = Path(__file__), Path(__file__).with_name("conftest.py")


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return next((top for top in TOGETHER if path.startswith(top)), path)


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    config.option.loadscopereorder = False  # by how many tests a file has, which says nothing about how long they take
    return ByFile(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """With its fixtures; before its time-out begins."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    # Who waits to be alone holds the gate, so that others that come later do not keep it waiting. Both locks are on
    # files of the tree: nothing to be cleared away.
    with GATE.open() as gate, LOCK.open() as lock:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)
