"""Files that a jail shares with the host: who may write to one of them writes to the host.

jailkit's jk_cp and jk_init with --hardlink: the jail's programs *are* the host's. Attack A035. Here the jail shows the
host's /usr on purpose, read-only; all else in its root is a copy. So: no writable mount shows a file of the host but
the home, and no file of the shared ones can be written, whatever its own mode says.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from .cells import FIRST, Cells, mounts

pytestmark = pytest.mark.host
FILES = ("/usr/bin/env", "/usr/lib/os-release", "/bin/sh", "/etc/passwd", "/etc/group", "/etc/hostname", "/etc/profile",
         "/etc/bash.bashrc", "/etc/nsswitch.conf", "/etc/ld.so.cache", "/usr/share")  # fmt: skip


def digest(cells: Cells) -> str:
    """Of what the jail shows at these places, seen from the host: content, mode, owner, times."""
    total = hashlib.sha256()
    for name in FILES:
        path = Path(f"/proc/{cells.keeper(FIRST).pid}/root/{name}")
        status = path.stat()
        total.update(repr((status.st_mode, status.st_uid, status.st_mtime_ns, status.st_ctime_ns)).encode())
        total.update(path.read_bytes() if path.is_file() else b"")
    return total.hexdigest()


def test_a035_shared_files_cannot_be_written(cells: Cells) -> None:
    before = digest(cells)
    for path in FILES:
        tries = [["write", {"path": path, "data": "x"}], ["make", {"kind": "rename", "path": path, "to": path + ".x"}]]
        tries += [["make", {"kind": kind, "path": path}] for kind in ("truncate", "unlink", "chmod", "utime", "rmdir")]
        said = cells.first.ask("tries", verbs=tries)
        assert set(said) <= {"EROFS", "EBUSY", "ENOTDIR", "EISDIR", "EPERM", "EACCES", "EXDEV"}, (path, said)
        assert cells.first.says("make", kind="file", path=path + ".new") in ("EROFS", "EACCES")
        link = cells.first.says("make", kind="link", path=f"/home/{FIRST}/hard", to=path)
        assert link in ("EXDEV", "EPERM"), (path, link)
    assert digest(cells) == before


def test_a035_the_mode_is_not_what_holds_it(cells: Cells) -> None:
    """The same, where everybody may write."""
    image = mounts(cells.keeper(FIRST).pid)[0]["root"]
    profile = cells.host.root / f"var/lib/jailctl{image}/etc/profile"
    assert profile.exists(), image
    status = profile.stat()
    try:
        text = profile.read_text()
        profile.chmod(0o666)
        assert cells.first.ask("stats", path="/etc/profile")["mode"] & 0o777 == 0o666
        assert cells.first.says("write", path="/etc/profile", data="#") == "EROFS"
        copy = cells.host.root / "var/tmp/writable"  # below /var/lib/jailctl an ordinary user finds no way
        copy.write_text(text)
        copy.chmod(0o666)
        assert cells.plain.says("write", path="/var/tmp/writable", data="#") == ""
    finally:
        profile.chmod(status.st_mode & 0o7777)
        os.utime(profile, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a035_nothing_writable_is_the_hosts_but_the_home(cells: Cells) -> None:
    """By device: of the writable mounts, those that the host has as well."""
    own = {row["device"] for row in mounts(cells.host.init)}
    writable = [row for row in mounts(cells.keeper(FIRST).pid) if row["options"].split(",")[0] == "rw"]
    assert [row["point"] for row in writable if row["device"] in own] == [f"/home/{FIRST}"]
    for path in cells.home(FIRST).rglob("*"):
        assert path.is_dir() or path.lstat().st_nlink == 1, path
