"""A directory below which every path is root's own, as the product demands of its files: /tmp is not such a place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jailkit.kernel.beneath import remove_tree
from jailkit.paths import Paths

TREE = Path(__file__).resolve().parents[2]


@contextmanager
def rooted() -> Iterator[Paths]:
    """Paths below a fresh root with the shipped templates installed; gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("files of root's need root")
    root = tempfile.mkdtemp(prefix="jailkit-test-", dir="/run")
    try:
        os.chmod(root, 0o755)
        paths = Paths(root)
        os.makedirs(paths.opt)
        shutil.copytree(TREE / "templates", f"{paths.opt}/templates")
        for path in Path(f"{paths.opt}/templates").rglob("*"):
            os.chown(path, 0, 0)
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        yield paths
    finally:
        remove_tree(root)  # shutil's is recursive, and some trees are deep
