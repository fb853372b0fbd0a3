"""Every way in ends in the jail (issue 2, section 4): way x observation, by what the kernel says on the host's side.

Each row is first taken by a user without a jail, for whom the observation must say the opposite: one that sees nothing
there would prove nothing here. Attacks A001, A002, A015, A031, A062 are judged by the same table.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

import pexpect
import pytest

from .host import Host, wait_for
from .host.observe import NAMESPACES, Seen
from .ways import ways
from .ways.people import FILES, JAILED, PLAIN, make_plain
from .ways.ways import INTERNAL_PORT, PASSWORD, WAYS, Way

pytestmark = pytest.mark.host
ENTER_A_REPOSITORY = ("git-push", "git-clone")
"""These run their hooks in the repository; the others start at home."""


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Host]:
    make_plain(host)
    host.run(["/usr/sbin/chpasswd"], input=f"{PLAIN}:{PASSWORD}\n", check=True)
    key = f"{host.key(JAILED)}.pub"
    host.jailctl("add-user", JAILED, "--key", key, "--password-stdin", input=f"{PASSWORD}\n")
    only = ["--template", "sftp-only", "--key", f"{host.key(FILES)}.pub", "--password-stdin"]
    host.jailctl("add-user", FILES, *only, input=f"{PASSWORD}\n")
    internal = host.stock_sshd_config.replace("/usr/lib/openssh/sftp-server", "internal-sftp")
    assert internal != host.stock_sshd_config
    with host.sshd_on(INTERNAL_PORT, internal):
        yield host


@dataclass(frozen=True)
class Inside:
    """What is compared between the ways: all of it must be the same for each."""

    root: tuple[int, int]
    namespaces: tuple[tuple[str, int], ...]
    ids: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    caps: tuple[tuple[str, int], ...]
    no_new_privs: bool
    seccomp: tuple[int, int]
    cgroups: tuple[tuple[str, str], ...]
    cwd: tuple[int, int]
    umask: int


def inside(process: Seen) -> Inside:
    return Inside(
        root=process.root,
        namespaces=tuple(sorted(process.namespaces.items())),
        ids=(process.uids, process.gids, process.groups),
        caps=tuple(sorted(process.caps.items())),
        no_new_privs=process.no_new_privs,
        seccomp=(process.seccomp, process.seccomp_filters),
        cgroups=tuple(sorted(process.cgroups.items())),
        cwd=process.cwd,
        umask=process.umask,
    )


def keeper_of(host: Host, process: Seen) -> Seen:
    """Pid 1 of the process's pid namespace."""
    return next(p for p in host.processes() if p.namespaces["pid"] == process.namespaces["pid"] and p.inner_pid == 1)


def of_user(host: Host, user: str) -> list[Seen]:
    uid = host.ids(user)[0]
    return [process for process in host.processes() if uid in process.uids]


reference: dict[str, Inside] = {}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_without_a_jail_the_same_observations_say_host(people: Host, way: Way) -> None:
    init = people.processes()[0]
    with way.open(people, PLAIN) as process:
        assert process.uids == (people.ids(PLAIN)[0],) * 4
        assert process.root == init.root
        assert process.namespaces == init.namespaces
        assert process.caps["CapBnd"] != 0 and not process.no_new_privs
        assert (process.seccomp, process.seccomp_filters) == (0, 0)
        assert dumpable(process) or process.argv[0] != "sleep"  # sshd and sftp-server see to themselves
        check_descriptors(process, way)  # also for the host's own mounts, so the check knows a mount where it sees one


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_it_ends_in_the_jail(people: Host, way: Way) -> None:
    init = people.processes()[0]
    uid, gid, _groups = people.ids(JAILED)
    with way.open(people, JAILED) as process:
        keeper = keeper_of(people, process)
        assert process.root == keeper.root and process.root != init.root
        assert process.namespaces == keeper.namespaces
        assert [name for name in NAMESPACES if process.namespaces[name] == init.namespaces[name]] == []
        assert (process.uids, process.gids, process.groups) == ((uid,) * 4, (gid,) * 4, (gid,))
        assert set(process.caps.values()) == {0}
        assert process.no_new_privs
        assert process.seccomp == 2 and process.seccomp_filters >= 1
        home = os.stat(people.root / "home" / JAILED)
        assert process.cwd == (home.st_dev, home.st_ino) or way.name in ENTER_A_REPOSITORY
        assert process.cgroups == keeper.cgroups != init.cgroups
        check_descriptors(process, way)
        check_nobody_outside(people, process)
        seen = inside(process)
    if way.name not in ENTER_A_REPOSITORY:
        assert seen == reference.setdefault("first", seen)


