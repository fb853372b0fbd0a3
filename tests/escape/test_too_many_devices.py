"""A /dev with more in it than a shell needs: each driver is a way into the kernel.

Attack A032.
"""

from __future__ import annotations

import os
import stat

import pytest

from .cells import FIRST, Cells

pytestmark = pytest.mark.host
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {"fd", "ptmx", "stdin", "stdout", "stderr"}
OTHERS = ("mem", "kmem", "port", "kmsg", "sda", "vda", "loop0", "loop-control", "fuse", "kvm", "vsock", "vhost-vsock",
          "console", "tty0", "tty1", "uinput", "input/event0", "net/tun", "rtc0", "hpet", "userfaultfd", "dri/card0",
          "mapper/control", "btrfs-control", "cpu/0/msr", "snapshot", "hwrng")  # fmt: skip


def test_a032_what_is_there(cells: Cells) -> None:
    there = set(cells.first.ask("names", path="/dev"))
    assert there == set(NODES) | LINKS | {"pts", "shm"}
    for name, (major, minor) in NODES.items():
        seen = cells.first.ask("stats", path=f"/dev/{name}", follow=False)
        assert stat.S_ISCHR(seen["mode"]) and seen["rdev"] == os.makedev(major, minor)
    assert cells.first.ask("read", path="/dev/zero", size=4) == "\0" * 4
    assert cells.first.says("write", path="/dev/null", data="x") == ""
    assert len(cells.first.ask("read", path="/dev/urandom", size=16)) == 16


def test_a032_what_is_not(cells: Cells) -> None:
    """One of the host's that everybody there may use, as some are on every host."""
    node = cells.host.root / "dev/esccanary"
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.chmod(node, 0o666)
    try:
        assert cells.plain.ask("read", path="/dev/esccanary", size=4) == "\0" * 4
        for name in ("esccanary", *OTHERS):
            assert cells.first.says("read", path=f"/dev/{name}") in ("ENOENT", "ENOTDIR"), name
    finally:
        node.unlink()


def test_a032_nothing_can_be_put_there(cells: Cells) -> None:
    tries = [
        ["make", {"kind": kind, "path": "/dev/new", "to": "/tmp"}] for kind in ("file", "mkdir", "symlink", "fifo")
    ]
    tries += [["make", {"kind": "unlink", "path": f"/dev/{name}"}] for name in ("null", "ptmx", "fd")]
    tries += [["make", {"kind": "chmod", "path": "/dev/null", "mode": 0o600}]]
    assert set(cells.first.ask("tries", verbs=tries)) == {"EROFS"}
    root = os.stat(f"/proc/{cells.keeper(FIRST).pid}/root/dev/null")
    assert stat.S_IMODE(root.st_mode) == 0o666
