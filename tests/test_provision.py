"""add-user and remove-user as an administrator types them, on a host with real accounts, sshd and PAM: twice,
differently, for accounts that were there, with homes full of traps. Attack ids are those of the attack list."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host import Host, wait_for
from tests.inside import PYTHON
from tests.test_provision_crash import inside


@pytest.fixture(scope="module")
def own(host: Host) -> Iterator[Host]:
    """The session's host with places for canaries."""
    for path in ("root/canary", "tmp/evil"):
        (host.root / path).mkdir(exist_ok=True)
    yield host


def add(host: Host, name: str, *more: str) -> Any:
    done = host.jailctl("add-user", name, "--key", host.key(name) + ".pub", *more, "--json")
    return json.loads(done.stdout)


def refused(host: Host, *args: str, **options: Any) -> tuple[int, str]:
    done = host.jailctl(*args, check=False, **options)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def fingerprint(host: Host, *places: str) -> str:
    """Of names, types, modes, owners, link targets and contents below some places, and of the account files."""
    total = hashlib.sha256()
    tops = [host.root / place for place in places if (host.root / place).exists()]
    for path in sorted(child for top in tops for child in [top, *top.rglob("*")]):
        status = path.lstat()
        total.update(f"{path} {status.st_mode} {status.st_uid} {status.st_gid} {status.st_mtime_ns}".encode())
        if stat.S_ISREG(status.st_mode):
            total.update(path.read_bytes())
        elif stat.S_ISLNK(status.st_mode):
            total.update(os.readlink(path).encode())
    return total.hexdigest()


ACCOUNTS = ("etc/passwd", "etc/shadow", "etc/group", "etc/gshadow", "etc/subuid", "etc/subgid")
OURS = ("etc/jailctl", "var/lib/jailctl/jails", "var/lib/jailctl/tags", "home")


def canary(host: Host, name: str) -> Path:
    path = host.root / "root/canary" / name
    path.write_text(f"canary {name}")
    path.chmod(0o640)
    return path


def passwd(host: Host, name: str) -> list[str]:
    lines = (host.root / "etc/passwd").read_text().splitlines()
    return next((line.split(":") for line in lines if line.startswith(name + ":")), [])


def members(host: Host, group: str) -> list[str]:
    lines = (host.root / "etc/group").read_text().splitlines()
    return next(line.split(":")[3].split(",") for line in lines if line.startswith(group + ":"))


# -- adding


def test_adding_twice_changes_nothing_the_second_time(own: Host) -> None:
    first = add(own, "twice")
    assert first["changed"]
    before = fingerprint(own, *ACCOUNTS, *OURS)
    second = add(own, "twice")
    assert not second["changed"]
    assert second["operations"] == []
    assert "No changes" in own.jailctl("add-user", "twice").stdout
    assert fingerprint(own, *ACCOUNTS, *OURS) == before
    assert own.ssh("twice", "id -un").stdout == "twice\n"
    own.jailctl("remove-user", "twice")


def test_a_different_call_says_what_differs(own: Host) -> None:
    add(own, "diff", "--set", "linger=5")
    before = fingerprint(own, *ACCOUNTS, *OURS)
    number, said = refused(own, "add-user", "diff", "--set", "linger=9", "--set", "network=host")
    assert number == 4
    assert "linger: is 5, asked for 9" in said
    assert "network" in said
    assert "diff.toml" in said
    assert fingerprint(own, *ACCOUNTS, *OURS) == before
    own.jailctl("remove-user", "diff")


def test_an_edited_spec_is_carried_out_by_the_same_call(own: Host) -> None:
    add(own, "edit")
    spec = own.root / "etc/jailctl/jails.d/edit.toml"
    spec.write_text(spec.read_text() + '# because of the demo\nhostname = "elsewhere"\n')
    assert json.loads(own.jailctl("add-user", "edit", "--json").stdout)["changed"]
    assert own.ssh("edit", "hostname").stdout == "elsewhere\n"
    assert "because of the demo" in spec.read_text()
    assert not json.loads(own.jailctl("add-user", "edit", "--json").stdout)["changed"]
    own.jailctl("remove-user", "edit")


