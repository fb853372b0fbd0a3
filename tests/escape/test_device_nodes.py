"""Devices made by the tenant: the disk, the memory, the console.

Attack A031. Linux 5.8 and later let anybody make a character device 0:0 (an overlay's whiteout): it must be inert, and
removing the user must cope with it.
"""

from __future__ import annotations

import os
import stat

import pytest

from .cells import FIRST, Cells

pytestmark = pytest.mark.host
DEVICES = [("chr", 1, 1), ("chr", 1, 2), ("chr", 5, 1), ("chr", 1, 11), ("chr", 10, 200), ("blk", 8, 0),
           ("blk", 254, 0), ("blk", 7, 0), ("chr", 1, 3)]  # fmt: skip
PLACES = ("/tmp", f"/home/{FIRST}", "/dev/shm", "/run/lock", "/dev")


@pytest.mark.parametrize(("kind", "major", "minor"), DEVICES)
def test_a031_a_device(cells: Cells, kind: str, major: int, minor: int) -> None:
    device, path = os.makedev(major, minor), "/var/tmp/escdevice"
    assert cells.root.ask("make", kind=kind, path=path, device=device) is None
    assert cells.root.ask("stats", path=path)["rdev"] == device
    cells.root.ask("make", kind="unlink", path=path)
    for place in PLACES:
        said = cells.first.says("make", kind=kind, path=f"{place}/escdevice", device=device)
        assert said == ("EROFS" if place == "/dev" else "EPERM"), place
    assert not (cells.home(FIRST) / "escdevice").exists()


def test_a031_a_whiteout_is_inert(cells: Cells) -> None:
    user = "escwhite"
    cells.make(user)
    with cells.enter(user) as cell:
        for path in (f"/home/{user}/whiteout", "/tmp/whiteout"):
            assert cell.says("make", kind="chr", path=path, mode=0o666) == ""
            assert cell.says("read", path=path) in ("EACCES", "ENXIO")
        cell.ask("make", kind="mkdir", path=f"/home/{user}/passwd", mode=0o755)
        assert cell.says("make", kind="rename", path=f"/home/{user}/whiteout", to="/etc/passwd") in ("EXDEV", "EROFS")
        assert "root" in cell.ask("read", path="/etc/passwd")
    white = (cells.home(user) / "whiteout").lstat()
    assert stat.S_ISCHR(white.st_mode) and white.st_rdev == 0 and white.st_uid == cells.host.ids(user)[0]
    cells.host.jailctl("remove-user", user)
    assert not cells.home(user).exists()
