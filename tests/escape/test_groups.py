"""Groups of the host that come along: docker, disk, adm, or those of whoever started the jail.

CVE-2021-41617 (sshd's helpers), CVE-2024-48651 (proftpd#1830), CVE-2022-2989 and CVE-2022-36109 (podman, moby): a
session with groups too many, or without one that forbids. Attack A078.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ..host import Host
from ..ways.ways import WAYS, Way
from .world import Pair, pair

pytestmark = pytest.mark.host
USER = "groups"
EXTRA = ("adm", "disk", "shadow", "staff", "video")
CHOSEN = [way for way in WAYS if way.name in ("ssh", "ssh-command", "sftp-external", "su-command", "login")]


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    """Both are in groups of the system's. The jail is started by a su of somebody in still others."""
    both = pair(host, USER)
    for user in (both.free, USER):
        host.run(["/usr/sbin/usermod", "-aG", ",".join(EXTRA), user], check=True)
    host.run(["/usr/bin/setpriv", "--groups", "0,1,6,42", "/bin/su", USER, "-c", "true"], check=True)
    yield both
    for group in EXTRA:
        host.run(["/usr/bin/gpasswd", "-d", both.free, group], check=True)


@pytest.mark.parametrize("way", CHOSEN, ids=lambda way: way.name)
def test_a078_exactly_her_own(people: Pair, way: Way) -> None:
    uid, gid, groups = people.host.ids(people.free)
    with way.open(people.host, people.free) as process:
        assert len(process.groups) == len(groups) == len(EXTRA) + 1, "the probe does not see groups"
    uid, gid, groups = people.host.ids(USER)
    assert len(groups) == len(EXTRA) + 2
    with way.open(people.host, USER) as process:
        assert process.groups == (gid,)
        assert (process.uids, process.gids) == ((uid,) * 4, (gid,) * 4)
    for other in people.host.processes():
        if uid in other.uids and other.name in ("keeper", "door"):
            assert other.groups == (gid,)


CHANGE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, *args):
    result = getattr(libc, name)(*args)
    print(name, args[0] if name != "setgroups" else "", result, ctypes.get_errno() if result else 0)
attempt("setgroups", 0, None)
one = (ctypes.c_uint * 1)(0)
attempt("setgroups", 1, one)
for gid in (0, 4, 42, 65534):
    attempt("setgid", gid)
    attempt("setresgid", gid, gid, gid)
print(os.getgroups(), os.getresgid())
"""


def test_a078_they_cannot_be_changed(people: Pair) -> None:
    """For root the same script succeeds. Nor are there maps that name a group of the host's."""
    gid = people.host.ids(USER)[1]
    script = people.give(USER, "change.py", CHANGE)
    assert " -1 " not in people.host.run(["/usr/bin/python3", "-I", "-c", CHANGE]).stdout
    done = people.host.ssh(USER, f"python3 -I {script}; cat /proc/self/gid_map; newgrp adm </dev/null; id -G")
    lines = done.stdout.splitlines()
    attempts = [line for line in lines if line.startswith("set")]
    assert len(attempts) == 10 and all(line.endswith((" -1 1", " -1 22")) for line in attempts), lines
    assert f"[{gid}] ({gid}, {gid}, {gid})" in lines and lines[-1] == str(gid)
    maps = [tuple(map(int, line.split())) for line in lines if len(line.split()) == 3 and line.split()[0].isdigit()]
    assert sum(size for *_, size in maps) == (1024 if gid < 1024 else 1025)
    host_side = {(inner, outer, size) for inner, outer, size in maps if outer < 700_000_000}
    assert host_side == {(gid, gid, 1)}


def test_a078_a_group_that_forbids_still_does(people: Pair) -> None:
    """Mode 0604: others may read it, the group may not."""
    host = people.host
    for user in (people.free, USER):
        path = people.home(user) / "not-for-the-group"
        path.write_text("content\n")
        os.chown(path, 0, host.ids(user)[1])
        path.chmod(0o604)
    command = "cat not-for-the-group; cp not-for-the-group x"
    assert "content" in host.run(["/bin/cat", f"/home/{people.free}/not-for-the-group"], user="daemon").stdout
    for user in (people.free, USER):
        done = host.ssh(user, command)
        assert done.returncode != 0 and done.stdout == "" and "Permission denied" in done.stderr


def test_a078_files_of_her_other_groups_stay_closed(people: Pair) -> None:
    """In a place that both see: her home. The ordinary user reads it by her group."""
    adm = int(people.host.run(["/usr/bin/getent", "group", "adm"]).stdout.split(":")[2])
    for user, opens in ((people.free, True), (USER, False)):
        path = people.home(user) / "for-adm"
        path.write_text("secret\n")
        os.chown(path, 0, adm)
        path.chmod(0o040)
        assert (people.host.ssh(user, "cat for-adm").stdout == "secret\n") == opens
