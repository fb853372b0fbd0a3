"""``cells``: the agents of cells.py, shared by all tests; for each test it is checked that the host is unharmed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from ..host import Host
from .cells import Cells


@pytest.fixture(scope="session")
def _cells(host: Host) -> Iterator[Cells]:
    with contextlib.ExitStack() as stack:
        yield Cells(host, stack)


@pytest.fixture
def cells(_cells: Cells) -> Iterator[Cells]:
    with _cells.unharmed():
        yield _cells
