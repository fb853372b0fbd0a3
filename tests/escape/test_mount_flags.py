"""nosuid, nodev, noexec and read-only that get lost: on binds, on what is mounted below, on a remount.

google/nsjail#284, #277; bubblewrap#11; systemd#9970; containers/crun#950. Attack A022. What is mounted below the home
does not come along at all; what is mounted below the host's /usr comes with the flags of /usr.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from .cells import FIRST, PLAIN, Cells, mounts

pytestmark = pytest.mark.host
USER = "escflags"
READ_WRITE = {"/tmp", "/var/tmp", "/run", "/dev/shm", "/dev/pts", "/proc"}


def test_a022_every_mount_has_its_flags(cells: Cells) -> None:
    rows = mounts(cells.keeper(FIRST).pid)
    assert len(rows) > 12
    for row in rows:
        options = set(row["options"].split(","))
        assert "nosuid" in options, row
        assert "nodev" in options or row["point"] in ("/dev", "/dev/pts"), row
        assert "ro" in options or row["point"] in READ_WRITE | {f"/home/{FIRST}"} or row["root"] == "/masked", row
        if row["point"] in ("/dev", "/dev/pts", "/proc") or row["point"].startswith("/etc/"):
            assert "noexec" in options, row


def nested(cells: Cells) -> Path:
    """A tmpfs below the home and one below /usr, without any flag, each with a setuid program and a device."""
    home = cells.home(USER)
    for path in (f"/home/{USER}/nested", "/usr/local/nested"):
        cells.host.run(["/bin/mkdir", path], check=True)
        cells.host.run(["/bin/mount", "-t", "tmpfs", "-o", "suid,dev,exec,mode=755", "none", path], check=True)
        there = cells.host.root / path[1:]
        cells.host.run(["/bin/cp", "/bin/sleep", f"{path}/sleep"], check=True)
        os.chmod(there / "sleep", 0o4755)
        os.mknod(there / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        os.chmod(there / "zero", 0o666)
    return home


def test_a022_what_is_mounted_below_a_bind(cells: Cells) -> None:
    cells.make(USER)
    cells.host.jailctl("stop", USER)
    paths = (f"/home/{USER}/nested", "/usr/local/nested")
    home = nested(cells)
    os.chmod(home, 0o711)
    try:
        for path in paths:
            assert cells.plain.ask("read", path=f"{path}/zero", size=4) == "\0" * 4
            with cells.plain.held("become", argv=[f"{path}/sleep", "60"]) as (_, process):
                assert process.uids == (cells.plain.uid, 0, 0, 0)
        with cells.enter(USER) as cell:
            for path in paths:
                assert cell.says("opened", paths=[path]) == ""
                assert cell.says("names", path=path) == ""
                assert cell.says("read", path=f"{path}/zero") == ("EACCES" if "local" in path else "ENOENT")
            with cell.held("become", argv=["/usr/local/nested/sleep", "60"]) as (_, process):
                assert set(process.uids) == {cell.uid}
            below = [row for row in mounts(cell.pid) if "nested" in row["point"]]
            assert [row["point"] for row in below] == ["/usr/local/nested"]
            assert {"ro", "nosuid", "nodev"} <= set(below[0]["options"].split(","))
            assert cell.says("read", path=f"/home/{USER}/probe.py") == ""
    finally:
        for path in paths:
            cells.host.run(["/bin/umount", path], check=True)
            cells.host.run(["/bin/rmdir", path], check=True)
        os.chmod(home, 0o700)


def test_a022_the_flags_have_their_effect(cells: Cells) -> None:
    """A device in the home, where the host's file system allows devices, is no device in the jail."""
    for user in (PLAIN, FIRST):
        path = cells.home(user) / "zero"
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        os.chmod(path, 0o666)
    try:
        assert cells.plain.ask("read", path=f"/home/{PLAIN}/zero", size=4) == "\0" * 4
        assert cells.first.ask("stats", path=f"/home/{FIRST}/zero")["rdev"] == os.makedev(1, 5)
        assert cells.first.says("read", path=f"/home/{FIRST}/zero") == "EACCES"
    finally:
        for user in (PLAIN, FIRST):
            (cells.home(user) / "zero").unlink()
