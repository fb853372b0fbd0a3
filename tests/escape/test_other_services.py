"""Every door but sshd's: su, sudo, runuser, and whatever else opens a PAM session for an account.

On other hosts cron, ftp, a desktop or ``su -s`` led past the jail, as each asked a file of PAM's own (hestiacp#4797).
Attacks A076, A077.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..host import Host
from . import pam
from .world import DULL, Flag, Pair, logged, outside, pair

pytestmark = pytest.mark.host
USER, PASSWORD = "services", "Correct-horse-8"
ADMITTED = ("sshd", "su", "su-l", "login", "jailctl")
EXEMPT = ("runuser", "runuser-l")
ELSEWHERE = (
    "ftp", "vsftpd", "proftpd", "pure-ftpd", "dovecot", "samba", "cockpit", "polkit-1", "xrdp-sesman", "machinectl",
    "screen", "xscreensaver", "gdm-password", "lightdm", "rlogin", "rsh", "ppp", "vlock", "dropbear", "x y",
)  # fmt: skip
"""Names of services that have no file in this host: PAM then takes /etc/pam.d/other."""


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    both = pair(host, USER)
    host.run(["/usr/sbin/chpasswd"], input="".join(f"{u}:{PASSWORD}\n" for u in (USER, both.free)), check=True)
    yield both


def services(host: Host) -> list[str]:
    files = [path.name for path in (host.root / "etc/pam.d").iterdir()]
    return sorted(name for name in files if not name.startswith("common-") and not name.endswith("-probe"))


def test_a077_every_service_of_pam(people: Pair) -> None:
    """Debian's systemd-user takes in common-session-noninteractive; so it stands here as well."""
    host = people.host
    (host.root / "etc/pam.d/systemd-user").write_text(
        "account required pam_unix.so\nsession required pam_limits.so\n@include common-session-noninteractive\n"
    )
    found = services(host)
    assert {"sshd", "su", "su-l", "login", "cron", "atd", "sudo", "sudo-i", "chsh", "systemd-user"} <= set(found)
    mark, refused = len(host.syslog()), []
    for service in [*found, *ELSEWHERE]:
        assert pam.session(host, service, people.free).opened == pam.SUCCESS, f"{service}: the probe does not work"
        session = pam.session(host, service, USER)
        expected = service in ADMITTED or service in EXEMPT
        assert (session.opened == pam.SUCCESS) == expected, service
        if not expected:
            refused.append(service)
            assert DULL in session.text.splitlines(), service
    lines = logged(host, mark, f"refused user={USER} ", len(refused))
    assert [line.split("service=")[1].split(" ")[0] for line in lines] == [s.replace(" ", r"\x20") for s in refused]
    assert all("code=login.service-denied" in line for line in lines)


@pytest.mark.parametrize("service", ADMITTED)
def test_a077_what_is_admitted_leads_to_the_door_only(people: Pair, service: str) -> None:
    """The account's shell, run in that session, is inside; the same shell with no session is refused."""
    shell = ["/opt/jailctl/libexec/door", "-c", "readlink /proc/self/ns/user; hostname"]
    inside = pam.session(people.host, service, USER, shell)
    assert inside.status == 0 and inside.out.endswith(f"\n{USER}\n")
    assert f"user:[{people.host.processes()[0].namespaces['user']}]" not in inside.out
    alone = people.host.run(shell, user=USER)
    assert (alone.returncode, alone.stdout, alone.stderr) == (1, "", f"{DULL}\n")


SU = {
    "s": ["-s", "/bin/bash", USER, "-c", "COMMAND"],
    "s-joined": [USER, "-s/bin/bash", "-c", "COMMAND"],
    "s-after": [USER, "-c", "COMMAND", "-s", "/bin/bash"],
    "s-with-others": ["-lfs", "/bin/bash", USER, "-c", "COMMAND"],
    "shell": ["--shell=/bin/bash", USER, "-c", "COMMAND"],
    "shell-cut": ["--sh", "/bin/bash", USER, "-c", "COMMAND"],
    "shell-login": ["-", USER, "--shell", "/bin/bash", "-c", "COMMAND"],
    "session-command": ["--session-command=COMMAND", "--shell", "/bin/bash", USER],
    "m": ["-m", USER, "-c", "COMMAND"],
    "p": ["-p", USER, "-c", "COMMAND"],
    "preserve": ["--preserve-environment", USER, "-c", "COMMAND"],
    "preserve-cut": ["--pres", USER, "-c", "COMMAND"],
    "value-that-looks-like-one": ["-c", "COMMAND", "-g", "root", "-m", USER],
    "whitelist": ["-w", "A,B", "-s", "/bin/bash", USER, "-c", "COMMAND"],
    "pty": ["-P", "-s", "/bin/bash", USER, "-c", "COMMAND"],
}  # fmt: skip


@pytest.mark.parametrize("case", SU)
def test_a077_su_with_another_shell(people: Pair, case: str) -> None:
    """By root, who may choose any shell; $SHELL is bash, which -m takes."""
    host, flag = people.host, Flag(people.host)
    argv = ["/bin/su", *(word.replace("COMMAND", f"touch {flag.path}") for word in SU[case])]
    free = [people.free if word == USER else word for word in argv]
    assert host.run(free).returncode == 0 and flag.raised(), "the probe does not work"
    flag.lower()
    mark = len(host.syslog())
    done = host.run(argv)
    assert done.returncode != 0 and not flag.raised()
    assert done.stdout + done.stderr != "" and outside(host, USER) == []
    (line,) = logged(host, mark, "jailctl-hook")
    assert f"user={USER} service=su" in line and "code=login.shell-override" in line


