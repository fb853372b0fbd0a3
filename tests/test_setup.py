"""``jailctl setup`` on a fresh host: what it puts there, what it refuses, and that it takes back what it did.

Attacks: A067 (an earlier Match block), A096, A097 (helpers found through PATH), A124 (generated configuration), A189 (a
broken template), A195 (undo while there are users), A199 (file modes)."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .host import Host

pytestmark = pytest.mark.host
FRAGMENT = "/etc/ssh/sshd_config.d/000-jailctl.conf"
PROFILE = "/usr/share/pam-configs/jailctl"
LEFT = {
    f"/etc/{name}{end}" for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid") for end in ("", "-")
}
LEFT |= {"/etc/.pwd.lock", "/var/lib/pam/seen"}
"""What shadow and pam-auth-update rewrite by themselves; the account files are compared by their content elsewhere."""


def tree(host: Host) -> dict[str, str]:
    """Everything below the directories that setup may touch: path to kind, mode and content."""
    found: dict[str, str] = {}
    for top in ("etc", "usr/local", "usr/share/pam-configs", "var/lib/jailctl", "var/lib/pam", "home", "var/mail"):
        for directory, names, files in os.walk(host.root / top):
            for name in names + files:
                path = Path(directory) / name
                inside = "/" + str(path.relative_to(host.root))
                if inside not in LEFT:
                    found[inside] = _describe(path)
    return found


def _describe(path: Path) -> str:
    status = path.lstat()
    kind = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return f"{kind} -> {os.readlink(path)}"
    if stat.S_ISREG(status.st_mode):
        return f"{kind} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    return kind


def accounts(host: Host) -> list[str]:
    return [(host.root / name).read_text() for name in ("etc/passwd", "etc/group")]


def states(host: Host, *arguments: str) -> dict[str, str]:
    value = json.loads(host.jailctl("--json", "setup", *arguments).stdout)
    return {step["id"]: step["state"] for step in value["steps"]}


def refused(host: Host, *arguments: str) -> dict[str, str]:
    done = host.jailctl("--json", "setup", *arguments, check=False)
    assert done.returncode not in (0, 1), done.stderr
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert isinstance(error, dict)
    return error


def sessions(host: Host, name: str = "common-session") -> list[str]:
    text = (host.root / f"etc/pam.d/{name}").read_text()
    return [" ".join(line.split()) for line in text.splitlines() if line.startswith("session")]


def test_there_and_back(fresh_host: Host) -> None:
    before, users = tree(fresh_host), accounts(fresh_host)
    done = fresh_host.jailctl("setup")
    assert "passed" in done.stdout
    assert stat.S_IMODE((fresh_host.root / FRAGMENT[1:]).stat().st_mode) == 0o644
    assert fresh_host.run(["/usr/bin/getent", "group", "jailed"]).stdout.endswith(":\n")
    for name in ("common-session", "common-session-noninteractive"):
        assert sessions(fresh_host, name)[-2:] == [
            "session [success=1 default=ignore] pam_succeed_if.so quiet user notingroup jailed",
            "session requisite pam_exec.so quiet seteuid stdout /opt/jailctl/libexec/hook",
        ]
    assert [row for row in accounts(fresh_host)[0].splitlines() if row.startswith("jailctl-test")] == []
    middle = tree(fresh_host)
    again = fresh_host.jailctl("setup")
    assert again.stdout == "No changes: this host is set up.\n" and tree(fresh_host) == middle
    fresh_host.jailctl("setup", "--undo")
    assert tree(fresh_host) == before and accounts(fresh_host) == users
    assert fresh_host.jailctl("setup", "--undo").stdout == "No changes: nothing is set up here.\n"
    assert fresh_host.run(["/usr/sbin/sshd", "-t"]).returncode == 0


def test_a_dry_run_changes_nothing(fresh_host: Host) -> None:
    before = tree(fresh_host)
    done = fresh_host.jailctl("setup", "--dry-run")
    assert (
        "Match Group jailed" in done.stdout and "pam_exec.so quiet seteuid" in done.stdout and "because" in done.stdout
    )
    assert set(states(fresh_host, "--dry-run").values()) == {"planned"}
    assert tree(fresh_host) == before


def test_the_running_sshd_takes_the_new_settings(fresh_host: Host) -> None:
    """SIGHUP and no restart: the process is the same, a connection that is open stays open."""
    fresh_host.run(["/usr/sbin/useradd", "-m", "-s", "/bin/bash", "plain"], check=True)
    ssh = fresh_host.root / "home/plain/.ssh"
    ssh.mkdir()
    (ssh / "authorized_keys").write_text(fresh_host.public_key("plain"))
    fresh_host.run(["/bin/chown", "-R", "plain:", "/home/plain/.ssh"], check=True)
    daemon = fresh_host.sshd_pid
    with fresh_host.ssh_spawn("plain", "cat") as session:
        assert session.stdin and session.stdout
        session.stdin.write(b"one\n")
        assert session.stdout.read(4) == b"one\n"
        fresh_host.jailctl("setup")
        session.stdin.write(b"two\n")
        assert session.stdout.read(4) == b"two\n"
    assert fresh_host.sshd_pid == daemon
    assert fresh_host.ssh("plain", "id -un").stdout == "plain\n"  # and users outside the group are as before


BROKEN = [
    # what is wrong before setup: (file, text to put in front, or {old: new}), the code, what the message names
    ("etc/ssh/sshd_config", "NoSuchKeyword yes\n", "host.sshd-config", "NoSuchKeyword"),
    ("etc/ssh/sshd_config", {"Include": "#Include"}, "host.sshd-include", "does not read /etc/ssh/sshd_config.d"),
    ("etc/ssh/sshd_config", "Match User nobody\n", "host.sshd-include", "only within 'Match User nobody'"),
    ("etc/ssh/sshd_config", {"UsePAM yes": "UsePAM no"}, "host.sshd-usepam", "UsePAM no"),
    ("etc/ssh/sshd_config.d/00-early.conf",
     "Match Address 10.9.0.0/16\n  AllowTcpForwarding yes\n  ForceCommand /bin/sh\n", "host.sshd-overridden",
     "/etc/ssh/sshd_config.d/00-early.conf:3"),
    ("etc/ssh/sshd_config.d/00-early.conf", "Match Host *.example.net\n  X11Forwarding yes\n", "host.sshd-overridden",
     "/etc/ssh/sshd_config.d/00-early.conf:2"),
    ("opt/jailctl/templates/shell/template.toml", "jial = true\n", "invalid.template", "jial"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "change", "code", "says"), BROKEN, ids=[f"{row[2]}-{i}" for i, row in enumerate(BROKEN)]
)
def test_refused_before_anything_is_changed(
    fresh_host: Host, file: str, change: str | dict[str, str], code: str, says: str
) -> None:
    path = fresh_host.root / file
    text = path.read_text() if path.exists() else ""
    if isinstance(change, str):
        text = change + text
    else:
        for old, new in change.items():
            assert old in text
            text = text.replace(old, new)
    path.write_text(text)
    before, users = tree(fresh_host), accounts(fresh_host)
    error = refused(fresh_host)
    assert error["code"] == code and says in error["message"] and (error["hint"] or code == "invalid.template")
    assert tree(fresh_host) == before and accounts(fresh_host) == users


OPEN_DOOR = '#!/bin/sh\n[ "$SSH_ORIGINAL_COMMAND" ] && exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"'
UNDONE = [
    # what lets the test login fail: a command, the code, what the error says
    ("echo AllowUsers root > /etc/ssh/sshd_config.d/50-site.conf", "login.test-failed", "allowusers root"),
    ("install /bin/false /opt/jailctl/libexec/hook", "login.test-failed", "a command as jailctl-test-"),
    ("install /bin/true /opt/jailctl/libexec/hook", "login.test-failed", "a command as jailctl-test-"),
    ("install /bin/false /opt/jailctl/libexec/door", "login.test-failed", "a command as jailctl-test-"),
    # the worst one: a door that lets everybody out
    (f"install /dev/stdin /opt/jailctl/libexec/door <<< '{OPEN_DOOR}'", "login.test-failed", "outside the jail"),
    ("printf 'Match all\\n  AuthenticationMethods publickey,password\\n' > /etc/ssh/sshd_config.d/50-site.conf",
     "login.test-failed", "publickey,password, which the test cannot give"),
    ("sed -i /common-session/d /etc/pam.d/sshd", "host.pam-service", "sshd: the hook is not among"),
    ("sed -i '/end of pam-auth-update/i session optional pam_lastlog.so' /etc/pam.d/common-session", "host.pam-edited",
     "common-session"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "code", "says"), UNDONE, ids=[f"{row[1]}-{i}" for i, row in enumerate(UNDONE)])
def test_a_failure_takes_back_what_was_done(fresh_host: Host, command: str, code: str, says: str) -> None:
    fresh_host.run(["/bin/bash", "-c", command], check=True)
    before, users = tree(fresh_host), accounts(fresh_host)
    error = refused(fresh_host)
    assert error["code"] == code and says in error["message"] + error["hint"]
    assert "has been undone" in error["hint"]
    assert tree(fresh_host) == before and accounts(fresh_host) == users


def test_a_failed_update_brings_the_older_files_back(fresh_host: Host) -> None:
    fresh_host.jailctl("setup")
    path = fresh_host.root / FRAGMENT[1:]
    old = path.read_text().replace("ExposeAuthInfo no", "ExposeAuthInfo yes")
    path.write_text(old)
    fresh_host.run(["/usr/bin/install", "/bin/false", "/opt/jailctl/libexec/hook"], check=True)
    assert refused(fresh_host)["code"] == "login.test-failed"
    assert path.read_text() == old and (fresh_host.root / PROFILE[1:]).exists()


def test_what_has_drifted_is_put_right(fresh_host: Host) -> None:
    fresh_host.jailctl("setup")
    (fresh_host.root / FRAGMENT[1:]).write_text("# gone\n")
    (fresh_host.root / PROFILE[1:]).unlink()
    (fresh_host.root / "etc/jailctl/keys").chmod(0o777)
    found = states(fresh_host)
    assert {key for key, state in found.items() if state == "done"} == {"sshd", "pam", "directories"}
    assert set(states(fresh_host).values()) == {"already"}


CANARY = "#!/bin/sh\necho $0 >> /root/canary\nexit 0\n"
HELPERS = "sshd ssh ssh-keygen pam-auth-update groupadd groupdel useradd userdel usermod systemctl sh bash python3 perl"
HELPERS += " md5sum cp getent chpasswd gpasswd"


def test_nothing_is_found_through_the_callers_environment(fresh_host: Host) -> None:
    """A097: root with a PATH, a Python path and a preload that somebody else may write to."""
    evil = fresh_host.root / "tmp/evil"
    evil.mkdir()
    for name in HELPERS.split():
        (evil / name).write_text(CANARY)
        (evil / name).chmod(0o755)
    (evil / "sitecustomize.py").write_text("open('/root/canary', 'a').write('python')\n")
    (evil / "click.py").write_text("open('/root/canary', 'a').write('click')\n")
    names = ("PATH", "PYTHONPATH", "HOME", "PERL5LIB")
    environment = dict.fromkeys(names, "/tmp/evil") | {
        "PYTHONSTARTUP": "/tmp/evil/click.py",
        "BASH_ENV": "/tmp/evil/sh",
    }
    for arguments in (["setup"], ["doctor"], ["setup", "--undo"]):
        done = fresh_host.run(["/usr/local/sbin/jailctl", *arguments], env=environment, cwd="/tmp/evil", timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    assert not (fresh_host.root / "root/canary").exists()
    assert fresh_host.run(["/tmp/evil/sshd"]).returncode == 0 and (fresh_host.root / "root/canary").exists()


@pytest.mark.parametrize("umask", ["000", "077"])
def test_modes_do_not_depend_on_the_umask(fresh_host: Host, umask: str) -> None:
    """A199: what a tenant's sshd has to read stays readable, and nothing of root's becomes everybody's."""
    fresh_host.run(["/bin/sh", "-c", f"umask {umask}; exec /usr/local/sbin/jailctl setup"], check=True, timeout=60)
    for path, described in tree(fresh_host).items():
        mode, owner = described.split(" ")[:2]
        if "jailctl" in path and not mode.startswith("l"):
            assert owner == "0:0" and mode[5] == "-" and (mode[8] == "-" or path.endswith("/tmp")), (
                f"{path} {described}"
            )
    wanted = {"etc/jailctl/keys": 0o755, FRAGMENT[1:]: 0o644, PROFILE[1:]: 0o644, "var/lib/jailctl/state.db": 0o600}
    for path, bits in {**wanted, "usr/local/share/zsh/site-functions": 0o755}.items():
        assert stat.S_IMODE((fresh_host.root / path).stat().st_mode) == bits, path


