"""Our own programs, called by somebody who should not: with another's name, another's environment, or none.

Setuid helpers that trust their caller (firejail CVE-2017-5207, CVE-2021-26910, CVE-2022-31214), and who one is taken
from $USER (jk_chrootsh and jk_lsh of Jailkit use getenv("USER")). Attacks A132, A134.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..host import Host
from . import cli, pam
from .world import DULL, Flag, Pair, failures, logged, pair

pytestmark = pytest.mark.host
USER, OTHER = "helpers", "helpers2"
LIBEXEC = "/opt/jailctl/libexec"
DOOR = f"{LIBEXEC}/door"
COLD = ["/opt/jailctl/venv/bin/python3", "-I", "-S", "/opt/jailctl/lib/jailkit/jail/cold.py"]
OURS = ("opt/jailctl", "usr/local", "etc/jailctl", "var/lib/jailctl", "run/jailctl", "usr/share/pam-configs")


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    both = pair(host, USER)
    pair(host, OTHER)
    assert host.ssh(USER, "true").returncode == 0
    yield both


def privileged(top: Path) -> list[str]:
    """Files with setuid, setgid or capabilities, links not followed."""
    found = []
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            path = f"{directory}/{name}"
            status = os.lstat(path)
            special = stat.S_ISREG(status.st_mode) and status.st_mode & 0o6000
            if special or "security.capability" in os.listxattr(path, follow_symlinks=False):
                found.append(path)
    return found


def test_a132_no_file_of_ours_has_a_privilege(people: Pair) -> None:
    root = people.host.root
    planted = root / "srv/planted"
    planted.mkdir()
    for name, mode in (("setuid", 0o4755), ("setgid", 0o2755), ("caps", 0o755)):
        (planted / name).write_bytes(b"x")
        (planted / name).chmod(mode)
    os.setxattr(planted / "caps", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    assert len(privileged(planted)) == 3
    assert [path for top in OURS for path in privileged(root / top)] == []


def test_a132_nobody_else_may_write_there(people: Pair) -> None:
    root, wrong = people.host.root, []
    for top in OURS:
        for directory, names, files in os.walk(root / top):
            for path in (directory, *(f"{directory}/{name}" for name in (*names, *files))):
                status = os.lstat(path)
                if status.st_uid != 0 or (status.st_mode & 0o022 and not stat.S_ISLNK(status.st_mode)):
                    wrong.append(f"/{path.removeprefix(f'{root}/')}")
    assert wrong == []
    # and an image has a /tmp like any system: who knows where it is does not come there
    image = next((root / "var/lib/jailctl/images").glob("*/root"))
    for user in (people.free, USER):
        for name in ("tmp", "var/tmp", "etc/passwd"):
            path = f"/{image.relative_to(root)}/{name}"
            assert people.host.run(["/usr/bin/stat", path]).returncode == 0
            assert people.host.run(["/usr/bin/stat", path], user=user).returncode != 0


PAM_ENVIRONMENT = {"PAM_TYPE": "open_session", "PAM_USER": USER, "PAM_SERVICE": "sshd", "PATH": "/usr/bin:/bin"}


def sessions(host: Host, user: str) -> list[str]:
    return [path.name for path in (host.root / f"run/jailctl/jails/{host.ids(user)[0]}/sessions").iterdir()]


def test_a132_the_hook_is_roots(people: Pair) -> None:
    """The same call by root does write a session's record."""
    host = people.host
    root = ["/bin/sh", "-c", f"{LIBEXEC}/hook; ls /run/jailctl/jails/{host.ids(USER)[0]}/sessions"]
    assert host.run(root, env=PAM_ENVIRONMENT).stdout.strip().isdigit()
    before, mark = sessions(host, USER), len(host.syslog())
    for user in (people.free, USER, "nobody"):
        done = host.run([f"{LIBEXEC}/hook"], user=user, env=PAM_ENVIRONMENT)
        assert (done.returncode, done.stdout) == (1, f"{DULL}\n")
        done = host.run([f"{LIBEXEC}/hook"], user=user, env={**PAM_ENVIRONMENT, "PAM_TYPE": "close_session"})
        assert done.returncode == 1
    assert set(sessions(host, USER)) <= set(before)
    lines = logged(host, mark, "jailctl-hook", 6)
    assert all(f"refused user={USER} " in line and "code=login.bad-args" in line for line in lines)


def test_a132_the_starter_and_the_keeper_do_nothing_for_others(people: Pair) -> None:
    host = people.host
    host.jailctl("stop", OTHER)
    assert host.run([*COLD, OTHER, "sshd", "/"]).returncode == 0
    host.jailctl("stop", OTHER)
    for user in (people.free, USER):
        assert host.run([*COLD, OTHER, "sshd", "/"], user=user).returncode not in (0, 3)
        assert host.run([f"{LIBEXEC}/keeper"], user=user, input="g").returncode == 1
    uid = host.ids(OTHER)[0]
    assert not any(uid in process.uids for process in host.processes())
    assert not (host.root / f"run/jailctl/jails/{uid}/entry").exists()