def test_a_dry_run_changes_nothing_at_all(fresh_host: Host) -> None:
    places = ("etc", "var/lib/jailctl", "home", "run/jailctl")
    before = fingerprint(fresh_host, *places)
    done = fresh_host.jailctl("add-user", "dry", "--dry-run")
    assert "create the account" in done.stdout
    assert fingerprint(fresh_host, *places) == before
    assert not (fresh_host.root / "run/jailctl").exists()


def test_drift_is_mended_by_the_same_call(own: Host) -> None:
    add(own, "drift")
    own.run(["/usr/sbin/usermod", "-s", "/bin/bash", "drift"], check=True)
    own.run(["/usr/bin/gpasswd", "-d", "drift", "jailed"], check=True)
    key_file = own.root / "etc/jailctl/keys/drift"
    key_file.write_text(f'command="/bin/sh" {own.public_key("other")}\n')
    recipe = own.root / "var/lib/jailctl/jails/drift/recipe"
    recipe.write_text(recipe.read_text().replace("file.passwd root:x:", "file.passwd root::"))
    done = add(own, "drift")
    assert {operation["op"] for operation in done["operations"]} == {"jail-files", "key-file", "confine"}
    assert passwd(own, "drift")[6] == "/opt/jailctl/libexec/door"
    assert "drift" in members(own, "jailed")
    assert "command=" not in key_file.read_text()
    assert own.ssh("drift", "head -1 /etc/passwd").stdout.startswith("root:x:")
    own.jailctl("remove-user", "drift")


def test_a_password_is_set_once_and_compared_later(own: Host) -> None:
    own.jailctl("add-user", "pass", "--password-stdin", input="s3cret phrase\n")
    assert not json.loads(
        own.jailctl("add-user", "pass", "--password-stdin", "--json", input="s3cret phrase\n").stdout
    )["changed"]
    number, said = refused(own, "add-user", "pass", "--password-stdin", input="another\n")
    assert number == 4
    assert "password" in said
    assert "another one" in said and "s3cret" not in said
    for path in (own.root / "var/lib/jailctl").glob("state.db*"):
        assert b"s3cret" not in path.read_bytes()
        assert b"$y$" not in path.read_bytes()
    own.jailctl("remove-user", "pass")


def test_a199_modes_and_owners_are_the_same_under_every_umask(own: Host) -> None:
    seen = []
    for umask in ("000", "077"):
        command = f"umask {umask}; exec /usr/local/sbin/jailctl add-user mask --key {own.key('mask')}.pub"
        own.run(["/bin/sh", "-c", command], check=True)
        places = ["etc/jailctl/keys/mask", "etc/jailctl/jails.d/mask.toml", "home/mask", "var/lib/jailctl/jails/mask",
                  "var/lib/jailctl/state.db", "etc/jailctl", "etc/jailctl/keys", "etc/jailctl/jails.d"]  # fmt: skip
        paths = [child for place in places for child in [own.root / place, *(own.root / place).rglob("*")]]
        seen.append(
            {
                str(path): (path.lstat().st_mode, path.lstat().st_uid == 0)
                for path in paths
                if path.name != "state.db-shm"
            }
        )
        own.jailctl("remove-user", "mask")
    assert seen[0] == seen[1]
    modes = {path.removeprefix(str(own.root)): stat.S_IMODE(mode) for path, (mode, _) in seen[0].items()}
    assert modes["/home/mask"] == 0o700
    assert modes["/var/lib/jailctl/state.db"] == 0o600
    assert modes["/etc/jailctl/keys/mask"] == 0o644
    assert modes["/etc/jailctl/jails.d/mask.toml"] == 0o600


# -- names and values


