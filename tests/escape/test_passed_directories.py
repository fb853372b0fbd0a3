"""A directory's descriptor passed from one jail to another: with it the receiver stands where its own root is not
above.

FreeBSD PR 262179, D155543. Attack A015 (also where jails share nothing but the host: neither by a path nor by an
abstract name can two of them meet). A016, descriptors sent to a daemon: there is no daemon yet, and hook and door read
from no socket.
"""

from __future__ import annotations

import pytest

from .cells import FIRST, PLAIN, SECOND, Cells, mounts

pytestmark = pytest.mark.host


def test_a015_by_a_socket(cells: Cells) -> None:
    with cells.plain.held("passed_directory", path="/tmp/esc-pass", target="/srv", role="give"):
        assert "canary-" in cells.plain.ask("passed_directory", path="/tmp/esc-pass", target="", role="take")
    for path in ("/tmp/esc-pass1", "/dev/shm/esc-pass", "/run/lock/esc-pass", f"/home/{FIRST}/esc-pass", "\0esc-pass"):
        hers = path.replace(FIRST, SECOND)
        with cells.first.held("passed_directory", path=path, target="/", role="give"):
            said = cells.second.says("passed_directory", path=path, target="", role="take")
            assert said == ("ECONNREFUSED" if path[0] == "\0" else "ENOENT"), path
        with cells.second.held("passed_directory", path=hers, target="/", role="give"):
            taken = cells.second.ask("passed_directory", path=hers, target="", role="take")
            assert "home" in taken, "within one jail it works"
        for cell, name in ((cells.first, path), (cells.second, hers)):
            if path[0] != "\0":
                cell.ask("make", kind="unlink", path=name)


def test_a015_two_jails_share_nothing_that_can_be_written(cells: Cells) -> None:
    """Two mounts share what they show when device and root are the same, or one's root is above the other's."""

    def writable(user: str) -> set[tuple[str, str]]:
        rows = mounts(cells.keeper(user).pid)
        return {(row["device"], row["root"]) for row in rows if row["options"].split(",")[0] == "rw"}

    first, second = writable(FIRST), writable(SECOND)
    assert len(first) > 5
    for device, root in first:
        for other_device, other_root in second:
            above = root == other_root or other_root.startswith(root.rstrip("/") + "/")
            below = root.startswith(other_root.rstrip("/") + "/")
            assert device != other_device or not (above or below), (root, other_root)
    with cells.plain.held("status") as (_, process):
        assert {row["device"] for row in mounts(process.pid)} & {device for device, _ in first}, (
            f"the host has {PLAIN}'s"
        )
