"""A login that goes on when what it is to enter is missing, stale, damaged or somebody else's.

hestiacp#4645 (a template that never came to a new user), polkit CVE-2019-6133 and others for reused pids; an empty
mount point instead of the disk. Attacks A188, A189, A196; refusals of issue 2, section 5, at login.

Each case says how it must end: "inside", where a start makes good what is wrong, or "refused" with the code in the log.
"""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable, Iterator

import pytest

from ..host import Host, wait_for
from . import damage
from .damage import Damage, Repair, broken, content, covered, gone, link, mode, owner
from .world import Pair, failures, free, in_jail, keeper, pair, sleeper

pytestmark = pytest.mark.host
USER, OTHER = "tenant", "neighbour"
UID, OTHER_UID = 1002, 1003
RUN, JAIL = f"run/jailctl/jails/{UID}", f"var/lib/jailctl/jails/{USER}"
HOME = f"home/{USER}"


@pytest.fixture(scope="module")
def people() -> Iterator[Pair]:
    with Host() as host:
        host.jailctl("setup")
        free(host)
        both = pair(host, USER)
        pair(host, OTHER)
        assert (host.ids(USER)[0], host.ids(OTHER)[0]) == (UID, OTHER_UID)
        assert host.ssh(OTHER, "hostname").stdout == f"{OTHER}\n"
        yield both


def nothing() -> None:
    """What a start has put right needs no repair."""


def remove(path: str) -> Damage:
    """For good: a login makes it anew."""

    def damage(host: Host) -> Repair:
        (host.root / path).unlink()
        return nothing

    return damage


def record(offset: int, layout: str, *values: object) -> Damage:
    """Another value in the entry record; for good."""

    def damage(host: Host) -> Repair:
        path = host.root / RUN / "entry"
        data = bytearray(path.read_bytes())
        struct.pack_into(layout, data, offset, *values)
        path.write_bytes(data)
        return nothing

    return damage


def anothers_record(host: Host) -> Repair:
    (host.root / RUN / "entry").write_bytes((host.root / f"run/jailctl/jails/{OTHER_UID}/entry").read_bytes())
    return nothing


def keeper_killed(host: Host) -> Repair:
    pid = keeper(host, USER).pid
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 5)
    return nothing


def pid_reused(host: Host) -> Repair:
    """The record's pid is now that of the neighbour's keeper, which is a process just like hers was."""
    keeper_killed(host)
    return record(24, "=i", keeper(host, OTHER).inner_pids[-2])(host)


def names_anothers(host: Host) -> Repair:
    path = host.root / f"run/jailctl/names/{USER}"
    path.unlink()
    path.symlink_to(f"../jails/{OTHER_UID}")
    return nothing


def names_a_path(target: str) -> Damage:
    def damage(host: Host) -> Repair:
        path = host.root / f"run/jailctl/names/{USER}"
        path.unlink()
        path.symlink_to(target)
        return nothing

    return damage


WARM: dict[str, tuple[str, Damage]] = {
    "keeper killed": ("inside", keeper_killed),
    "pid of another jail": ("inside", pid_reused),
    "no entry": ("inside", remove(f"{RUN}/entry")),
    "no name": ("inside", remove(f"run/jailctl/names/{USER}")),
    "entry empty": ("inside", content(f"{RUN}/entry", "")),
    "entry is garbage": ("inside", content(f"{RUN}/entry", b"\xff" * 3000)),
    "entry of another version": ("inside", record(0, "8s", b"JAILREC0")),
    "entry of another user": ("inside", anothers_record),
    "entry says another uid": ("inside", record(16, "=I", OTHER_UID)),
    "entry says root": ("inside", record(16, "=I", 0)),
    "entry says another namespace": ("inside", record(40, "=Q", 4026531837)),
    "entry says another start": ("inside", record(32, "=Q", 1)),
    "entry says pid 1": ("inside", record(24, "=i", 1)),
    "entry says another name": ("inside", record(48, "40s", OTHER.encode())),
    "entry is hers": ("login.path-unsafe", owner(f"{RUN}/entry", UID, UID)),
    "entry can be written by all": ("login.path-unsafe", mode(f"{RUN}/entry", 0o666)),
    "entry is a link": ("login.path-unsafe", link(f"{RUN}/entry", f"../{OTHER_UID}/entry")),
    "directory is hers": ("login.path-unsafe", owner(RUN, UID, UID)),
    "directory can be written by all": ("login.path-unsafe", mode(RUN, 0o777)),
    "jails can be written by all": ("login.path-unsafe", mode("run/jailctl/jails", 0o777)),
    "runtime directory can be written by all": ("login.path-unsafe", mode("run/jailctl", 0o777)),
    "sessions can be written by all": ("login.path-unsafe", mode(f"{RUN}/sessions", 0o777)),
    "name leads to another": ("inside", names_anothers),
    "name leads out": ("inside", names_a_path("../../../../srv")),
    "name leads to root": ("inside", names_a_path("../jails/0")),
    "recipe gone, jail running": ("inside", gone(f"{JAIL}/recipe")),
    "state database gone": ("inside", gone("var/lib/jailctl/state.db")),
    "state database is garbage": ("inside", content("var/lib/jailctl/state.db", b"\xff" * 8192)),
    "options are garbage": ("inside", content("etc/jailctl/jailctl.toml", "x = [")),
    "spec gone": ("inside", gone(f"etc/jailctl/jails.d/{USER}.toml")),
    "template gone": ("inside", covered("opt/jailctl/templates")),
}
"""With the jail running: (how it ends, what is broken)."""