HOSTILE = [
    "../x", "a/b", "-x", "--root=/", "a b", "a:b", "a,b", "a\nb", "a\rb", "$(id)", ";", "*", ".", "..", "", "a" * 33,
    "0", "0day", "0x1", "root", "ALL", "%g", "\u00e4lice", "a..b", "a.", "Alice", "nobody", "self",
]  # fmt: skip


def test_a117_hostile_names_are_refused_and_change_nothing(own: Host) -> None:
    before = fingerprint(own, *ACCOUNTS, *OURS)
    theirs = ["sshd", "daemon"]  # names that could be, and are somebody's
    calls = [[verb, "--", name] for name in HOSTILE for verb in ("add-user", "remove-user", "show", "stop")]
    calls += [[verb, "--", name] for name in theirs for verb in ("add-user", "remove-user")]
    statuses = inside(own, "cli", calls=calls)
    assert [call for call, status in zip(calls, statuses, strict=True) if status not in (2, 3, 4, 5)] == []
    assert statuses[-4:] == [4, 4, 4, 4]
    assert inside(own, "cli", calls=[["list"]]) == [0], "what can succeed does"
    assert fingerprint(own, *ACCOUNTS, *OURS) == before


def test_a119_options_are_never_made_of_values(own: Host) -> None:
    for more in (["--set", "hostname=--help"], ["--set", "shell=-c"], ["--template", "-x"], ["--key", "@/etc/shadow"]):
        refused(own, "add-user", "opt", *more)
    add(own, "opt")
    refused(own, "remove-user", "opt", "--archive", "/nowhere/a.tar")
    archive = "--checkpoint-action=exec=sh"
    own.run(["/usr/local/sbin/jailctl", "remove-user", "opt", f"--archive={archive}"], cwd="/root", check=True)
    assert passwd(own, "opt") == []
    (own.root / "root" / archive).unlink()


def test_a097_no_helper_is_found_through_path(own: Host) -> None:
    evil = own.root / "tmp/evil"
    tools = (
        "useradd",
        "usermod",
        "userdel",
        "groupadd",
        "gpasswd",
        "chpasswd",
        "mount",
        "tar",
        "gzip",
        "sh",
        "bash",
        "python3",
        "ls",
    )
    for tool in tools:
        (evil / tool).write_text("#!/bin/sh\n/bin/echo ran >> /tmp/evil/ran\n")
        (evil / tool).chmod(0o755)
    env = {
        "PATH": "/tmp/evil",
        "LD_LIBRARY_PATH": "/tmp/evil",
        "PYTHONPATH": "/tmp/evil",
        "IFS": "/",
        "ENV": "/tmp/evil/sh",
    }
    (evil / "jailkit.py").write_text("open('/tmp/evil/ran', 'w').close()\n")
    (evil / "sitecustomize.py").write_text("open('/tmp/evil/ran', 'w').close()\n")
    assert own.run(["/bin/sh", "-c", "useradd"], env=env).returncode == 0
    assert (evil / "ran").exists(), "the canaries work"
    (evil / "ran").unlink()
    for argv in (["add-user", "path", "--password-stdin"], ["remove-user", "path", "--archive", "/root/path.tar.gz"]):
        done = own.run(["/usr/local/sbin/jailctl", *argv], env=env, input="secret\n", cwd="/tmp/evil")
        assert done.returncode == 0, done.stderr
    assert not (evil / "ran").exists()


def test_a090_special_files_in_our_places_do_not_hang(own: Host) -> None:
    add(own, "fifo")
    key_file = own.root / "etc/jailctl/keys/fifo"
    key_file.unlink()
    os.mkfifo(key_file)
    number, _ = refused(own, "add-user", "fifo", timeout=10)
    assert number == 8
    key_file.unlink()
    spec = own.root / "etc/jailctl/jails.d/fifo.toml"
    spec.rename(spec.with_suffix(".kept"))
    os.mkfifo(spec)
    refused(own, "add-user", "fifo", timeout=10)
    refused(own, "remove-user", "fifo", timeout=10)
    add(own, "others")  # who goes on
    own.jailctl("remove-user", "others")
    spec.unlink()
    spec.with_suffix(".kept").rename(spec)
    own.jailctl("remove-user", "fifo")


