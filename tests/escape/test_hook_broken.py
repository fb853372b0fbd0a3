"""A login that goes on when what should confine it is missing or broken.

ispconfig_setup#230 and systemd#34152: an optional PAM line, a module that was not there. Attacks A186, A188.

Each damage with the jail warm; the tenant by ssh, sftp and su: refused, or inside, never outside; the ordinary user and
the administrator meanwhile as ever; and when it is whole again, so is she.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..host import Host
from . import damage
from .damage import broken, content, covered, gone, link, mode
from .world import Flag, Pair, outside, pair

pytestmark = pytest.mark.host
USER = "tenant"
HOOK, DOOR = "opt/jailctl/libexec/hook", "opt/jailctl/libexec/door"


@pytest.fixture(scope="module")
def people() -> Iterator[Pair]:
    with Host() as host:
        host.jailctl("setup")
        both = pair(host, USER)
        host.run(["/usr/sbin/chpasswd"], input=f"{USER}:Correct-horse-9\n{both.free}:Correct-horse-9\n", check=True)
        assert damage.ssh(both).how == damage.sftp(both).how == "inside"
        yield both


def script(text: str) -> damage.Damage:
    return content(HOOK, f"#!/bin/sh\n{text}\n")


HOOKS = {
    "gone": gone(HOOK),
    "not executable": mode(HOOK, 0o644),
    "empty": content(HOOK, ""),
    "text": content(HOOK, "not a program\n"),
    "wrong interpreter": content(HOOK, "#!/nonexistent\n"),
    "cut off": content(HOOK, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0>\0"),
    "exit 1": script("exit 1"),
    "exit 255": script("exit 255"),
    "segfault": script("kill -SEGV $$"),
    "abort": script("kill -ABRT $$"),
    "killed": script("kill -KILL $$"),
    "stopped output": script("exec >&- 2>&-; exit 1"),
    "talks": script("yes | head -c 100000; exit 1"),
    "a dangling link": link(HOOK, "/nonexistent"),
    "a directory": link(HOOK, "/srv"),
}


@pytest.mark.parametrize("case", HOOKS)
def test_a186_hook(people: Pair, case: str) -> None:
    mark = len(people.host.syslog())
    with broken(people, HOOKS[case]):
        for way in (damage.ssh, damage.su):
            assert way(people).how == "refused"
        damage.others_are_fine(people)
    assert any("pam_exec(" in line and HOOK in line for line in people.host.syslog()[mark:])


def test_a186_hook_says_yes_and_writes_no_session(people: Pair) -> None:
    """The door asks for the verdict itself: a line in PAM that ends well is none."""
    with broken(people, script("exit 0")):
        for way in (damage.ssh, damage.su, damage.sftp):
            outcome = way(people)
            assert outcome.how == "refused" and damage.dull(outcome), outcome
        damage.others_are_fine(people)
    people.host.wait_syslog(f"refused user={USER} uid={people.host.ids(USER)[0]} code=login.no-verdict")


def test_a186_hook_that_hangs(people: Pair) -> None:
    """She waits, and gets nothing; nobody else does."""
    host = people.host
    with broken(people, script("exec sleep 60")):
        flag = Flag(host)
        with host.ssh_spawn(USER, f"touch {flag.path}") as waiting:
            damage.others_are_fine(people)
            assert waiting.wait(1) is None and not flag.raised()
            assert outside(host, USER) == []
        assert not flag.raised()
        for process in host.processes():
            if process.argv == ("sleep", "60"):
                host.run(["/bin/kill", str(process.inner_pid)], check=True)


COMMON = "etc/pam.d/common-session"


def without(*words: str) -> damage.Damage:
    """Lines with these words are taken out of both common files."""

    def change(text: str) -> str:
        return "".join(line for line in text.splitlines(True) if not any(word in line for word in words))

    return damage.both(content(COMMON, change), content(f"{COMMON}-noninteractive", change))


def instead(old: str, new: str) -> damage.Damage:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return damage.both(content(COMMON, change), content(f"{COMMON}-noninteractive", change))


OPTIONAL = ("requisite\tpam_exec", "optional\tpam_exec")
SUFFICIENT = "session sufficient pam_permit.so\nsession\t[default=1]"
PAM = {
    "both lines gone": (without("notingroup jailed", "libexec/hook"), "refused"),
    "hook line gone": (without("libexec/hook"), "refused"),
    "guard gone": (without("notingroup jailed"), "inside"),
    "guard's module missing": (instead("pam_succeed_if.so", "pam_succeed_gone.so"), "inside"),
    "module missing": (instead("pam_exec.so", "pam_exec_gone.so"), "refused"),
    "hook optional": (instead(*OPTIONAL), "inside"),
    "hook optional and gone": (damage.both(instead(*OPTIONAL), gone(HOOK)), "refused"),
    "a sufficient line before": (instead("session\t[default=1]", SUFFICIENT), "refused"),
}
ALSO_OTHERS = ("hook line gone", "guard gone", "guard's module missing")
"""libpam takes a jump behind the end for an error; and without the guard the hook is asked about everybody, and knows
only root and its own. Who edits PAM by hand can keep everybody out: but never let one of ours out."""


@pytest.mark.parametrize("case", PAM)
def test_a186_pam(people: Pair, case: str) -> None:
    """Where the hook is not asked the door refuses, and says so."""
    change, expected = PAM[case]
    mark = len(people.host.syslog())
    with broken(people, change):
        for way in (damage.ssh, damage.su, damage.sftp):
            outcome = way(people)
            assert outcome.how == expected and (expected == "inside" or damage.dull(outcome)), outcome
        if case not in ALSO_OTHERS:
            damage.others_are_fine(people)
    if expected == "refused" and case != "module missing":
        people.host.wait_syslog("code=login.no-verdict", after=mark)


def test_a186_without_pam(people: Pair) -> None:
    host = people.host
    plain = host.stock_sshd_config.replace("UsePAM yes", "UsePAM no")
    assert plain != host.stock_sshd_config
    host.sshd_restart(plain)
    mark = len(host.syslog())
    try:
        for way in (damage.ssh, damage.sftp):
            assert way(people).how == "refused"
        host.wait_syslog(f"refused user={USER} uid={host.ids(USER)[0]} code=login.no-verdict", after=mark)
        assert host.ssh(people.free, "hostname").stdout == "testhost\n"
    finally:
        host.sshd_restart(host.stock_sshd_config)
    assert damage.ssh(people).how == "inside"


DOORS = {
    "gone": gone(DOOR),
    "not executable": mode(DOOR, 0o644),
    "empty": content(DOOR, ""),
    "text": content(DOOR, "not a program\n"),
    "a dangling link": link(DOOR, "/nonexistent"),
    "all gone": damage.both(gone(HOOK), gone(DOOR)),
    "uninstalled": covered("opt/jailctl"),
}


@pytest.mark.parametrize("case", DOORS)
def test_a186_a195_door(people: Pair, case: str) -> None:
    """sshd and su find no shell that they could start."""
    with broken(people, DOORS[case]):
        for way in (damage.ssh, damage.su):
            assert way(people).how == "refused"
        damage.others_are_fine(people)