VERBS = [
    ["add-user", "newcomer"], ["remove-user", USER], ["start", USER], ["stop", USER], ["exec", USER, "--", "id"],
    ["enter", USER], ["list"], ["show", USER], ["setup"], ["setup", "--undo"], ["doctor"],
]  # fmt: skip


def test_a132_jailctl_is_roots(people: Pair) -> None:
    host = people.host
    database = (host.root / "var/lib/jailctl/state.db").read_bytes()
    for user in (people.free, USER):
        for words, done in zip(VERBS, cli.calls(host, VERBS, user=user), strict=True):
            assert (done.status, done.out) == (13, ""), (words, done)
            assert "root" in done.err and "hint: sudo" in done.err
    assert (host.root / "var/lib/jailctl/state.db").read_bytes() == database
    assert host.ssh(USER, "true").returncode == 0


def test_a132_the_door_takes_nobody_without_a_verdict(people: Pair) -> None:
    """By an ordinary user, by root, and by a process of the tenant's outside: also while she has a session, as that is
    another's ancestor. The session of another user is no verdict either."""
    host, mark = people.host, len(people.host.syslog())
    command = [DOOR, "-c", "id"]
    with host.ssh_spawn(USER, "echo in; sleep 60") as session:
        assert session.stdout and session.stdout.readline() == b"in\n"
        for user in (people.free, None, USER):
            for argv in (command, [DOOR]):
                done = host.run(argv, user=user)
                assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{DULL}\n")
    uid = host.ids(USER)[0]
    become = ["/usr/bin/setpriv", f"--reuid={uid}", f"--regid={host.ids(USER)[1]}", "--clear-groups", *command]
    with pam.Held(host, "sshd", OTHER) as held:
        assert held.opened
        script = "import subprocess, sys; print(subprocess.run(sys.argv[1:], capture_output=True, text=True).stderr)"
        done = host.run(["/usr/bin/python3", "-I", "-c", script, *become])
        assert done.stdout == f"{DULL}\n\n"
        held.finish()
    codes = [line.split("code=")[1].split()[0] for line in logged(host, mark, "jailctl-door", 7)]
    assert codes == ["login.no-jail"] * 2 + ["login.bad-args"] * 2 + ["login.no-verdict"] * 3
    assert pam.session(host, "sshd", USER, command).out.startswith(f"uid={uid}({USER})")


def test_a134_who_one_is_is_not_in_the_environment(people: Pair) -> None:
    host = people.host
    lies = {"USER": OTHER, "LOGNAME": OTHER, "HOME": f"/home/{OTHER}", "SHELL": "/bin/sh", "PAM_USER": OTHER,
            "SUDO_USER": OTHER, "USERNAME": OTHER, "UID": "0", "XDG_RUNTIME_DIR": "/run/user/0"}  # fmt: skip
    believed = host.run(["/bin/sh", "-c", "echo $USER $HOME"], user=people.free, env=lies).stdout
    assert believed == f"{OTHER} /home/{OTHER}\n"
    done = host.run(["/bin/su", USER, "-c", "id -un; echo $USER $LOGNAME $HOME $SHELL; pwd"], env=lies)
    assert done.stdout == f"{USER}\n{USER} {USER} /home/{USER} /bin/bash\n/home/{USER}\n"
    # jailctl exec hands no names on, and the hook counts what PAM says
    done = host.run(["/usr/local/sbin/jailctl", "exec", USER, "--", "sh", "-c", "id -un; echo $USER $HOME"], env=lies)
    assert done.stdout == f"{USER}\n{USER} /home/{USER}\n"


def test_a134_two_names_for_one_uid(people: Pair) -> None:
    """To the kernel they are one user, so one of them outside is both outside: refused, and found by doctor."""
    host = people.host
    uid, found = str(host.ids(USER)[0]), failures(host)
    files = {host.root / f"etc/{name}": b"" for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")}
    files = {path: path.read_bytes() for path in files}
    host.run(["/usr/sbin/useradd", "-o", "-u", uid, "-M", "-d", f"/home/{USER}", "twin"], check=True)
    try:
        done = host.jailctl("add-user", "twin", "--existing", "--key", f"{host.key('twin')}.pub", check=False)
        assert done.returncode == 8 and f"shares uid {uid} with {USER}" in done.stderr and "hint" in done.stderr
        assert "twin" not in host.jailctl("list").stdout
        assert [each.check for each in failures(host) if each not in found] == ["accounts.uids"]
        flag = Flag(host)
        assert host.ssh(USER, f"touch {flag.path}; id -un").stdout == f"{USER}\n" and not flag.raised()
    finally:
        for path, content in files.items():  # userdel takes the tenant's processes for the twin's
            path.write_bytes(content)
    assert failures(host) == found