def test_a123_a_spec_or_template_that_others_could_write_is_refused(own: Host) -> None:
    add(own, "trust")
    spec = own.root / "etc/jailctl/jails.d/trust.toml"
    spec.chmod(0o666)
    number, said = refused(own, "add-user", "trust")
    assert number == 8
    assert "trust.toml" in said
    spec.chmod(0o600)
    mine = own.root / "etc/jailctl/templates/mine"
    mine.mkdir()
    (mine / "template.toml").write_text('name = "mine"\ndescription = "x"\nsource = "host"\n')
    mine.chmod(0o777)
    assert refused(own, "add-user", "trust2", "--template", "mine")[0] == 8
    mine.chmod(0o755)
    (mine / "template.toml").write_text('name = "mine"\ndescription = 5\nsource = "hosts"\njial = true\n')
    number, said = refused(own, "add-user", "trust2", "--template", "mine")
    assert number == 5
    assert all(part in said for part in ("'description'", "'source'", "'jial'", "template.toml"))
    assert passwd(own, "trust2") == []
    own.run(["/bin/rm", "-r", "/etc/jailctl/templates/mine"], check=True)
    own.jailctl("remove-user", "trust")


# -- accounts that were there


def useradd(host: Host, name: str, *more: str) -> None:
    host.run(["/usr/sbin/useradd", "-m", "-s", "/bin/bash", *more, name], check=True)


def test_an_existing_account_is_taken_and_given_back(own: Host) -> None:
    useradd(own, "carol", "-c", "Carol {{7*7}}, Room 1")
    (own.root / "home/carol/notes").write_text("hers")
    before = fingerprint(own, "home/carol"), passwd(own, "carol")
    assert refused(own, "add-user", "carol")[0] == 4
    add(own, "carol", "--existing")
    assert passwd(own, "carol")[6] == "/opt/jailctl/libexec/door"
    assert own.ssh("carol", "cat notes; grep -c 'Carol {{7\\*7}}, Room 1' /etc/passwd").stdout == "hers1\n"
    assert not json.loads(own.jailctl("add-user", "carol", "--existing", "--json").stdout)["changed"]
    own.jailctl("remove-user", "carol")
    assert passwd(own, "carol") == before[1]
    assert "carol" not in members(own, "jailed")
    assert (own.root / "home/carol/notes").read_text() == "hers"
    assert (
        own.run(["/bin/su", "-", "carol", "-c", "readlink /proc/self/ns/mnt"]).stdout
        == own.run(["/usr/bin/readlink", "/proc/self/ns/mnt"]).stdout
    )
    own.run(["/usr/sbin/userdel", "-r", "carol"])


def test_accounts_that_must_not_be_jailed_are_refused(own: Host) -> None:
    useradd(own, "boss")
    useradd(own, "twin", "-o", "-u", passwd(own, "boss")[2])
    useradd(own, "wide")
    (own.root / "home/wide").chmod(0o777)
    useradd(own, "chief")
    own.run(["/usr/sbin/usermod", "-aG", "sudo", "chief"], check=True)
    useradd(own, "empty", "-p", "")
    useradd(own, "away", "-d", "/var/lib/away")
    before = fingerprint(own, *OURS)
    codes = {
        "root": 5,
        "daemon": 8,
        "nobody": 5,
        "boss": 8,
        "twin": 8,
        "wide": 8,
        "chief": 8,
        "empty": 8,
        "away": 5,
        "none": 3,
    }
    for name, code in codes.items():
        assert (name, refused(own, "add-user", name, "--existing")[0]) == (name, code)
    with own.spawn(["/usr/bin/sleep", "30"], user="chief"):
        own.run(["/usr/bin/gpasswd", "-d", "chief", "sudo"], check=True)
        number, said = refused(own, "add-user", "chief", "--existing")
        assert number == 7
        assert "processes outside" in said
    assert {passwd(own, name)[6] for name in ("boss", "twin", "wide", "chief", "empty", "away")} == {"/bin/bash"}
    assert fingerprint(own, *OURS) == before
    for name in ("twin", "boss", "wide", "chief", "empty", "away"):
        own.run(["/usr/sbin/userdel", "-f", "-r", name])


