"""Template git-only, used by git on another machine: create, push, clone, a hook; and what else its user may ask for.

A062: every way in leads to the same shell. A083: options and commands that lead out of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

import pytest

from tests.host import Host
from tests.host.host import Result

pytestmark = pytest.mark.host
USER = "gitta"


@pytest.fixture(scope="module")
def forge(host: Host) -> Iterator[Host]:
    host.jailctl("update", "git-only", timeout=120)  # with its smoke tests
    host.jailctl("add-user", USER, "--template", "git-only", "--key", host.key(USER) + ".pub")
    yield host
    host.jailctl("remove-user", USER)


@pytest.fixture
def work(forge: Host) -> Iterator[str]:
    """A directory of the client's, with a repository ``here`` of two commits; on the far side, ``project.git``."""
    forge.run(["/bin/mkdir", "-p", "/root/work"], check=True)
    commit = "git -c user.name=t -c user.email=t@t commit -q -m"
    script = f"git init -q -b main here && cd here && echo 1 > a && git add a && {commit} one"
    script += f" && echo 2 > a && {commit} two -a"
    forge.run(["/bin/sh", "-ec", script], cwd="/root/work", check=True)
    made = forge.ssh(USER, "create project")
    assert (made.returncode, made.stdout.split(":")[0]) == (0, "project.git is made"), made.stderr
    yield "/root/work"
    forge.run(["/bin/rm", "-rf", "/root/work", f"/home/{USER}/project.git"], check=True)


def git(host: Host, *words: str, cwd: str = "/root/work/here", check: bool = True) -> Result:
    ssh = shlex.join(host.ssh_argv(USER, opts=["-o", "BatchMode=yes"])[:-1])
    env = {"GIT_SSH_COMMAND": ssh, "PATH": "/usr/bin:/bin", "HOME": "/root", "GIT_CONFIG_NOSYSTEM": "1"}
    done = host.run(["/usr/bin/git", *words], cwd=cwd, env=env, timeout=60)
    if check:
        assert done.returncode == 0, done.stderr
    return done


FAR = f"{USER}@127.0.0.1:project.git"


def test_push_and_clone(forge: Host, work: str) -> None:
    git(forge, "push", "-q", FAR, "main")
    git(forge, "clone", "-q", FAR, "there", cwd=work)
    assert git(forge, "log", "--format=%s", cwd=f"{work}/there").stdout == "two\none\n"
    git(forge, "-c", "protocol.version=2", "fetch", "-q", FAR)
    git(forge, "clone", "-q", f"ssh://{USER}@127.0.0.1/home/{USER}/project.git", "again", cwd=work)
    git(forge, "clone", "-q", "--depth=1", f"ssh://{USER}@127.0.0.1/~/project.git", "shallow", cwd=work)
    assert git(forge, "log", "--format=%s", cwd=f"{work}/shallow").stdout == "two\n"
    git(forge, "archive", f"--remote={FAR}", "main", "--format=tar", "-o", "/root/work/x.tar")
    assert forge.run(["/usr/bin/tar", "tf", "/root/work/x.tar"]).stdout == "a\n"
    assert forge.ssh(USER, "list").stdout == "project.git\n"


def test_many_objects_go_and_are_packed(forge: Host, work: str) -> None:
    """git gc --auto, which a push starts in the background, needs git's own programs on the far side."""
    script = "for i in $(seq 1500); do echo $i > f$i; done; git add ."
    script += " && git -c user.name=t -c user.email=t@t commit -qm many"
    forge.run(["/bin/bash", "-ec", script], cwd="/root/work/here", check=True)
    far = forge.root / f"home/{USER}/project.git"
    with (far / "config").open("a") as file:
        file.write("[gc]\n\tauto = 1\n\tautoDetach = false\n[receive]\n\tunpackLimit = 10000\n")
    assert "error" not in git(forge, "push", FAR, "main").stderr.lower()
    assert list((far / "objects/pack").glob("*.pack"))
    assert git(forge, "ls-remote", FAR, "refs/heads/main").stdout.endswith("refs/heads/main\n")