INSIDE = {
    "c": [USER, "-c", "COMMAND"],
    "login": ["-", USER, "-c", "COMMAND"],
    "command-like-an-option": [USER, "-c", "COMMAND -s /bin/bash -m"],
    "after-the-end": [USER, "-c", "COMMAND", "--"],
}


@pytest.mark.parametrize("case", INSIDE)
def test_a077_su_with_the_accounts_shell_is_inside(people: Pair, case: str) -> None:
    argv = ["/bin/su", *(word.replace("COMMAND", "hostname; :") for word in INSIDE[case])]
    assert people.host.run(argv).stdout == f"{USER}\n"


def test_a077_su_with_options_for_the_shell(people: Pair) -> None:
    """The door takes none: su -f, or words behind the name."""
    for words in (["-f", "-c", "hostname"], ["-c", "hostname", "NAME", "x"], ["NAME", "--", "--norc"]):
        argv = ["/bin/su", *words] if "NAME" in words else ["/bin/su", *words, "NAME"]
        assert people.host.run([people.free if word == "NAME" else word for word in argv]).returncode in (0, 127)
        done = people.host.run([USER if word == "NAME" else word for word in argv])
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{DULL}\n"), argv
    people.host.wait_syslog(f"refused user={USER} uid={people.host.ids(USER)[0]} code=login.bad-args")


@pytest.mark.parametrize("arguments", [["USER"], ["-", "USER"], ["-m", "USER"], ["-s", "/bin/bash", "USER"]])
def test_a077_su_by_an_ordinary_user_with_the_password(people: Pair, arguments: list[str]) -> None:
    """The password is the tenant's, so she may come in; with -m or -s she may not. No process of hers stays outside."""
    host = people.host
    argv = ["/bin/su", *arguments]
    overrides = {"-m", "-s"} & set(arguments)
    for user in (people.free, USER):
        mine = [user if word == "USER" else word for word in argv]
        with host.terminal(mine, user="daemon") as terminal:
            terminal.expect("assword: ")
            terminal.sendline(PASSWORD)
            if user == USER and overrides:
                terminal.expect("su: cannot open session")
                continue
            terminal.expect(r"\$ ")
            terminal.sendline("echo at=$(hostname)=")
            terminal.expect(f"at={user if user == USER else 'testhost'}=")
            assert outside(host, USER) == []


@pytest.mark.parametrize("options", [[], ["-i"], ["-s"], ["-H"], ["-E"]], ids=str)
def test_a077_sudo(people: Pair, options: list[str]) -> None:
    """By root, and by an ordinary user whom sudoers lets become her."""
    host, flag = people.host, Flag(people.host)
    (host.root / "etc/sudoers.d/probe").write_text(f"{people.free} ALL=(ALL) NOPASSWD: ALL\n")
    (host.root / "etc/sudoers.d/probe").chmod(0o440)
    try:
        for caller in (None, people.free):
            sudo = ["/usr/bin/sudo", "-n", *options, "-u"]
            assert host.run([*sudo, people.free, "/usr/bin/touch", flag.path], user=caller).returncode == 0
            assert flag.raised(), "the probe does not work"
            flag.lower()
            mark = len(host.syslog())
            done = host.run([*sudo, USER, "/usr/bin/touch", flag.path], user=caller)
            assert done.returncode != 0 and not flag.raised(), done
            service = "sudo-i" if options == ["-i"] else "sudo"
            host.wait_syslog(f"refused user={USER} service={service} ", after=mark)
            assert outside(host, USER) == []
    finally:
        (host.root / "etc/sudoers.d/probe").unlink()


RUNUSER = {
    "login": ["-", USER, "-c", "touch FLAG"],
    "shell": [USER, "-c", "touch FLAG"],
}


@pytest.mark.parametrize("case", RUNUSER)
def test_a077_runuser_comes_to_the_door(people: Pair, case: str) -> None:
    """Debian's file for runuser takes in no common session, so the hook is not asked; the account's shell refuses."""
    host, flag = people.host, Flag(people.host)
    argv = ["/usr/sbin/runuser", *(word.replace("FLAG", flag.path) for word in RUNUSER[case])]
    assert host.run([people.free if word == USER else word for word in argv]).returncode == 0
    assert flag.raised()
    flag.lower()
    done = host.run(argv)
    assert done.returncode != 0 and DULL in done.stderr and not flag.raised()
    host.wait_syslog(f"refused user={USER} uid={host.ids(USER)[0]} code=login.no-verdict")


@pytest.mark.parametrize("argv", [["-u", USER, "--"], ["-s", "/bin/bash", USER, "-c"]], ids=["u", "s"])
def test_a077_runuser_that_asks_nobody_is_stopped_by_one_line(people: Pair, argv: list[str]) -> None:
    """Only root may use it, and as it comes root can be her outside with it, as with setpriv: doctor says so of this
    service. With common-session in its file, which an administrator may want, it is refused like the others."""
    host, flag = people.host, Flag(people.host)
    command = ["/usr/bin/touch", flag.path] if "-u" in argv else [f"touch {flag.path}"]
    assert host.run(["/usr/sbin/runuser", *argv, *command]).returncode == 0 and flag.raised()
    flag.lower()
    assert "runuser (only root can use it)" in host.jailctl("doctor", "pam.services", check=False).stdout
    file = host.root / "etc/pam.d/runuser"
    before = file.read_text()
    try:
        file.write_text(before + "@include common-session\n")
        assert host.run(["/usr/sbin/runuser", *argv, *command]).returncode != 0 and not flag.raised()
        host.wait_syslog(f"refused user={USER} service=runuser ")
    finally:
        file.write_text(before)