# -- removing


def test_a_removal_leaves_nothing_of_the_user_and_touches_nobody_else(own: Host) -> None:
    useradd(own, "bystander")
    add(own, "gone")
    own.ssh("gone", "mkdir -p a/b; echo x > a/b/c; ln -s /etc/passwd link")
    uid = passwd(own, "gone")[2]
    bystander = fingerprint(own, "home/bystander"), passwd(own, "bystander")
    own.jailctl("remove-user", "gone")
    text = "".join((own.root / path).read_text() for path in ACCOUNTS if (own.root / path).exists())
    assert "gone" not in text
    for path in ("home/gone", "etc/jailctl/keys/gone", "etc/jailctl/jails.d/gone.toml", "var/lib/jailctl/jails/gone",
                 f"run/jailctl/jails/{uid}", "run/jailctl/names/gone"):  # fmt: skip
        assert not os.path.lexists(own.root / path), path
    assert (fingerprint(own, "home/bystander"), passwd(own, "bystander")) == bystander
    assert refused(own, "remove-user", "gone")[0] == 3
    own.run(["/usr/sbin/userdel", "-r", "bystander"])


def test_what_is_not_ours_is_not_removed(own: Host) -> None:
    useradd(own, "theirs")
    before = fingerprint(own, *ACCOUNTS, "home/theirs")
    assert refused(own, "remove-user", "theirs")[0] == 4
    assert fingerprint(own, *ACCOUNTS, "home/theirs") == before
    own.run(["/usr/sbin/userdel", "-r", "theirs"])
    add(own, "marked")
    spec = own.root / "etc/jailctl/jails.d/marked.toml"
    text = spec.read_text()
    spec.write_text(text.partition("\n")[2])
    number, said = refused(own, "remove-user", "marked")
    assert number == 4
    assert "mark" in said
    spec.write_text(text)
    own.jailctl("remove-user", "marked")


