"""Template sftp-only, used by its user with OpenSSH's own clients, and kept by its administrator."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator

import pytest

from tests.host import Host, wait_for
from tests.ways.ways import INTERNAL_PORT

pytestmark = pytest.mark.host
USER = "fay"
OF_ACCOUNTS = [f"accounts.{name}" for name in ("group", "levels", "members", "outside", "ranges", "specs", "uids")]


@pytest.fixture(scope="module")
def files(host: Host) -> Iterator[Host]:
    internal = host.stock_sshd_config.replace("/usr/lib/openssh/sftp-server", "internal-sftp")
    assert internal != host.stock_sshd_config
    host.jailctl("add-user", USER, "--template", "sftp-only", "--key", f"{host.key(USER)}.pub")
    with host.sshd_on(INTERNAL_PORT, internal):
        yield host
    host.jailctl("remove-user", USER)


def state(host: Host, user: str) -> str:
    return str(json.loads(host.jailctl("show", user, "--json").stdout)["jail"]["state"])


@pytest.mark.parametrize("port", [22, INTERNAL_PORT])
def test_what_sftp_can_do(files: Host, port: int) -> None:
    """Whatever the host's sshd has for its sftp subsystem."""
    (files.root / "var/tmp/there").write_bytes(bytes(range(256)) * 1000)
    commands = f"""
pwd
put /var/tmp/there here
ls -l
rename here renamed
chmod 640 renamed
mkdir d
rename renamed d/renamed
ln -s d/renamed link
ln d/renamed hard
ls -l d
get link /var/tmp/back{port}
df
rm hard
rm link
rm d/renamed
rmdir d
"""
    done = files.sftp(USER, commands, opts=["-o", f"Port={port}"])
    assert done.returncode == 0, done.stderr
    assert "Remote working directory: /files\n" in done.stdout
    assert "-rw-r--r--    ? fay      fay        256000 " in done.stdout  # by name
    assert "-rw-r-----    ? fay      fay        256000 " in done.stdout
    assert (files.root / f"var/tmp/back{port}").read_bytes() == bytes(range(256)) * 1000
    assert files.sftp(USER, "ls -l\n").stdout == "sftp> ls -l\n"


@pytest.mark.parametrize("options", [[], ["-s"], ["-r"]], ids=str)
def test_scp(files: Host, options: list[str]) -> None:
    """As it is sftp since OpenSSH 9; ``~`` is where a session starts."""
    source = "/etc/pam.d" if options == ["-r"] else "/etc/hostname"
    done = files.scp(USER, [source], ":~/copied", opts=options)
    assert done.returncode == 0, done.stderr
    back = f"/var/tmp/copied{''.join(options)}"
    assert files.scp(USER, [":copied"], back, opts=options).returncode == 0
    assert files.run(["/usr/bin/diff", "-r", source, back]).returncode == 0
    files.run(["/bin/rm", "-r", f"/home/{USER}/files/copied"], check=True)


def test_what_she_sees(files: Host) -> None:
    listed = files.sftp(USER, "ls -la /\nls -la /etc\n").stdout
    names = [line.rpartition("/")[2] for line in listed.splitlines() if line[:1] in "d-"]
    assert names == [".", "..", "etc", "files", ".", "..", "group", "passwd"]
    files.scp(USER, [":/etc/passwd", ":/etc/group"], "/var/tmp")
    uid = files.ids(USER)[0]
    assert (files.root / "var/tmp/passwd").read_text() == (
        f"root:x:0:0:root:/:/usr/sbin/nologin\nfay:x:{uid}:{uid}::/files:/usr/sbin/nologin\n"
    )
    assert (files.root / "var/tmp/group").read_text() == f"root:x:0:\nfay:x:{uid}:\n"


