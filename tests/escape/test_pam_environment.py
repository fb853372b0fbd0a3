"""A file of the user's that root's part of a login reads: ~/.pam_environment, by Debian's ``pam_env user_readenv=1``.

What it sets is in the PAM environment from then on, so modules and helpers that run later as root get it (linux-pam#7,
#290; tyvsmith/facelock#71 for a hook that inherits it). Attacks A072, A074.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from ..host import Host
from . import pam
from .opens import Opening, Opens
from .world import Flag, Pair, all_closed, logged, pair

pytestmark = pytest.mark.host
USER = "pamenv"
MARK = f"mark{secrets.token_hex(8)}"
LIBRARY = """
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void)
{
	int fd = open(FLAG, O_WRONLY | O_CREAT | O_APPEND, 0666);

	if (fd >= 0) {
		dprintf(fd, "uid=%d\\n", (int)geteuid());
		close(fd);
	}
}
"""
OPEN = "PAM_TYPE=open_session"
HOOK = "/opt/jailctl/libexec/hook"


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    yield pair(host, USER)


def library(people: Pair, user: str, flag: Flag) -> str:
    """A shared library in the user's home that leaves a line with the euid of whoever loads it."""
    host, path = people.host, f"/home/{user}/canary.so"
    source = LIBRARY.replace("FLAG", f'"{flag.path}"')
    argv = ["/usr/bin/gcc", "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", path]
    host.run(argv, input=source, check=True)
    return path


def environment_of(path: str) -> str:
    names = ("LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "PATH", "BASH_ENV", "PAM_USER",
             "PAM_TYPE", "PAM_SERVICE", "PAM_RHOST", "PAM_TTY", "GLIBC_TUNABLES", "GCONV_PATH")  # fmt: skip
    values = {"LD_PRELOAD": path, "PAM_TYPE": "open_session", "PAM_USER": "root", "PAM_SERVICE": "login"}
    return "".join(f"{name} DEFAULT={values.get(name, MARK)}\n" for name in names)


@pytest.fixture
def armed(people: Pair) -> Iterator[tuple[Pair, Flag]]:
    flag = Flag(people.host)
    for user in (people.free, people.tenant):
        people.give(user, ".pam_environment", environment_of(library(people, user, flag)))
    yield people, flag
    for user in (people.free, people.tenant):
        (people.home(user) / ".pam_environment").unlink()


def test_a072_the_probe_works(armed: tuple[Pair, Flag]) -> None:
    """The ordinary user's shell loads the library, and so does a helper of root's that pam_exec runs after pam_env."""
    people, flag = armed
    assert people.host.ssh(people.free, "true").returncode == 0
    assert flag.raised() and set(flag.text().split()) == {f"uid={people.host.ids(people.free)[0]}"}
    flag.lower()
    (people.host.root / "etc/pam.d/pamenv-probe").write_text(
        "account required pam_permit.so\nsession required pam_env.so user_readenv=1\n"
        "session required pam_exec.so seteuid /usr/bin/true\n"
    )
    assert pam.session(people.host, "pamenv-probe", people.free).opened == pam.SUCCESS
    assert set(flag.text().split()) == {"uid=0"}
    flag.lower()
    (people.host.root / "etc/pam.d/pamenv-probe").unlink()


def openings(people: Pair, *, user: str) -> list[Opening]:
    """All that is opened below our own directories at a login into a cold jail and at its end."""
    host = people.host
    host.jailctl("stop", USER)
    with Opens(host.root / "run/jailctl") as running, Opens(host.root / "var/lib/jailctl") as kept:
        assert host.ssh(user, "true").returncode == 0
        all_closed(host, user)
    own = (f"/run/jailctl/jails/{host.ids(USER)[0]}/", f"/var/lib/jailctl/jails/{USER}/")  # not other users' watchers
    return [opening for opening in running.all() + kept.all() if f"{opening.path}/".startswith(own)]


def test_a072_a074_hook_and_starter(armed: tuple[Pair, Flag]) -> None:
    """Neither loads the library; the starter has an environment of its own; both have / and a known umask. At the close
    of the session the user's variables are in the hook's environment: pam_exec puts its own behind them, and the hook
    counts those: it does close."""
    people, flag = armed
    seen = openings(people, user=people.tenant)
    assert not flag.raised()
    hooks = [opening for opening in seen if opening.argv == (HOOK,)]
    starters = [opening for opening in seen if any(word.endswith("/cold.py") for word in opening.argv)]
    assert hooks and starters
    for opening in hooks + starters:
        assert opening.uids == (0, 0, 0, 0)
        assert opening.cwd == "/" or opening.cwd.startswith("/run/jailctl"), opening
        assert opening.umask == (0o077 if opening in hooks else 0o022)
    assert {variable for opening in starters for variable in opening.environ} == {
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG=C.UTF-8",
    }
    kinds = {[v for v in opening.environ if v.startswith("PAM_TYPE=")][-1] for opening in hooks}
    assert kinds == {"PAM_TYPE=open_session", "PAM_TYPE=close_session"}
    assert list((people.host.root / f"run/jailctl/jails/{people.host.ids(USER)[0]}/sessions").iterdir()) == []
    opening_hook = [o for o in hooks if o.environ[-1] == "PAM_TYPE=open_session"]
    assert opening_hook and not any(MARK in variable for o in opening_hook for variable in o.environ)


