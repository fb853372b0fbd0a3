"""Links and ``..`` that lead out, through everything that takes a path.

A jail that is only a directory to start in is left by them (sftp servers and file managers that join strings). Attack
A005. API and restore do not exist yet.
"""

from __future__ import annotations

import pytest

from .cells import FIRST, PLAIN, Cell, Cells

pytestmark = pytest.mark.host


def links(cells: Cells, home: str) -> dict[str, str]:
    """Name: target. The last is the end of a chain of 39 links (40 are followed, path_resolution(7))."""
    target = cells.canary.deep
    up = "../" * 12
    made = {"absolute": target, "relative": up + target[1:], "crooked": f"{home}/links/.././{up}/srv/../{target[1:]}",
            "directory": "/srv", "link0": target}  # fmt: skip
    return made | {f"link{n}": f"{home}/links/link{n - 1}" for n in range(1, 39)}


def plant(cells: Cells, cell: Cell, user: str) -> list[str]:
    home = f"/home/{user}"
    cell.ask("make", kind="mkdir", path=f"{home}/links", mode=0o755)
    for name, to in links(cells, home).items():
        cell.ask("make", kind="symlink", path=f"{home}/links/{name}", to=to)
    inner = f"directory{cells.canary.deep.removeprefix('/srv')}"
    return [f"{home}/links/{name}" for name in ("absolute", "relative", "crooked", "link38", inner)]


def clean(cells: Cells, user: str) -> None:
    cells.host.run(["/bin/rm", "-rf", f"/home/{user}/links", f"/home/{user}/got"], check=True)


def climbs(cells: Cells) -> list[str]:
    up = "../" * 20
    return [cells.canary.deep, up + cells.canary.deep[1:], f"/usr/share/{up}{cells.canary.deep[1:]}",
            f"/tmp/.//..//./{up}{cells.canary.deep[1:]}"]  # fmt: skip


def test_a005_links_and_dots_in_system_calls(cells: Cells) -> None:
    try:
        for path in plant(cells, cells.plain, PLAIN) + climbs(cells):
            assert cells.canary.secret in cells.plain.ask("read", path=path), path
        for path in plant(cells, cells.first, FIRST) + climbs(cells):
            assert cells.first.says("read", path=path) == "ENOENT", path
            assert cells.first.says("stats", path=path) == "ENOENT", path
            assert cells.first.says("write", path=path, data="x") == "ENOENT", path
            assert cells.first.says("make", kind="truncate", path=path) == "ENOENT", path
    finally:
        clean(cells, PLAIN)
        clean(cells, FIRST)


@pytest.mark.parametrize("user", [PLAIN, FIRST])
def test_a005_links_and_dots_over_sftp_and_scp(cells: Cells, user: str) -> None:
    """The server reads what its user may read: where that is the host, the canary comes; from a jail it does not."""
    host, drop = cells.host, f"/var/tmp/drop-{user}"
    host.run(["/bin/mkdir", "-m", "777", drop], check=True)
    try:
        paths = plant(cells, cells.plain if user == PLAIN else cells.first, user) + climbs(cells)
        host.run(["/bin/mkdir", "/tmp/got"], check=True)
        batch = "".join(f"-get {path} /tmp/got/{number}\n-ls {path}\n" for number, path in enumerate(paths))
        host.sftp(user, batch + f"-put /etc/hostname {'../' * 12}{drop[1:]}/new\n")
        for number, path in enumerate(paths):
            host.scp(user, [f":{path}"], f"/tmp/got/scp{number}", opts=["-O"] if number % 2 else ["-s"])
        found = [path.name for path in (host.root / "tmp/got").iterdir() if cells.canary.secret in path.read_text()]
        if user == PLAIN:
            assert len(found) == 2 * len(paths) and (host.root / drop[1:] / "new").exists()
        else:
            assert found == [] and not (host.root / drop[1:] / "new").exists()
    finally:
        host.run(["/bin/rm", "-rf", "/tmp/got"], check=True)
        clean(cells, user)


def test_a005_a_link_to_what_the_jail_has_works(cells: Cells) -> None:
    """A ban on all links would be refusal on the wrong ground."""
    for path in ("/var/run/lock", "/bin/sh", "/etc/os-release", "/dev/fd"):
        assert cells.first.says("stats", path=path) == "", path