def test_undo_is_refused_while_there_are_jails(fresh_host: Host) -> None:
    fresh_host.jailctl("setup", "--no-login-test")
    fresh_host.jailctl("add-user", "alice", "--key", fresh_host.key("alice") + ".pub")
    error = refused(fresh_host, "--undo")
    assert error["code"] == "busy.jails" and "alice" in error["message"] and "remove-user alice" in error["hint"]
    assert fresh_host.ssh("alice", "id -un").stdout == "alice\n"
    fresh_host.jailctl("remove-user", "alice")
    done = fresh_host.jailctl("setup", "--undo")
    assert "state.db" in done.stdout  # ids that a real user had are never given again
    fresh_host.jailctl("list")  # a look makes no directory anew
    assert not (fresh_host.root / "etc/jailctl").exists() and not (fresh_host.root / FRAGMENT[1:]).exists()


def test_an_administrators_own_files_stay(fresh_host: Host) -> None:
    fresh_host.jailctl("setup")
    config = fresh_host.root / "etc/jailctl/jailctl.toml"
    config.write_text(config.read_text() + 'never_touch = ["admin"]\n')
    (fresh_host.root / "etc/jailctl/templates/mine").mkdir()
    notes = json.loads(fresh_host.jailctl("--json", "setup", "--undo").stdout)["notes"]
    assert len(notes) == 2 and "jailctl.toml (it was edited)" in notes[0] and "/etc/jailctl/templates" in notes[1]
    assert config.exists() and (fresh_host.root / "etc/jailctl/templates/mine").exists()