def test_the_verbs(files: Host) -> None:
    shown = files.jailctl("show", USER).stdout
    assert "level      chroot: files only, by sftp\n" in shown and f"/home/{USER}/files\n" in shown
    assert f"log in     sftp {USER}@testhost\n" in shown and "shell" not in shown.replace("sftp-only", "")
    for verb in (["exec", USER, "--", "id"], ["enter", USER]):
        done = files.jailctl(*verb, check=False)
        assert done.returncode == 12 and "files only" in done.stderr
    files.jailctl("stop", USER)
    assert state(files, USER) == "dormant"
    assert "stays until" in files.jailctl("start", USER).stdout
    assert state(files, USER) == "running"
    assert "runs already" in files.jailctl("start", USER).stdout
    assert json.loads(files.jailctl("start", USER, "--json").stdout)["jails"][0]["pid"] is None
    assert "stopped" in files.jailctl("stop", USER).stdout
    assert "was not running" in files.jailctl("stop", USER).stdout
    assert "No changes" in files.jailctl("add-user", USER).stdout
    assert files.jailctl("doctor", *OF_ACCOUNTS, "paths.homes", "sshd.effective", "state.runtime").returncode == 0


def test_a_session_is_seen_and_stopped(files: Host) -> None:
    with files.spawn(files.sftp_argv(USER)) as client:
        assert client.stdin
        client.stdin.write(b"pwd\n")
        wait_for(lambda: json.loads(files.jailctl("show", USER, "--json").stdout)["jail"]["sessions"] == 1, 10)
        shown = json.loads(files.jailctl("show", USER, "--json").stdout)
        assert (shown["jail"]["state"], shown["pid"], shown["sessions"][0]["service"]) == ("running", None, "sshd")
        assert shown["processes"] >= 1
        files.jailctl("stop", USER)
        uid = files.ids(USER)[0]
        assert [process for process in files.processes() if uid in process.uids] == []
        client.stdin.write(b"ls\n")
        assert client.wait(10) not in (0, None)


def test_it_ends_after_its_last_session(files: Host) -> None:
    files.jailctl("add-user", "faylinger", "--template", "sftp-only", "--set", "linger=1",
                  "--key", f"{files.key('faylinger')}.pub")  # fmt: skip
    record = files.root / f"run/jailctl/jails/{files.ids('faylinger')[0]}/entry"
    assert files.sftp("faylinger", "pwd\n").returncode == 0
    assert record.exists(), "it runs: looked at without jailctl, which may take longer than it lingers"
    wait_for(lambda: not record.exists(), 10)
    assert state(files, "faylinger") == "dormant"
    assert files.sftp("faylinger", "pwd\n").returncode == 0
    files.jailctl("remove-user", "faylinger")


def test_refusals_of_the_administrator(files: Host) -> None:
    files.run(["/usr/sbin/useradd", "-m", "-s", "/bin/bash", "fayold"], check=True)
    for words, code, says in (
        (["fayold", "--existing", "--template", "sftp-only"], 4, "home of her own"),
        (["faynew", "--template", "sftp-only", "--set", "shell=/bin/sh"], 5, "shell means nothing"),
        ([USER, "--template", "shell"], 4, "of level"),
    ):
        done = files.jailctl("add-user", *words, check=False)
        assert (done.returncode, says in done.stderr, "hint:" in done.stderr) == (code, True, True), done.stderr
    assert (files.root / "home/fayold").stat().st_uid == files.ids("fayold")[0]
    assert not (files.root / "home/faynew").exists()


def test_lost_groups_are_mended(files: Host) -> None:
    for group in ("jailed", "jailed-chroot"):
        files.run(["/usr/bin/gpasswd", "-d", USER, group], check=True)
        assert files.sftp(USER, "pwd\n").returncode != 0
        found = files.jailctl("doctor", "accounts", check=False).stdout
        assert f"usermod -aG {group} {USER}" in found
        files.jailctl("add-user", USER)
        assert files.sftp(USER, "pwd\n").returncode == 0


