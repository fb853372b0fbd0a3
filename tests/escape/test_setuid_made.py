"""A setuid program of the tenant's own, run by somebody who has no jail: a process of her uid outside it.

Attack A042 (a process of the same uid outside is an escape): it may enter her jail with all rights over it, as her uid
owns the user namespace, and hand in a directory of the host; systemd's RestrictSUIDSGID= is for the same. The home is
on the host's file system, which knows nothing of jails, so the bit must not come to be.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import pytest

from .cells import FIRST, PLAIN, Cell, Cells
from .numbers import numbers

pytestmark = pytest.mark.host
CREATE, TMPFILE, WRITE, AT_FDCWD = os.O_CREAT, os.O_TMPFILE, os.O_WRONLY, -100
ANOTHER = ["/usr/bin/setpriv", "--reuid=1", "--regid=1", "--clear-groups"]


@pytest.fixture
def mine(cells: Cells) -> Iterator[str]:
    """A program of each user's own, of which ``{}`` is the user's name, in a home that others may pass."""
    path = "/home/{}/mine"
    for cell, user in ((cells.plain, PLAIN), (cells.first, FIRST)):
        cell.ask("run", argv=["/bin/cp", "/bin/sleep", path.format(user)])
        cells.home(user).chmod(0o755)
    yield path
    for user in (PLAIN, FIRST):
        cells.host.run(["/bin/rm", "-rf", path.format(user), f"/home/{user}/new"], check=True)
        cells.home(user).chmod(0o700)


def euid_for_another(cells: Cells, path: str) -> int:
    """The effective uid that somebody else's process of that program has."""
    done = cells.host.run([*ANOTHER, "/bin/sh", "-c", f"{path} 30 & sleep 0.1; grep Uid: /proc/$!/status; kill $!"])
    return int(done.stdout.split()[2])


def ways(path: str) -> dict[str, list[list[object]]]:
    n = numbers()
    here, new, mode = {"s": path}, {"s": path.replace("mine", "new")}, 0o4755
    how = (CREATE | WRITE).to_bytes(8, "little").hex() + mode.to_bytes(8, "little").hex() + "00" * 8
    opened = [n["openat"], AT_FDCWD, here, 0, 0]
    both = {
        "fchmod": [opened, [n["fchmod"], {"step": 0}, mode]],
        "fchmodat": [[n["fchmodat"], AT_FDCWD, here, mode]],
        "fchmodat2": [[n["fchmodat2"], AT_FDCWD, here, mode, 0]],
        "openat": [[n["openat"], AT_FDCWD, new, CREATE | WRITE, mode]],
        "openat with O_TMPFILE": [[n["openat"], AT_FDCWD, {"s": os.path.dirname(path)}, TMPFILE | WRITE, mode]],
        "openat2": [[n["openat2"], AT_FDCWD, new, {"hex": how}, 24]],
        "mknodat": [[n["mknodat"], AT_FDCWD, new, stat.S_IFREG | mode, 0]],
    }
    if "chmod" in n:
        both["chmod"] = [[n["chmod"], here, mode]]
        both["open"] = [[n["open"], new, CREATE | WRITE, mode]]
        both["creat"] = [[n["creat"], new, mode]]
        both["mknod"] = [[n["mknod"], new, stat.S_IFREG | mode, 0]]
    return both


def last(cell: Cell, calls: list[list[object]]) -> str:
    return cell.calls(*calls)[-1]


@pytest.mark.parametrize("way", sorted(ways("")))
def test_a042_a_setuid_program_is_not_made(cells: Cells, mine: str, way: str) -> None:
    # 6.5 and older have no fchmodat2
    assert last(cells.plain, ways(mine.format(PLAIN))[way]) in ("", "ENOSYS" if way == "fchmodat2" else "")
    assert last(cells.first, ways(mine.format(FIRST))[way]) == ("ENOSYS" if way == "openat2" else "EPERM")
    for name in ("mine", "new"):
        path = cells.home(FIRST) / name
        assert not path.exists() or not path.stat().st_mode & 0o4000


def test_a042_what_it_would_be_good_for(cells: Cells, mine: str) -> None:
    cells.plain.ask("make", kind="chmod", path=mine.format(PLAIN), mode=0o4755)
    assert euid_for_another(cells, mine.format(PLAIN)) == cells.plain.uid
    assert cells.first.says("make", kind="chmod", path=mine.format(FIRST), mode=0o4755) == "EPERM"
    assert euid_for_another(cells, mine.format(FIRST)) == 1


def test_a042_over_sftp(cells: Cells, mine: str) -> None:
    cells.host.sftp(PLAIN, f"-chmod 4755 {mine.format(PLAIN)}\n")
    cells.host.sftp(FIRST, f"-chmod 4755 {mine.format(FIRST)}\n")
    modes = [stat.S_IMODE((cells.home(user) / "mine").stat().st_mode) for user in (PLAIN, FIRST)]
    assert modes[0] & 0o4000 and not modes[1] & 0o4000


def test_a042_other_modes_are_as_ever(cells: Cells, mine: str) -> None:
    """Also those with the setgid bit, which directories of a group need, and an open that makes nothing."""
    n = numbers()
    for mode in (0o2755, 0o1777, 0o700):
        assert cells.first.says("make", kind="chmod", path=mine.format(FIRST), mode=mode) == ""
        assert stat.S_IMODE((cells.home(FIRST) / "mine").stat().st_mode) == mode
    assert cells.first.calls([n["openat"], AT_FDCWD, {"s": mine.format(FIRST)}, 0, 0o7777]) == [""]
