"""Libraries and scripts that every program or shell of the jail loads: ld.so.preload, ld.so.cache, profile.d, bashrc.

Attack A037. Were they the tenant's to write, the next tenant of the same template (and root, entering) would run them.
"""

from __future__ import annotations

import os

import pytest

from .cells import FIRST, Cells

pytestmark = pytest.mark.host
NEW = ("/etc/ld.so.preload", "/etc/profile.d/x.sh", "/etc/environment", "/etc/sudoers", "/etc/shadow", "/etc/nologin",
       "/etc/ld.so.conf.d/x.conf", "/usr/lib/x.so", "/usr/local/bin/ls", "/lib/x86_64-linux-gnu/libnss_x.so.2",
       "/etc/gconv-modules", "/root/.bashrc", "/var/spool/x", "/opt/x", "/x")  # fmt: skip
OLD = ("/etc/ld.so.cache", "/etc/bash.bashrc", "/etc/profile", "/etc/passwd", "/etc/nsswitch.conf", "/etc/ld.so.conf")


def test_a037_what_is_loaded_by_all(cells: Cells) -> None:
    host = cells.host
    for path in ("/etc/ld.so.conf.d/esc.conf", "/etc/profile.d/esc.sh"):
        assert cells.root.says("write", path=path, data="", create=True) == ""
        host.run(["/bin/rm", path], check=True)
    before = cells.second.ask("names", path="/etc")
    refused = {path: cells.first.says("write", path=path, data="x", create=True) for path in NEW}
    assert set(refused.values()) <= {"EROFS", "EACCES", "ENOENT"}, refused
    refused = {path: cells.first.says("write", path=path, data="x") for path in OLD}
    assert set(refused.values()) <= {"EROFS", "EACCES"}, refused
    assert cells.second.ask("names", path="/etc") == before
    for path in NEW:
        assert cells.second.says("stats", path=path) in ("ENOENT", "EACCES"), path
        assert not os.path.lexists(f"/proc/{cells.keeper(FIRST).pid}/root{path}"), path


def test_a037_a_file_of_ones_own_is_ones_own(cells: Cells) -> None:
    """In /tmp and the home, which look the same in each jail, one may; the other sees nothing of it."""
    for path in ("/tmp/.bashrc", "/run/lock/x.so", "/dev/shm/x.so"):
        assert cells.first.says("write", path=path, data="x", create=True) == ""
        assert cells.second.says("stats", path=path) == "ENOENT"
        cells.first.ask("make", kind="unlink", path=path)