def test_removed_and_kept(files: Host) -> None:
    key = f"{files.key('faygone')}.pub"
    for options in (["--archive", "/root/faygone.tar"], ["--keep-home"], []):
        files.jailctl("add-user", "faygone", "--template", "sftp-only", "--key", key)
        assert files.sftp("faygone", "put /etc/hostname\n").returncode == 0
        uid = files.ids("faygone")[0]
        files.jailctl("remove-user", "faygone", *options)
        home = files.root / "home/faygone"
        for path in (f"run/jailctl/jails/{uid}", "run/jailctl/names/faygone", "var/lib/jailctl/jails/faygone"):
            assert not (files.root / path).exists()
        for database in ("passwd", "group", "shadow", "gshadow"):
            assert "faygone" not in (files.root / "etc" / database).read_text()
        if options == ["--keep-home"]:
            status = home.stat()
            assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, 0, 0o700)
            assert (home / "files/hostname").stat().st_uid == uid
            done = files.jailctl("add-user", "faygone", "--template", "sftp-only", check=False)
            assert done.returncode == 4 and "exists already" in done.stderr
            files.run(["/bin/rm", "-r", "/home/faygone"], check=True)
        assert not home.exists()
    with tarfile.open(files.root / "root/faygone.tar") as tar:
        assert {"./files/hostname", "./etc/passwd"} <= set(tar.getnames())


@pytest.fixture
def own_template(files: Host) -> Iterator[str]:
    """A copy of the administrator's, and a user of it."""
    directory = "/etc/jailctl/templates/drops"
    files.run(["/bin/cp", "-r", "/opt/jailctl/templates/sftp-only", directory], check=True)
    files.run(["/bin/sed", "-i", 's/^name = .*/name = "drops"/', f"{directory}/template.toml"], check=True)
    files.jailctl("add-user", "faydrop", "--template", "drops", "--key", f"{files.key('faydrop')}.pub")
    yield directory
    files.jailctl("remove-user", "faydrop")
    files.run(["/bin/rm", "-r", directory], check=True)


def passwd_of(host: Host) -> str:
    done = host.scp("faydrop", [":/etc/passwd"], "/var/tmp/drops")
    return (host.root / "var/tmp/drops").read_text() if done.returncode == 0 else done.stderr


def test_an_update_comes_with_the_next_start(files: Host, own_template: str) -> None:
    """As for any template: the tag moves, what runs keeps what it has, what starts has the new."""
    assert "daemon" not in passwd_of(files)
    file = files.root / own_template[1:] / "jail/etc/passwd.j2"
    file.write_text("daemon:x:1:1::/:/usr/sbin/nologin\n" + file.read_text())
    files.jailctl("update", "drops")
    assert "daemon" not in passwd_of(files)
    files.jailctl("stop", "faydrop")
    assert passwd_of(files).startswith("daemon:x:1:")
    files.jailctl("image", "rollback", "drops")
    files.jailctl("stop", "faydrop")
    assert "daemon" not in passwd_of(files) and passwd_of(files).startswith("root:")
    assert "No changes" in files.jailctl("add-user", "faydrop").stdout


def test_a_template_that_changes_its_level_lets_nobody_in(files: Host, own_template: str) -> None:
    """The home is not one of that level: an update is refused. Should the tag name such an image all the same, so is
    every login, until it names one of her level again."""
    assert passwd_of(files).startswith("root:")
    file = files.root / own_template[1:] / "template.toml"
    before, tag = file.read_text(), files.root / "var/lib/jailctl/tags/drops"
    file.write_text(before.replace('level = "chroot"', 'level = "namespaces"'))
    images = set(os.listdir(files.root / "var/lib/jailctl/images"))
    done = files.jailctl("update", "drops", check=False)
    assert done.returncode == 4 and "of level namespaces" in done.stderr
    assert passwd_of(files).startswith("root:")
    (other,) = set(os.listdir(files.root / "var/lib/jailctl/images")) - images
    mine = os.readlink(tag)
    tag.unlink()
    tag.symlink_to(f"../images/{other}")
    files.jailctl("stop", "faydrop")
    mark = len(files.syslog())
    assert "closed" in passwd_of(files) and files.ssh("faydrop", "id").returncode != 0
    assert "code=conflict.level" in files.wait_syslog("jailctl-start", after=mark)
    done = files.jailctl("add-user", "faydrop", check=False)
    assert done.returncode == 4 and "of level" in done.stderr
    file.write_text(before)
    tag.unlink()
    tag.symlink_to(mine)
    assert passwd_of(files).startswith("root:")


@pytest.mark.parametrize("verb", ["diff", "reset"])
def test_it_has_no_writable_root(files: Host, verb: str) -> None:
    done = files.jailctl(verb, USER, check=False)
    assert done.returncode != 0 and "hint:" in done.stderr and "internal" not in done.stderr, done.stderr