HOOK = """#!/bin/sh
while read old new name; do
    echo "$(id -un) in $(pwd) took $name: $(git log --format=%s -1 "$new")"
done
ls -d /etc/shadow /opt/jailctl 2>&1 | sed s/^/seen:/
cat /proc/1/comm
grep -c . /etc/passwd
"""


def test_a_hook_runs_inside(forge: Host, work: str) -> None:
    path = forge.root / f"home/{USER}/project.git/hooks"
    path.mkdir(exist_ok=True)
    (path / "post-receive").write_text(HOOK)
    (path / "post-receive").chmod(0o755)
    os.chown(path / "post-receive", *forge.ids(USER)[:2])
    lines = git(forge, "push", FAR, "main").stderr.splitlines()
    said = [line.removeprefix("remote: ").strip() for line in lines if line.startswith("remote:")]
    assert said[0] == f"{USER} in /home/{USER}/project.git took refs/heads/main: two"
    assert "No such file" in said[1] and "No such file" in said[2]
    assert said[3] == "keeper" and said[4] == "3"
    (path / "pre-receive").write_text("#!/bin/sh\necho 'not on a Friday' >&2; exit 1\n")
    (path / "pre-receive").chmod(0o755)
    refused = git(forge, "push", FAR, "main:other", check=False)
    assert refused.returncode == 1 and "not on a Friday" in refused.stderr


WAYS = {
    "a shell": None,
    "a command": "id",
    "a command after": "git-upload-pack 'project.git'; id",
    "a substitution": 'git-upload-pack "$(id >&2)"',
    "git itself": "git status",
    "git's cvsserver": "cvs server",
    "another path": "/usr/bin/git-upload-pack x",
    "a shell's options": "git-shell-commands/x",
    "an option for git": "git-upload-pack --help",
}


@pytest.mark.parametrize("way", WAYS)
def test_a083_everything_else_is_refused(forge: Host, work: str, way: str) -> None:
    command = WAYS[way]
    done = forge.ssh(USER, command) if command else forge.ssh(USER, tty=True)
    assert done.returncode != 0 and "uid=" not in done.stdout + done.stderr
    if way in ("a shell", "a command", "git itself"):
        assert f"Hello {USER}, this account is for git only:" in done.stderr + done.stdout
        assert "git clone" in done.stderr + done.stdout


def test_a083_the_pager_of_a_help_text(forge: Host, work: str) -> None:
    """CVE-2017-8386: git-upload-pack --help opened less, from which a shell was one key away."""
    done = forge.ssh(USER, "git-upload-pack --help", tty=True, input="!id\n")
    assert done.returncode != 0 and "uid=" not in done.stdout


def test_a062_no_sftp_and_no_scp(forge: Host, work: str) -> None:
    forge.run(["/bin/sh", "-c", "echo x > /root/work/x"], check=True)
    assert forge.sftp(USER, "pwd\n").returncode != 0
    for opts in ([], ["-O"]):
        assert forge.scp(USER, ["/root/work/x"], ":x", opts=opts).returncode != 0
    assert not (forge.root / f"home/{USER}/x").exists()


def test_a_name_that_is_none_and_one_that_is_taken(forge: Host, work: str) -> None:
    for name in ("../x", ".x", "-x", "a;id", "$(id)"):
        done = forge.ssh(USER, f"create {name}")
        assert done.returncode == 1 and done.stdout == "", name
    again = forge.ssh(USER, "create project.git")
    assert again.returncode == 1 and "is there already" in again.stderr
    assert forge.ssh(USER, "list").stdout == "project.git\n"


def test_nothing_of_the_host_is_in_the_root(forge: Host) -> None:
    root = forge.root / f"var/lib/jailctl/images/{forge.image('git-only')}/root"
    for name in ("usr/bin/bash", "usr/bin/perl", "usr/bin/python3", "usr/bin/less", "usr/bin/ssh", "usr/lib/openssh"):
        assert os.path.lexists(forge.root / name) and not os.path.lexists(root / name), name
