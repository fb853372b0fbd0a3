"""Mounts that spread: a jail's into the host, where they pile up and are seen, or the host's into a running jail.

mount_namespaces(7), shared subtrees; the host's root is shared, as systemd makes it, and so is the test host's. Attack
A020. jailkit's jails are private in both directions.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from ..host.host import PYTHON
from .cells import FIRST, PLACE, Cells, mounts

pytestmark = pytest.mark.host


def test_a020_no_mount_of_a_jail_is_shared(cells: Cells) -> None:
    assert any("shared:" in row["optional"] for row in mounts(cells.host.init))
    assert [row for row in mounts(cells.keeper(FIRST).pid) if row["optional"]] == []


def test_a020_the_host_shows_no_mount_of_a_jail(cells: Cells) -> None:
    own = {row["device"] for row in mounts(cells.keeper(FIRST).pid)} - {
        row["device"] for row in mounts(cells.host.init)
    }
    assert len(own) >= 3, "its tmpfs, proc and devpts"
    for process in cells.host.processes():
        if process.namespaces["mnt"] != cells.keeper(FIRST).namespaces["mnt"]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                assert own.isdisjoint(row["device"] for row in mounts(process.pid)), process.argv


def test_a020_a_later_mount_of_the_host_stays_outside(cells: Cells) -> None:
    """Below the home, which host and jail both show. A namespace that is a slave of the host's gets it."""
    home = f"/home/{FIRST}"
    cells.host.run(["/bin/mkdir", f"{home}/late"], check=True)
    before = Path(f"/proc/{cells.keeper(FIRST).pid}/mountinfo").read_text()
    slave = ["/usr/bin/unshare", "--mount", "--propagation", "slave", PYTHON, "-I", "-S", PLACE, "{}"]
    with cells.open(slave) as follower:
        cells.host.run(["/bin/mount", "-t", "tmpfs", "none", f"{home}/late"], check=True)
        try:
            (cells.home(FIRST) / "late" / "flag").touch()
            assert follower.ask("names", path=f"{home}/late") == ["flag"]
            assert cells.first.ask("names", path=f"{home}/late") == []
            assert Path(f"/proc/{cells.keeper(FIRST).pid}/mountinfo").read_text() == before
        finally:
            cells.host.run(["/bin/umount", f"{home}/late"], check=True)
            cells.host.run(["/bin/rmdir", f"{home}/late"], check=True)


def test_a020_a_mount_made_in_the_jail_stays_inside(cells: Cells) -> None:
    """By root, as nobody else can. In a copy of the host's namespace that is left shared, it would come out."""

    def made(*enter: str) -> list[str]:
        known = cells.mountinfo()
        code = "mount -t tmpfs escprop /mnt && touch /mnt/flag && ls /mnt"
        assert cells.host.run([*enter, "/bin/sh", "-c", code], check=True).stdout == "flag\n"
        return [line for line in cells.mountinfo() if line not in known]

    assert len(made("/usr/bin/unshare", "--mount", "--propagation", "unchanged")) == 1
    cells.host.run(["/bin/umount", "/mnt"], check=True)
    assert made("/usr/bin/nsenter", "-t", str(cells.keeper(FIRST).inner_pids[1]), "-m") == []
    number = str(cells.keeper(FIRST).inner_pids[1])
    cells.host.run(["/usr/bin/nsenter", "-t", number, "-m", "/bin/umount", "/mnt"], check=True)