TRANSFERS = ("sftp-external", "sftp-internal", "scp-s")


@pytest.mark.parametrize("way", [way for way in WAYS if way.name not in ENTER_A_REPOSITORY], ids=lambda way: way.name)
def test_with_files_only_it_ends_in_the_directory_or_is_refused(
    people: Host, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, gid, groups = people.ids(FILES)
    if way.name not in TRANSFERS:
        monkeypatch.setattr(ways, "SECONDS", 2.0)
        with pytest.raises((AssertionError, OSError, pexpect.exceptions.ExceptionPexpect)), way.open(people, FILES):
            pass
        assert [process.argv for process in of_user(people, FILES) if not process.name.startswith("sshd")] == []
        return
    init, home = people.processes()[0], os.stat(people.root / "home" / FILES)
    with way.open(people, FILES) as process:
        assert process.name.startswith("sshd") and process.namespaces == init.namespaces
        for each in of_user(people, FILES):
            assert each.root == (home.st_dev, home.st_ino) and not dumpable(each)
            assert (each.uids, each.gids, each.groups) == ((uid,) * 4, (gid,) * 4, tuple(groups))
            assert each.caps["CapEff"] == each.caps["CapPrm"] == each.caps["CapInh"] == 0
        for number, kind in process.fd_kinds.items():
            assert kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR) or process.fds[number].endswith("/files/big")


def check_descriptors(process: Seen, way: Way) -> None:
    """Nothing that could be climbed out by: every file, directory or device is of a mount in the jail (A002, A031)."""
    with open(f"/proc/{process.pid}/mountinfo") as file:
        mounts = {line.split()[0] for line in file}
    for number, kind in process.fd_kinds.items():
        if kind not in (stat.S_IFIFO, stat.S_IFSOCK):
            assert mount_id(process, number) in mounts, (number, process.fds)
    if process.argv[0] == "sleep":
        assert set(process.fds) == {0, 1, 2}
    if way.tty:
        assert process.fds[0].startswith("/dev/pts/")


def mount_id(process: Seen, number: int) -> str:
    with open(f"/proc/{process.pid}/fdinfo/{number}") as file:
        return next(line.split()[1] for line in file if line.startswith("mnt_id:"))


def dumpable(process: Seen) -> bool:
    """Whether others of its uid may trace it: the kernel gives the files in /proc/PID of one that is not to root."""
    return os.stat(f"/proc/{process.pid}/environ").st_uid == process.uids[1]


def check_nobody_outside(host: Host, process: Seen) -> None:
    """No process of the user's uid outside, sshd's child and the door's parent aside (design.md, law 4)."""
    init = host.processes()[0]
    for other in of_user(host, JAILED):
        same = {name for name in NAMESPACES if other.namespaces[name] == process.namespaces[name]}
        if same == set(NAMESPACES):
            continue
        assert not dumpable(other), f"dumpable outside: {other.argv}"
        if other.name == "door":
            assert same == set(NAMESPACES) - {"pid"}, other
            assert other.caps["CapEff"] == other.caps["CapPrm"] == 0
        else:
            assert other.argv[0].startswith(f"sshd: {JAILED}") and other.namespaces == init.namespaces, other


def test_all_ways_are_in_the_table() -> None:
    """One line a way of section 4 of the issue."""
    names = {way.name for way in WAYS}
    assert names >= {
        "ssh",
        "ssh-tt-command",
        "ssh-command",
        "sftp-external",
        "sftp-internal",
        "scp-O",
        "scp-s",
        "rsync",
    }
    assert names >= {"git-push", "git-clone", "su-shell", "su-command", "login"}


def test_a_second_session_joins_the_first_ones_processes(people: Host) -> None:
    with people.ssh_spawn(JAILED, "sleep 4321"):
        wait_for(lambda: any(p.argv == ("sleep", "4321") for p in people.processes()), 10)
        assert "sleep 4321" in people.ssh(JAILED, "ps -e -o args").stdout
        assert people.ssh(JAILED, "pkill -x sleep; echo $?").stdout == "0\n"
        wait_for(lambda: not any(p.argv == ("sleep", "4321") for p in people.processes()), 5)


def test_the_jail_shows_none_of_the_hosts_processes(people: Host) -> None:
    with people.spawn(["/bin/sleep", "5432"]):
        assert "sleep 5432" in people.ssh(PLAIN, "ps -e -o args").stdout
        assert "sleep 5432" not in people.ssh(JAILED, "ps -e -o args").stdout