@pytest.mark.parametrize("case", WARM)
def test_a188_running(people: Pair, case: str) -> None:
    expected, change = WARM[case]
    check(people, case, expected, change, cold=False)


def check(people: Pair, case: str, expected: str, change: Damage, *, cold: bool) -> None:
    host, mark = people.host, len(people.host.syslog())
    with broken(people, change, cold=cold):
        for way in (damage.su,) if cold or expected == "inside" else (damage.ssh, damage.su):
            outcome = way(people)
            assert outcome.how == ("inside" if expected == "inside" else "refused"), host.syslog()[mark:]
            assert outcome.how == "inside" or damage.dull(outcome), outcome
        damage.others_are_fine(people, *(() if case in SHARED else (OTHER,)))
    if expected not in ("inside", "refused"):
        host.wait_syslog(f"code={expected}", after=mark)


SHARED = (
    "jails can be written by all", "images can be written by all", "runtime directory can be written by all",
    "runtime directory full", "runtime directory read-only", "scratch is a link", "keeper gone", "keeper no program",
    "keeper not executable", "library gone", "images on a disk that is not there", "image gone", "image empty",
    "homes can be written by all", "homes are somebody's",
)  # fmt: skip
"""What all jails stand on: her neighbour's is refused as well where it is cold."""


def disabled(text: str) -> str:
    return text.replace("disabled \n", "disabled by the test\n")


def image(path: str = "") -> Damage:
    def damage(host: Host) -> Repair:
        return gone(f"var/lib/jailctl/images/{host.image('shell')}{path}")(host)

    return damage


def changed(old: str, new: str) -> Damage:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return content(f"{JAIL}/recipe", change)


def without(word: str) -> Callable[[str], str]:
    """What is left of a recipe: the image's own, empty, stands there then."""
    return lambda text: "".join(line for line in text.splitlines(True) if not line.startswith(f"{word} "))


