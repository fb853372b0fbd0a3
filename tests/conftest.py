"""Fixtures for every test. ``host``: one throw-away host a session, product set up; ``fresh_host``: one a test, product
installed and not set up; ``bare_host``: one a test, without the product."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .host import Host

pytest_plugins = ["tests.mustwork", "tests.sidebyside", "pytester"]


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("a throw-away host needs root")


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """Shared by all tests of the session: name your users after your test, and leave sshd and PAM as they are."""
    need_root()
    with Host() as made:
        made.jailctl("setup")
        yield made


@pytest.fixture
def fresh_host() -> Iterator[Host]:
    need_root()
    with Host() as made:
        yield made


@pytest.fixture
def bare_host() -> Iterator[Host]:
    need_root()
    with Host(product=False) as made:
        yield made