def test_a086_a088_a090_traps_in_a_home_do_not_reach_out(own: Host) -> None:
    linked, hard = canary(own, "linked"), canary(own, "hard")
    hard_on_home = own.root / "home/canary-hard"
    hard_on_home.write_text("hard canary")
    hard_on_home.chmod(0o640)
    add(own, "trap")
    home = own.root / "home/trap"
    uid = home.stat().st_uid
    for name in (".bashrc", ".profile"):
        (home / name).unlink()
        (home / name).symlink_to("/root/canary/linked")
    (home / ".ssh").symlink_to("/root/canary")
    (home / "up").symlink_to("../..")
    os.link(hard_on_home, home / "hardlink")
    os.mkfifo(home / ".bash_logout.fifo")
    os.mknod(home / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    own.run([PYTHON, "-c", "import socket; socket.socket(socket.AF_UNIX).bind('/home/trap/sock')"], check=True)
    for path in home.iterdir():
        if path.name != "hardlink":
            os.chown(path, uid, uid, follow_symlinks=False)
    watched = fingerprint(own, "root/canary"), hard_on_home.lstat()
    add(own, "trap")
    own.jailctl("remove-user", "trap", "--archive", "/root/trap.tar", timeout=20)
    assert fingerprint(own, "root/canary") == watched[0]
    assert linked.read_text() == "canary linked"
    assert hard.read_text() == "canary hard"
    after = hard_on_home.lstat()
    assert hard_on_home.read_text() == "hard canary"
    assert (after.st_uid, after.st_mode, after.st_mtime_ns) == (0, watched[1].st_mode, watched[1].st_mtime_ns)
    assert not home.exists()
    archive = own.root / "root/trap.tar"
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    listed = own.run(["/bin/tar", "tvf", "/root/trap.tar"], check=True).stdout
    assert ".bashrc -> /root/canary/linked" in listed
    assert "hardlink" not in listed and "fifo" not in listed and "sock" not in listed
    assert b"canary linked" not in archive.read_bytes()
    archive.unlink()
    hard_on_home.unlink()


def test_a099_a_directory_mounted_into_a_home_stops_the_removal(own: Host) -> None:
    add(own, "bound")
    inner = own.root / "home/bound/inner"
    inner.mkdir()
    canary(own, "bind")
    before = fingerprint(own, "root/canary")
    own.run(["/bin/mount", "--bind", "/root/canary", "/home/bound/inner"], check=True)
    for more in ([], ["--archive", "/root/bound.tar"]):
        number, said = refused(own, "remove-user", "bound", *more)
        assert number == 7
        assert "/home/bound/inner" in said
    assert passwd(own, "bound") and own.ssh("bound", "echo in").stdout == "in\n", "a refusal has changed nothing"
    own.run(["/bin/umount", "/home/bound/inner"], check=True)
    own.jailctl("remove-user", "bound")
    assert fingerprint(own, "root/canary") == before
    assert not (own.root / "home/bound").exists()


def test_a100_a_mount_in_another_namespace_is_not_deleted_through(own: Host) -> None:
    add(own, "elsewhere")
    (own.root / "home/elsewhere/inner").mkdir()
    canary(own, "other")
    before = fingerprint(own, "root/canary")
    script = "mount --bind /root/canary /home/elsewhere/inner && echo ready && exec sleep 60"
    with own.spawn(["/usr/bin/unshare", "-m", "/bin/sh", "-c", script]) as other:
        assert other.stdout
        assert other.stdout.readline() == b"ready\n"
        own.jailctl("remove-user", "elsewhere")
    assert fingerprint(own, "root/canary") == before
    assert not (own.root / "home/elsewhere").exists()


def test_a106_whatever_runs_is_ended(own: Host) -> None:
    add(own, "busy")
    uid = int(passwd(own, "busy")[2])
    own.ssh(
        "busy",
        "setsid sh -c 'while :; do sleep 9 & wait; done' >/dev/null 2>&1 & "
        "(trap '' TERM HUP; sleep 99) >/dev/null 2>&1 &",
    )
    loop = "\n".join(
        [
            "import os, time",
            "while True:",
            "    if os.fork():",
            "        os._exit(0)",
            "    os.setsid()",
            "    time.sleep(0.05)",
        ]
    )
    with own.spawn([PYTHON, "-c", loop], user="busy"), own.spawn(["/usr/bin/sleep", "100"], user="busy") as stopped:
        own.run(["/bin/kill", "-STOP", str(stopped.pid)])
        assert [p for p in own.processes() if uid in p.uids]
        own.jailctl("remove-user", "busy")
        wait_for(lambda: not [p for p in own.processes() if uid in p.uids], 5, "processes are left")


def test_a104_neither_uid_nor_range_nor_spool_comes_back(own: Host) -> None:
    first = add(own, "reuse")["jail"]
    for place, name in (
        ("var/mail", "reuse"),
        ("var/spool/cron/crontabs", "reuse"),
        ("var/spool/cron/atjobs", "a0001"),
    ):
        (own.root / place).mkdir(parents=True, exist_ok=True)
        (own.root / place / name).write_text("* * * * * true\n")
        os.chown(own.root / place / name, first["uid"], first["uid"])
    (own.root / "var/mail/somebody").write_text("")
    own.jailctl("remove-user", "reuse")
    for place, name in (
        ("var/mail", "reuse"),
        ("var/spool/cron/crontabs", "reuse"),
        ("var/spool/cron/atjobs", "a0001"),
    ):
        assert not (own.root / place / name).exists()
    assert (own.root / "var/mail/somebody").exists()
    (own.root / "var/mail/somebody").unlink()
    second = add(own, "reuse")["jail"]
    assert second["uid"] > first["uid"]
    assert second["base"] >= first["base"] + 1024
    own.jailctl("remove-user", "reuse")


def test_a107_a_kept_home_is_not_inherited(own: Host) -> None:
    add(own, "keep")
    own.ssh("keep", "echo private > file")
    own.jailctl("remove-user", "keep", "--keep-home")
    home = own.root / "home/keep"
    assert (home / "file").read_text() == "private\n"
    assert (home.stat().st_uid, stat.S_IMODE(home.stat().st_mode)) == (0, 0o700)
    number, said = refused(own, "add-user", "keep")
    assert number == 4
    assert "/home/keep" in said
    home.rename(home.with_name("keep.old"))
    own.jailctl("add-user", "keep", "--password-stdin", input="x\n")
    assert not (home / "file").exists()
    assert not (own.root / "etc/jailctl/keys/keep").exists()
    assert own.ssh("keep", "true").returncode != 0, "the old key opens nothing"
    own.jailctl("remove-user", "keep")
    own.run(["/bin/rm", "-r", "/home/keep.old"])


def test_a114_an_archive_replaces_nothing_and_follows_nothing(own: Host) -> None:
    add(own, "arch")
    target = canary(own, "arch")
    (own.root / "root/planted.tar").symlink_to("/root/canary/arch")
    assert refused(own, "remove-user", "arch", "--archive", "/root/planted.tar")[0] == 4
    assert refused(own, "remove-user", "arch", "--archive", "/home/arch/self.tar")[0] == 8
    assert target.read_text() == "canary arch"
    assert own.ssh("arch", "echo in").stdout == "in\n"
    own.jailctl("remove-user", "arch", "--archive", "/tmp/arch.tar.gz")
    assert stat.S_IMODE((own.root / "tmp/arch.tar.gz").stat().st_mode) == 0o600
    assert (
        own.run(["/bin/tar", "xzOf", "/tmp/arch.tar.gz", "./.profile"]).stdout
        == (own.root / "etc/skel/.profile").read_text()
    )
    (own.root / "tmp/arch.tar.gz").unlink()


def test_a108_a_disabled_jail_lets_nobody_in(own: Host) -> None:
    add(own, "shut")
    recipe = own.root / "var/lib/jailctl/jails/shut/recipe"
    own.jailctl("stop", "shut")
    recipe.write_text(recipe.read_text().replace("\ndisabled \n", "\ndisabled by test\n"))
    assert own.ssh("shut", "true").returncode != 0
    assert own.run(["/bin/su", "-", "shut", "-c", "echo in"]).stdout != "in\n"
    assert json.loads(own.jailctl("show", "shut", "--json").stdout)["jail"]["state"] == "disabled"
    own.jailctl("remove-user", "shut")


def test_before_setup_no_way_past_the_jail_is_made(fresh_host: Host) -> None:
    """A189: sshd without our Match block would serve an ``internal-sftp`` itself to whoever can authenticate."""
    fresh_host.run(["/usr/sbin/useradd", "-m", "-p", "*", "early"], check=True)
    for argv, text in ((["early", "--existing"], ""), (["late", "--password-stdin"], "s3cret phrase\n")):
        done = fresh_host.jailctl("add-user", *argv, input=text, check=False)
        assert done.returncode == 6 and "jailctl setup" in done.stderr
    assert "jailed" not in (fresh_host.root / "etc/group").read_text()
    assert "\nlate:" not in (fresh_host.root / "etc/passwd").read_text()
