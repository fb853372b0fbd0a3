"""A root with the shipped templates, and a host's /etc with something of everything in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jailkit.paths import Paths
from tests.unit.rooted import rooted


@pytest.fixture
def paths() -> Iterator[Paths]:
    with rooted() as made:
        yield made


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A host's root with something of everything in its /etc."""
    root = tmp_path / "host"
    for name in ("usr/bin", "usr/lib", "etc/ssl/private", "etc/ssl/certs", "etc/vim", "etc/closed"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc/vim/vimrc").write_text("set nocp\n")
    (root / "etc/shadow").write_text("root:secret")
    (root / "etc/shadow").chmod(0o644)
    (root / "etc/ssl/private/key").write_text("secret")
    (root / "etc/ssl/certs/ca.pem").write_text("cert")
    (root / "etc/ssl/certs/out").symlink_to("/root/secret")
    (root / "etc/token").write_text("secret")
    (root / "etc/token").chmod(0o640)
    (root / "etc/theirs").write_text("secret")
    os.chown(root / "etc/theirs", 54321, 0)
    (root / "etc/suid").write_text("x")
    (root / "etc/suid").chmod(0o6755)
    os.mkfifo(root / "etc/fifo")
    (root / "etc/closed").chmod(0o750)
    (root / "etc/closed/file").write_text("secret")
    return root