def test_lines_added_by_hand_count(fresh_host: Host) -> None:
    """Where common-session is the administrator's own, pam-auth-update does nothing; our lines may stand there by
    hand."""
    hint = ""
    for name in ("common-session", "common-session-noninteractive"):
        path = fresh_host.root / f"etc/pam.d/{name}"
        path.write_text(path.read_text() + "session optional pam_lastlog.so\n")
        path.write_text(path.read_text().replace("# and here are more per-package modules", "# mine"))
    hint = refused(fresh_host)["hint"]
    added = [
        part
        for part in hint.replace(" and: ", "\n").replace("again: ", "again:\n").split("\n")
        if part.startswith("session")
    ]
    assert len(added) == 2
    added[1] = added[1].partition(";")[0]
    for name in ("common-session", "common-session-noninteractive"):
        path = fresh_host.root / f"etc/pam.d/{name}"
        path.write_text(path.read_text() + "\n".join(added) + "\n")
    assert "passed" in fresh_host.jailctl("setup").stdout


def test_without_a_running_sshd(host_without_sshd: Host) -> None:
    before = tree(host_without_sshd)
    error = refused(host_without_sshd)
    assert error["code"] == "host.no-sshd-running" and "--no-login-test" in error["hint"]
    assert tree(host_without_sshd) == before
    done = host_without_sshd.jailctl("setup", "--no-login-test")
    assert "no login was tested" in done.stdout and "reads the new one when it starts" in done.stdout


