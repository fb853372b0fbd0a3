"""Files made with whatever umask the administrator's shell happens to have.

Attack A199. What jailkit makes has the same owner and mode under umask 000 and 077 as ever: nothing that others may
write, no secret that they may read, and nothing that sshd or a tenant's own processes need closed to them. (./install
begins with a umask of its own; what it made is looked at here.)
"""

from __future__ import annotations

import re
import stat

import pytest

from ..host import Host
from .cells import Cells

pytestmark = pytest.mark.host
TREES = ("etc/jailctl", "var/lib/jailctl", "run/jailctl")
SECRET = ("var/lib/jailctl/state.db", "etc/jailctl/jails.d", "run/jailctl/root")
OPEN = {"etc/jailctl/keys": 0o755, "var/lib/jailctl/jails": 0o711, "var/lib/jailctl/images": 0o711,
        "run/jailctl": 0o755, "run/jailctl/jails": 0o711, "run/jailctl/names": 0o711}  # fmt: skip


def modes(host: Host, user: str) -> dict[str, tuple[int, int, bool, bool]]:
    """By path, with the user's name and uid and what is random taken out: kind and mode, owner (0, else the user)."""
    uid = re.compile(rf"\b{host.ids(user)[0]}\b")  # as a whole: the name of some contents may have its digits by chance
    found = {}
    home = f"home/{user}"
    for tree in (*TREES, home):
        for path in [host.root / tree, *(host.root / tree).rglob("*")]:
            status = path.lstat()
            name = str(path.relative_to(host.root))
            if tree != home and user not in name and not uid.search(name) and name not in (*TREES, *SECRET, *OPEN):
                continue
            name = uid.sub("UID", name.replace(user, "USER"))
            if stat.S_ISLNK(status.st_mode) or "/sessions/" in name or name.endswith("probe.py"):
                continue
            found[name] = (
                stat.S_IMODE(status.st_mode),
                stat.S_IFMT(status.st_mode),
                status.st_uid == 0,
                status.st_gid == 0,
            )
    return found


def test_a199_a_user_under_any_umask(cells: Cells) -> None:
    host, seen = cells.host, {}
    for umask in ("022", "000", "077"):
        user = f"escmask{umask}"
        add = f"umask {umask}; jailctl add-user {user} --key {host.key(user)}.pub && jailctl start {user}"
        host.run(["/bin/sh", "-c", add], check=True, env={"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin"})
        assert host.ssh(user, "umask; touch made; stat -c %a made").stdout == "0022\n644\n"
        (host.root / "home" / user / "made").unlink()
        seen[umask] = modes(host, user)
        host.jailctl("remove-user", user)
    assert len(seen["022"]) > 20 and seen["000"] == seen["022"] == seen["077"]
    for name, (mode, kind, roots, _group) in seen["022"].items():
        assert kind == stat.S_IFLNK or not mode & 0o022, name
        assert roots or name.startswith("home/USER"), name
        assert not mode & 0o077 or not name.startswith(SECRET), (name, oct(mode))
    for name, mode in OPEN.items():
        assert seen["022"][name][0] == mode, name


def test_a199_what_is_installed(cells: Cells) -> None:
    """Root's, writable by nobody else, without any special bit."""
    found = 0
    for tree in ("opt/jailctl", *TREES):
        for path in [cells.host.root / tree, *(cells.host.root / tree).rglob("*")]:
            status = path.lstat()
            found += 1
            assert status.st_uid == 0 and not (status.st_mode & 0o022 and not stat.S_ISLNK(status.st_mode)), path
            assert not status.st_mode & 0o6000 or tree == "opt/jailctl" and path.is_dir(), path
    assert found > 1000
    assert stat.S_IMODE((cells.host.root / "tmp").stat().st_mode) & 0o022, "the look can tell"


def test_a199_setup_under_any_umask(fresh_host: Host) -> None:
    fresh_host.run(["/bin/sh", "-c", "umask 000; exec /usr/local/sbin/jailctl setup"], check=True, timeout=60)
    paths = [
        *TREES,
        "etc/ssh/sshd_config.d/000-jailctl.conf",
        "etc/pam.d/common-session",
        "usr/share/pam-configs/jailctl",
    ]
    for tree in paths:
        top = fresh_host.root / tree
        for path in [top, *(top.rglob("*") if top.is_dir() else [])]:
            status = path.lstat()
            assert status.st_uid == 0 and (path.is_symlink() or not status.st_mode & 0o022), path
