"""Using up what all share: memory of the jail's own file systems, inodes.

Attack A180, as far as it applies: /tmp, /var/tmp, /run and /dev/shm are one file system with a limit in bytes and one
in files. Not applicable yet: the home (quotas), processes and memory (A178, A179: limits of the control group),
sessions (A182); there is no option for them that could fail.
"""

from __future__ import annotations

import pytest

from .cells import Cells

pytestmark = pytest.mark.host
MOST, FILES = 256 << 20, 65536


def test_a180_bytes(cells: Cells) -> None:
    assert cells.plain.ask("fill", path="/tmp/escfill", size=MOST + (8 << 20)) == [MOST + (8 << 20), ""]
    for place in ("/tmp", "/dev/shm", "/run/lock", "/var/tmp"):
        done, said = cells.first.ask("fill", path=f"{place}/escfill", size=2 * MOST)
        assert said == "ENOSPC" and MOST // 2 < done <= MOST, place
    with cells.first.held("call", steps=[]):
        assert cells.second.ask("fill", path="/tmp/escfill", size=8 << 20) == [8 << 20, ""]


def test_a180_files(cells: Cells) -> None:
    assert cells.plain.ask("fill", path="/tmp/escfill", size=0, count=FILES + 100) == [FILES + 100, ""]
    done, said = cells.first.ask("fill", path="/tmp/escfill", size=0, count=2 * FILES)
    assert said == "ENOSPC" and FILES // 2 < done <= FILES


def test_a180_one_full_jail_is_not_anothers(cells: Cells) -> None:
    path = "/tmp/escfull"
    cells.first.ask("run", argv=["/bin/sh", "-c", f"head -c {2 * MOST} /dev/zero >{path}"])
    try:
        assert cells.first.says("write", path="/dev/shm/x", data="x", create=True) in ("ENOSPC", "")
        assert cells.second.says("write", path="/dev/shm/x", data="x", create=True) == ""
        assert cells.host.ssh("esc1", "echo in").stdout == "in\n", "a full /tmp keeps nobody out"
    finally:
        cells.first.ask("make", kind="unlink", path=path)
