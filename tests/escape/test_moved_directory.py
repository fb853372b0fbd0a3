"""A directory moved out of the jail while somebody stands in it: ``..`` then leads on from its new place.

chroot(2), NOTES; the same for a bind mount, where Linux since 4.3 answers ENOENT once the way up has left what is bound
(path_connected()). Attack A003. The product itself moves or takes away a home only after it has ended the sessions.
"""

from __future__ import annotations

import pytest

from .cells import FIRST, PLAIN, SECOND, Cell, Cells

pytestmark = pytest.mark.host
UP = ("..", "../../home", "/proc/self/fd/3/..", "/proc/self/cwd/..", "../../../../../home")


def make(cells: Cells, user: str) -> str:
    path = f"/home/{user}/d"
    cells.host.run(["/bin/mkdir", "-m", "777", path], check=True)
    return path


def looks(cell: Cell) -> list[str]:
    """What each way up says: an errno, "" where something else is listed, "out" for the host's /home."""
    said = []
    for path in UP:
        refused = cell.says("names", path=path)
        said.append(refused or ("out" if {SECOND, PLAIN} <= set(cell.ask("names", path=path)) else ""))
    return said


@pytest.mark.parametrize("who", [PLAIN, FIRST])
def test_a003_moved_out_by_the_administrator(cells: Cells, who: str) -> None:
    path = make(cells, who)
    shell = f"cd {path} && exec {{}} 3<."
    with cells.without(shell) if who == PLAIN else cells.enter(who, shell) as cell:
        assert looks(cell)[0] == ""  # her home
        cells.host.run(["/bin/mv", path, f"/home/moved-{who}"], check=True)  # a rename: it is one file system
        said = looks(cell)
    cells.host.run(["/bin/rmdir", f"/home/moved-{who}"], check=True)
    assert said == (["out"] * len(UP) if who == PLAIN else ["ENOENT"] * len(UP))


def test_a003_the_product_ends_the_sessions_first(cells: Cells) -> None:
    """remove-user with an archive, and with a home that is kept: nobody stands in it any more when that is done."""
    for user, option in (("escmove1", "--archive=/var/tmp/escmove1.tar.gz"), ("escmove2", "--keep-home")):
        cells.make(user)
        path = make(cells, user)
        cell = cells.enter(user, f"cd {path} && exec {{}} 3<.")
        uid = cell.uid
        assert cell.ask("names", path="..")
        cells.host.jailctl("remove-user", user, option)
        assert cell.process.wait(5) is not None
        assert [p.argv for p in cells.host.processes() if uid in p.uids] == []
