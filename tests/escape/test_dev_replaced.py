"""Places that a start mounts on, replaced by links in the tree it starts from.

runc CVE-2025-52565, CVE-2026-41579 (/dev/console, /dev/ptmx). Attack A057. A jail's image is root's and named by its
content, so no tenant can do that; here root plays a template that can. The start works in a mount namespace of its own
and refuses, or leaves the link and what it leads to alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cells import Cells

pytestmark = pytest.mark.host
USER = "escimage"
PLACES = ("dev", "proc", "tmp", "run", "home", "usr", "etc", "var", "var/tmp", "etc/passwd")


@pytest.fixture(scope="module")
def image(_cells: Cells) -> Iterator[Path]:
    """A copy of the image that only this user's jail starts from."""
    _cells.make(USER)
    _cells.host.jailctl("stop", USER)
    recipe = _cells.host.root / f"var/lib/jailctl/jails/{USER}/recipe"
    text = recipe.read_text()
    images = _cells.host.root / "var/lib/jailctl/images"
    original, copy = images / _cells.host.image("shell"), images / "esccopy"
    shutil.copytree(original, copy, symlinks=True)
    recipe.write_text(text.replace("image \n", "image esccopy\n"))
    assert _cells.host.run(["/bin/su", USER, "-c", "id -un"]).stdout == f"{USER}\n"
    _cells.host.jailctl("stop", USER)
    yield copy / "root"
    recipe.write_text(text)
    shutil.rmtree(copy)


@pytest.mark.parametrize("place", PLACES)
def test_a057_a_link_where_something_is_mounted(cells: Cells, image: Path, place: str) -> None:
    path = image / place
    kept = path.with_name(path.name + ".kept")
    path.rename(kept)
    path.symlink_to(cells.canary.deep if place == "etc/passwd" else cells.canary.path)
    try:
        done = cells.host.run(["/bin/su", USER, "-c", "id -un; ls /dev/null /tmp; cat /etc/hostname"])
        assert cells.canary.secret not in done.stdout
        if done.returncode == 0:
            table = Path(f"/proc/{cells.keeper(USER).pid}/mountinfo").read_text()
            assert cells.canary.path not in table
        assert path.is_symlink()
    finally:
        cells.host.jailctl("stop", USER)
        path.unlink()
        kept.rename(path)


def test_a057_files_in_its_dev_are_not_used(cells: Cells, image: Path) -> None:
    """They are below what is mounted there: the nodes that count are made anew."""
    for name in ("ptmx", "console", "null", "pts"):
        (image / "dev" / name).symlink_to(cells.canary.deep)
    try:
        code = "test -c /dev/null && stat -Lc %t:%T /dev/ptmx && ls /dev"
        done = cells.host.run(["/bin/su", USER, "-c", code])
        assert done.returncode == 0 and done.stdout.startswith("5:2\n") and "console" not in done.stdout, done
        with cells.host.terminal(["/bin/su", USER, "-c", "tty"]) as terminal:
            terminal.expect("/dev/pts/0")
    finally:
        cells.host.jailctl("stop", USER)
        for name in ("ptmx", "console", "null", "pts"):
            os.unlink(image / "dev" / name)
