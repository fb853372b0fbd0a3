"""Programs that run with more rights than who starts them: setuid, setgid, file capabilities.

Attack A033. The jail shows the host's /usr, with su and mount in it: nosuid on every mount and no_new_privs make
ordinary programs of them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from .cells import FIRST, PLAIN, Cells

pytestmark = pytest.mark.host
# struct vfs_cap_data: revision 2, effective; permitted CAP_NET_ADMIN and CAP_NET_RAW; nothing inheritable
SET_BY_FILE = bytes.fromhex("01000002" + "00300000" + "00000000" * 3)


@pytest.fixture
def planted(cells: Cells) -> Path:
    """sleep, three times in each home: setuid root, setgid root, with file capabilities. Root plants them."""
    for user in (PLAIN, FIRST):
        for name, mode in (("suid", 0o4755), ("sgid", 0o2755), ("caps", 0o755)):
            path = cells.home(user) / name
            cells.host.run(["/bin/cp", "/bin/sleep", f"/home/{user}/{name}"], check=True)
            os.chmod(path, mode)
        os.setxattr(cells.home(user) / "caps", "security.capability", SET_BY_FILE)
    return cells.home(FIRST)


def test_a033_planted_in_the_home(cells: Cells, planted: Path) -> None:
    assert stat.S_IMODE((planted / "suid").stat().st_mode) == 0o4755
    rights = {}
    for cell, user in ((cells.plain, PLAIN), (cells.first, FIRST)):
        for name in ("suid", "sgid", "caps"):
            with cell.held("become", argv=[f"/home/{user}/{name}", "60"]) as (_, process):
                rights[user, name] = process.uids[1], process.gids[1], process.caps["CapEff"]
    own, gid, _ = cells.host.ids(PLAIN)
    assert rights[PLAIN, "suid"][0] == 0 and rights[PLAIN, "sgid"][1] == 0 and rights[PLAIN, "caps"][2] == 0x3000
    own, gid, _ = cells.host.ids(FIRST)
    for name in ("suid", "sgid", "caps"):
        assert rights[FIRST, name] == (own, gid, 0), name


@pytest.mark.parametrize("program", ["su", "mount", "passwd", "chfn"])
def test_a033_the_hosts_own(cells: Cells, program: str) -> None:
    """Stopped at the first word of its usage, for the host to see whose rights it has."""
    argv = [f"/usr/bin/{program}", "--help"]
    with cells.plain.held("become", argv=argv, clogged=True) as (_, process):
        assert process.uids[1] == 0
    with cells.first.held("become", argv=argv, clogged=True) as (_, process):
        assert process.uids == (cells.first.uid,) * 4 and process.caps["CapPrm"] == 0 and process.no_new_privs


def test_a033_nothing_of_the_jails_own_has_such_a_bit(cells: Cells) -> None:
    """The image, the rendered files, the skeleton of a home: what is not the host's /usr."""
    var = cells.host.root / "var/lib/jailctl"
    found = 0
    for top in (*(var / "images").iterdir(), *(var / "jails").iterdir()):
        for path in top.rglob("*"):
            status = path.lstat()
            found += 1
            assert not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o6000, path
            assert "security.capability" not in os.listxattr(path, follow_symlinks=False), path
    assert found > 300