@pytest.fixture
def host_without_sshd() -> Iterator[Host]:
    with Host(sshd=False) as made:
        yield made


def test_one_at_a_time(fresh_host: Host) -> None:
    with fresh_host.spawn(["/usr/bin/flock", "/run/jailctl-setup.lock", "-c", "echo locked; exec sleep 60"]) as holder:
        assert holder.stdout and holder.stdout.readline() == b"locked\n"
        assert refused(fresh_host, "--no-login-test")["code"] == "busy.setup"
        holder.kill()


@pytest.mark.slow
def test_killed_at_any_moment(fresh_host: Host) -> None:
    """No journal: the next run finds out what is there. The test's own user goes as well."""
    for milliseconds in (150, 300, 450, 600, 750, 900, 1100, 1300, 1600):
        with fresh_host.spawn(["/usr/local/sbin/jailctl", "setup"]) as process:
            time.sleep(milliseconds / 1000)
            process.kill()
            process.wait(10)
        assert fresh_host.run(["/usr/sbin/sshd", "-t"]).returncode == 0
        assert fresh_host.run(["/bin/su", "-", "root", "-c", "true"]).returncode == 0
    assert set(states(fresh_host, "--login-test").values()) <= {"already", "done"}
    assert json.loads(fresh_host.jailctl("--json", "list").stdout) == {"jails": []}
    assert "jailctl-test" not in accounts(fresh_host)[0]