def test_a074_the_hooks_descriptors(people: Pair) -> None:
    """What pam_exec gave it as 0 to 2, and what it opened itself: nothing of sshd's, which has the client's connection,
    the host keys' agent and the log open."""
    hooks = [o for o in openings(people, user=people.tenant) if o.argv == (HOOK,) and OPEN in o.environ]
    daemons = [process for process in people.host.processes() if process.name == "sshd"]
    sshd = [fd for process in daemons for fd in process.fds.values() if fd.startswith("socket:")]
    own = ("/dev/null", "anon_inode:", "/run/jailctl/jails/", "/sys/fs/cgroup/")
    assert hooks and sshd
    for opening in hooks:
        standard, others = opening.fds[:3], opening.fds[3:]
        assert all(fd.startswith(("/dev/null", "pipe:")) for fd in standard), opening.fds
        assert sum(fd.startswith("socket:") for fd in others) == 1 and not set(others) & set(sshd)
        assert [fd for fd in others if not fd.startswith((*own, "socket:"))] == []


def test_a072_nothing_of_it_reaches_the_session(armed: tuple[Pair, Flag]) -> None:
    people, flag = armed
    done = people.host.ssh(people.tenant, "cat /proc/self/environ; cat /proc/self/maps")
    assert "HOME=/home/pamenv" in done.stdout
    assert MARK not in done.stdout and "canary.so" not in done.stdout
    assert people.host.ssh(people.free, "/usr/bin/id -un").stdout == f"{people.free}\n"
    assert not any(f"uid={uid}" in flag.text() for uid in (0, people.host.ids(USER)[0]))


@pytest.mark.parametrize("size", [4_000, 100_000])
def test_a072_tunables_and_size(people: Pair, size: int) -> None:
    """The door is static, so no library of hers is loaded; but the C library in it reads GLIBC_TUNABLES before main()
    (CVE-2023-4911), on the host, as her. It must not fall over, and its environment may be as long as Linux allows."""
    tunable = "glibc.malloc.mxfast=glibc.malloc.mxfast=A"
    people.give(USER, ".pam_environment", f"GLIBC_TUNABLES DEFAULT={tunable}\nOTHER DEFAULT={'x' * min(size, 900)}\n")
    try:
        environment = {"GLIBC_TUNABLES": tunable + "B" * size, "LC_TIME": "C" * 60, "TERM": "x" * 60}
        argv = ["/bin/su", USER, "-c", "id -un"]
        assert people.host.run(argv, env=environment).stdout == f"{USER}\n"
        assert people.host.ssh(USER, "id -un").stdout == f"{USER}\n"
    finally:
        (people.home(USER) / ".pam_environment").unlink()


def test_a074_values_of_pams_items_are_data(people: Pair) -> None:
    """PAM_RHOST and PAM_TTY as a daemon may pass them on from the net; in the session's record, unchanged, as data."""
    flag = Flag(people.host)
    hostile = f"\nPAM_USER=root\r\x1b]0;x\x07%n%s$(touch {flag.path});`touch {flag.path}`"
    with Opens(people.host.root / "run/jailctl") as seen:
        items = {"rhost": hostile, "tty": f"../../../{flag.path}", "ruser": "root"}
        assert pam.session(people.host, "sshd", people.free, items=items).opened == pam.SUCCESS
        session = pam.session(people.host, "sshd", USER, ["/bin/true"], items=items)
    assert session.opened == pam.SUCCESS
    hooks = [opening for opening in seen.all() if opening.argv == (HOOK,)]
    assert any(f"PAM_RHOST={hostile}" in opening.environ for opening in hooks), "it did not come to the hook"
    assert not flag.raised()
    mark = len(people.host.syslog())
    refused = pam.session(people.host, "cron", USER, items=items)
    assert refused.opened != pam.SUCCESS and not flag.raised()
    (line,) = logged(people.host, mark, f"user={USER} service=cron")
    assert "\n" not in line and "\x1b" not in line and r"rhost=\x0aPAM_USER\x3droot\x0d\x1b]0;x\x07%n%s$(" in line