COLD: dict[str, tuple[str, Damage]] = {
    "never set up": ("login.no-jail", gone(f"{JAIL}/recipe")),
    "jail directory gone": ("login.no-jail", gone(JAIL)),
    "disabled": ("login.disabled", content(f"{JAIL}/recipe", disabled)),
    "recipe empty": ("invalid.recipe", content(f"{JAIL}/recipe", "")),
    "recipe is garbage": ("invalid.recipe", content(f"{JAIL}/recipe", b"\xff\0\xfe" * 100)),
    "recipe cut off": ("invalid.recipe", content(f"{JAIL}/recipe", lambda text: text[: len(text) // 2])),
    "recipe with an unknown word": ("invalid.recipe", content(f"{JAIL}/recipe", lambda text: f"jial true\n{text}")),
    "recipe with a word twice": ("invalid.recipe", content(f"{JAIL}/recipe", lambda text: f"uid 0\n{text}")),
    "recipe of another user": ("invalid.recipe", changed(f"user {USER}", f"user {OTHER}")),
    "recipe's uid is another's": ("refused", changed(f"\nuid {UID}", f"\nuid {OTHER_UID}")),
    "recipe's uid is root's": ("invalid.recipe", changed(f"\nuid {UID}", "\nuid 0")),
    "recipe's range is the host's": ("invalid.recipe", changed("base 70", "base -70")),
    "image gone": ("missing.image", image()),
    "image empty": ("missing.image", image("/root")),
    "images on a disk that is not there": ("missing.image", covered("var/lib/jailctl/images")),
    "keeper gone": ("missing.keeper", gone("opt/jailctl/libexec/keeper")),
    "keeper no program": ("login.start-failed", content("opt/jailctl/libexec/keeper", "no program\n")),
    "keeper not executable": ("login.start-failed", mode("opt/jailctl/libexec/keeper", 0o644)),
    "library gone": ("login.start-failed", covered("opt/jailctl/venv")),
    "home gone": ("login.start-failed", gone(HOME)),
    "home on a disk that is not there": ("unsafe.home-owner", covered(HOME)),
    "home is another's": ("unsafe.home-owner", owner(HOME, OTHER_UID, OTHER_UID)),
    "home is a link": ("login.start-failed", link(HOME, f"/home/{OTHER}")),
    "home is a link to a file": ("login.start-failed", link(HOME, "/etc/passwd")),
    "homes can be written by all": ("unsafe.path", mode("home", 0o777)),
    "homes are somebody's": ("unsafe.path", owner("home", OTHER_UID, 0)),
    "jail directory can be written by all": (f"login.path-unsafe /{JAIL} ", mode(JAIL, 0o777)),
    "jail directory is hers": (f"login.path-unsafe /{JAIL} ", owner(JAIL, UID, UID)),
    "recipe is hers": (f"unsafe.path /{JAIL}/recipe ", owner(f"{JAIL}/recipe", UID, UID)),
    "recipe can be written by all": (f"unsafe.path /{JAIL}/recipe ", mode(f"{JAIL}/recipe", 0o666)),
    "recipe is a link": (f"unsafe.path /{JAIL}/recipe ", link(f"{JAIL}/recipe", f"../{OTHER}/recipe")),
    "jails can be written by all": ("login.path-unsafe /var/lib/jailctl/jails ", mode("var/lib/jailctl/jails", 0o777)),
    "images can be written by all": ("unsafe.path", mode("var/lib/jailctl/images", 0o777)),
    "recipe without a file": ("inside", content(f"{JAIL}/recipe", without("file.passwd"))),
    "runtime directory full": ("login.start-failed", covered("run/jailctl", "4k", full=True)),
    "runtime directory read-only": ("login.start-failed", covered("run/jailctl", "1m", False, "ro")),
    "runtime directory can be written by all": ("refused", mode("run/jailctl", 0o777)),
    "after a reboot": ("inside", covered("run/jailctl")),
    "scratch is a link": ("unsafe.runtime", link("run/jailctl/root", "/srv")),
}
"""With no jail running, so that the login starts one."""


@pytest.mark.parametrize("case", COLD)
def test_a188_a189_a196_cold(people: Pair, case: str) -> None:
    expected, change = COLD[case]
    check(people, case, expected, change, cold=True)
    assert not any((people.host.root / "srv").iterdir())


def test_a189_members_without_a_jail(people: Pair) -> None:
    """As by a tool that adds users to groups: member, and no jail; and the door for a shell, and no member."""
    host = people.host
    host.run(["/usr/sbin/useradd", "-m", "-s", "/bin/bash", "-G", "jailed", "member"], check=True)
    host.run(["/usr/sbin/useradd", "-m", "-s", "/opt/jailctl/libexec/door", "guest"], check=True)
    host.run(["/usr/sbin/chpasswd"], input="member:Correct-horse-1\nguest:Correct-horse-1\n", check=True)
    for name in ("member", "guest"):
        mark = len(host.syslog())
        done = host.run(["/bin/su", name, "-c", "echo in"])
        assert done.returncode != 0 and "in\n" not in done.stdout
        host.wait_syslog("code=login.no-jail", after=mark)
    found = {each.check for each in failures(host)}
    assert {"accounts.members", "accounts.outside"} <= found
    for name in ("member", "guest"):
        host.run(["/usr/sbin/userdel", "-r", name])


def test_a196_a_jail_that_started_before_is_left_alone(people: Pair) -> None:
    """sshd is started anew while a session is open; the next one joins the same jail."""
    host = people.host
    with host.ssh_spawn(USER, "exec sleep 8196"):
        process = sleeper(host, "8196")
        host.sshd_restart()
        assert in_jail(host, process, USER)
        with host.ssh_spawn(USER, "exec sleep 8197"):
            assert sleeper(host, "8197").namespaces == process.namespaces
