"""A link planted where root will make a directory, a file or a mount point.

bubblewrap CVE-2026-87766; runc CVE-2026-41579; LXC CVE-2015-1335; flatpak CVE-2024-42472. Attack A024. A start makes
nothing in what a tenant owns: its mount points are the image's and those of a tmpfs that did not exist a moment ago;
the home is only opened. So whatever lies in the home is neither followed nor changed, by start, stop, or a second
add-user.
"""

from __future__ import annotations

import os

import pytest

from .cells import FIRST, PLAIN, Canary, Cells

pytestmark = pytest.mark.host
USER = "escplant"
PLACES = (".cache", ".ssh", ".config", "tmp", "dev", "proc", "run", "etc", "root", ".bashrc", ".profile",
          ".bash_logout", ".hushlogin", ".jailctl", "pts", "home")  # fmt: skip


def test_a024_links_in_the_home(cells: Cells) -> None:
    host = cells.host
    before = cells.canary.digest()
    cells.make(USER)
    home, uid = cells.home(USER), host.ids(USER)[0]
    for place in PLACES:
        path = home / place
        path.unlink(missing_ok=True)
        path.symlink_to(cells.canary.path if "." not in place[1:] and "rc" not in place else cells.canary.deep)
        os.chown(path, uid, uid, follow_symlinks=False)
    for turn in range(2):
        host.jailctl("stop", USER)
        done = host.ssh(USER, f"readlink {' '.join(PLACES)} | sort -u")
        assert done.returncode == 0 and len(done.stdout.split()) == 2, done
        assert cells.keeper(USER)
        host.jailctl("add-user", USER, "--key", f"{host.key('another')}.pub", f"--set=linger={30 + turn}", check=False)
        assert cells.canary.digest() == before
    host.jailctl("remove-user", USER)
    assert cells.canary.digest() == before and not home.exists()


def test_a024_the_canary_would_show_it(cells: Cells) -> None:
    """What goes by path in the home, as mkdir -p and chown do, is led to the canary and changes it."""
    other = Canary(cells.host)
    link = cells.home(PLAIN) / ".cache"
    link.symlink_to(other.path)
    before = other.digest()
    for argv in (
        ["/bin/mkdir", "-p", f"/home/{PLAIN}/.cache/made"],
        ["/bin/chown", PLAIN, f"/home/{PLAIN}/.cache/file"],
    ):
        cells.host.run(argv, check=True)
        assert other.digest() != before
        before = other.digest()
    link.unlink()


def test_a024_a_start_makes_nothing_in_the_home(cells: Cells) -> None:
    home = cells.home(FIRST)
    names, changed = sorted(os.listdir(home)), home.stat().st_mtime_ns
    cells.host.jailctl("exec", FIRST, "--", "true")
    assert (sorted(os.listdir(home)), home.stat().st_mtime_ns) == (names, changed)
