"""A tree that somebody else changes: deep, full of links, moved while it is read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from jailkit.kernel.walk import _HELD, Size, again, measure, walk

DEPTH = 3 * _HELD


def deep(top: Path) -> None:
    """Deeper than PATH_MAX: by descriptors."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(DEPTH):
        os.mkdir("d" * 40, dir_fd=fd)
        below = os.open("d" * 40, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        os.close(fd)
        fd = below
    os.close(fd)


def test_depth_and_order(tmp_path: Path) -> None:
    deep(tmp_path)
    (tmp_path / "second").mkdir()
    deep(tmp_path / "second")
    before = len(os.listdir("/proc/self/fd"))
    size = measure(str(tmp_path))
    assert size.inodes == 2 + 4 * DEPTH
    assert len(os.listdir("/proc/self/fd")) == before


def test_each_inode_counts_once_and_links_lead_nowhere(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "data").write_bytes(b"x" * 100_000)
    os.link(own / "data", own / "again")
    os.symlink("/", own / "root")
    os.mkfifo(own / "fifo")
    size = measure(str(own))
    assert size.inodes == 4
    assert 100_000 <= size.bytes <= 140_000
    os.symlink(own, tmp_path / "link")
    with pytest.raises(OSError):
        measure(str(tmp_path / "link"))


def test_a_moved_directory_is_said(tmp_path: Path) -> None:
    deep(tmp_path)
    seen = 0

    def directory(fd: int, status: os.stat_result) -> None:
        nonlocal seen
        seen += 1
        if seen == DEPTH:  # the walk is at the bottom; those far above are closed
            os.mkdir(tmp_path / "elsewhere")
            os.rename(tmp_path / ("d" * 40) / ("d" * 40), tmp_path / "elsewhere/moved")

    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError) as caught:
            walk(fd, directory, lambda *_: None)
        assert caught.value.errno == errno.EAGAIN
        again(lambda: walk(fd, directory, lambda *_: None))
    finally:
        os.close(fd)


def test_it_is_tried_some_times() -> None:
    tries = []

    def body() -> None:
        tries.append(Size())
        raise OSError(errno.EAGAIN, "moved")

    with pytest.raises(OSError):
        again(body)
    assert 2 < len(tries) < 20
