"""set, suspend, resume, expire, rename, move-home and verbs on many jails, as an administrator types them. How they are
killed is in test_lifecycle_crash.py; which names and values they refuse in escape/test_names_and_options.py."""

from __future__ import annotations

import hashlib
import json
import stat
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.host import Host, Process, wait_for
from tests.inside import PYTHON

from .escape import cli
from .test_lifecycle_crash import inside

pytestmark = pytest.mark.host
SERVER = cli.SOURCE.replace("in json.load(sys.stdin):", "in map(json.loads, sys.stdin):")
""":mod:`tests.escape.cli_caller`, which answers line by line."""
HOLD = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print('held', flush=True); sys.stdin.read()"
TURN = """if True:
    import sys
    from jailkit.provision.host import Host
    host = Host()
    with host.turn("turn1"):
        spec = host.declared("turn1")
        print("read", flush=True)
        sys.stdin.read()
        host.apply(host.plan(spec.model_copy(update={"linger": 7})))
"""
EVIL = ("sh", "usermod", "useradd", "groupmod", "mv", "cp", "tar", "python3", "mount", "id", "pkill", "rm", "rsync")


@pytest.fixture(scope="module")
def own() -> Iterator[Host]:
    """With a second file system for homes, and canaries."""
    with Host() as made:
        made.jailctl("setup")
        script = """
            mkdir /home/disk /root/canary /tmp/evil && mount -t tmpfs none /home/disk -o mode=755
            echo canary > /root/canary/file && chmod 640 /root/canary/file
        """
        made.run(["/bin/sh", "-ec", script], check=True)
        for name in EVIL:
            path = made.root / "tmp/evil" / name
            path.write_text("#!/bin/sh\necho ran >> /tmp/evil-ran\n")
            path.chmod(0o755)
        with made.spawn([PYTHON, "-I", "-c", SERVER]) as SERVING["one"]:
            yield made


SERVING: dict[str, Process] = {}


def call(host: Host, *words: str, check: bool = True) -> cli.Done:
    """jailctl, at the price of a fork."""
    server = SERVING["one"]
    assert server.stdin and server.stdout
    server.stdin.write(json.dumps([words, ""]).encode() + b"\n")
    server.stdin.flush()
    done = cli.Done(**json.loads(server.stdout.readline()))
    assert done.status == 0 or not check, done
    return done


def add(host: Host, name: str, *more: str) -> str:
    call(host, "add-user", name, "--key", host.key(name) + ".pub", *more)
    return name


def entries(host: Host, *words: str, status: int = 0) -> dict[str, Any]:
    done = call(host, *words, "--json", check=False)
    assert done.status == status, done
    return {entry["name"]: entry for entry in json.loads(done.out)["jails"]}


def steps(host: Host, *words: str) -> list[str]:
    (entry,) = entries(host, *words).values()
    assert entry["error"] is None
    return [operation["op"] for operation in entry["operations"]]


def refused(host: Host, *words: str) -> tuple[int, str]:
    done = call(host, *words, "--json", check=False)
    assert done.status != 0 and done.out == ""
    return done.status, done.error["code"]


def canary(host: Host) -> tuple[Any, ...]:
    status = (host.root / "root/canary/file").stat()
    return status.st_mode, status.st_uid, status.st_mtime_ns, (host.root / "root/canary/file").read_text()


def fingerprint(host: Host) -> str:
    total = hashlib.sha256()
    for top in ("etc", "home", "var/lib/jailctl/jails", "var/lib/jailctl/uids"):
        for path in sorted((host.root / top).rglob("*")):
            status = path.lstat()
            text = f"{path} {status.st_mode} {status.st_uid} {status.st_mtime_ns}"
            total.update(text.encode(errors="surrogateescape"))
            total.update(path.read_bytes() if stat.S_ISREG(status.st_mode) else b"")
    return total.hexdigest()


def test_set_changes_what_is_named_and_nothing_else(own: Host) -> None:
    add(own, "set1")
    before = fingerprint(own)
    assert steps(own, "set", "set1", "linger=7", "network=host", "--dry-run") == ["jail-files", "spec"]
    assert fingerprint(own) == before
    assert steps(own, "set", "set1", "linger=7", "network=host", "limits.sources=192.0.2.0/24,10.0.0.0/8")
    assert steps(own, "set", "set1", "linger=7", "network=host") == []
    spec = own.root / "etc/jailctl/jails.d/set1.toml"
    assert 'sources = ["192.0.2.0/24", "10.0.0.0/8"]' in spec.read_text()
    spec.write_text(spec.read_text().replace("linger = 7", "# until May\nlinger = 8"))  # an edit goes with it
    assert steps(own, "set", "set1", "network=", "limits.sources=") == ["jail-files", "spec"]
    text = spec.read_text()
    assert "# until May\nlinger = 8" in text and "network" not in text and "sources" not in text
    assert own.ssh("set1", "id -un").stdout == "set1\n"


def test_who_changes_a_jail_at_the_same_time_loses_nothing(own: Host) -> None:
    """All lay something over what the first has read and not yet written; a look waits for nobody."""
    add(own, "turn1")
    library = "from jailkit import Host; Host.open().set('turn1', limits={'processes': 50})"
    verbs = [
        ["set", "turn1", "network=host"], ["expire", "turn1", "--at", "2040-01-01"], ["suspend", "turn1"],
        ["move-home", "turn1", "/home/turn1.moved"],
    ]  # fmt: skip
    with own.spawn([PYTHON, "-I", "-c", TURN]) as first:
        assert first.stdin and first.stdout and first.stdout.readline() == b"read\n"
        commands = [*(["jailctl", *words] for words in verbs), [PYTHON, "-I", "-c", library]]
        others = [own.spawn(command) for command in commands]
        assert steps(own, "set", "turn1", "linger=9", "--dry-run") == ["jail-files", "spec"]
        time.sleep(3)
        assert [other.poll() for other in others] == [None] * 5
        first.stdin.close()
        assert first.wait(60) == 0
        assert [other.wait(60) for other in others] == [0] * 5
    spec = (own.root / "etc/jailctl/jails.d/turn1.toml").read_text()
    for line in ("linger = 7", 'network = "host"', "processes = 50", 'expires = "2040-01-01T00:00:00Z"', "suspended = ",
                 'home = "/home/turn1.moved"'):  # fmt: skip
        assert line in spec


def test_set_takes_keys_away_and_adds_them(own: Host) -> None:
    add(own, "set2")
    other = own.key("set2other")
    fingerprints = [key["fingerprint"] for key in json.loads(call(own, "show", "set2", "--json").out)["keys"]]
    words = ("set", "set2", "--add-key", f"{other}.pub", "--remove-key", fingerprints[0])
    assert steps(own, *words) == ["key-file", "spec"]
    assert own.ssh("set2", "true").returncode == 255
    done = own.run(["/usr/bin/ssh", "-i", other, "-o", "StrictHostKeyChecking=no", "set2@127.0.0.1", "id -un"])
    assert done.stdout == "set2\n"
    assert steps(own, *words) == []
    assert refused(own, "set", "set2", "--remove-key", "SHA256:short") == (2, "usage.fingerprint")


def test_a_running_jail_keeps_what_it_has_and_says_so(own: Host) -> None:
    add(own, "set3")
    with own.ssh_spawn("set3", "cat"):
        wait_for(lambda: "running" in call(own, "show", "set3").out, 10)
        entry = entries(own, "set", "set3", "hostname=later")["set3"]
        assert "jailctl stop set3" in entry["warnings"][0]
        assert own.ssh("set3", "hostname").stdout == "set3\n"
    call(own, "stop", "set3")
    assert own.ssh("set3", "hostname").stdout == "later\n"


def test_drift_is_put_right_with_a_change(own: Host) -> None:
    add(own, "set4")
    own.run(["/usr/sbin/usermod", "-s", "/bin/bash", "set4"], check=True)
    (own.root / "etc/jailctl/keys/set4").write_text("ssh-ed25519 AAAA somebody\n")
    assert steps(own, "set", "set4", "linger=9") == ["key-file", "confine", "jail-files", "spec"]
    assert steps(own, "set", "set4", "linger=9") == []
    assert own.ssh("set4", "id -un").stdout == "set4\n"


def test_a189_a_template_that_is_not_there_or_of_another_level(own: Host) -> None:
    add(own, "set5")
    before = fingerprint(own)
    assert refused(own, "set", "set5", "template=nosuch") == (3, "missing.template")
    assert refused(own, "set", "set5", "template=sftp-only") == (4, "conflict.level")
    assert refused(own, "set", "set5", "plan=nosuch")[0] in (3, 5)
    assert fingerprint(own) == before


# -- suspend


def test_suspended_nobody_gets_in_and_is_told_why(own: Host) -> None:
    add(own, "sus1")
    text = "Not paid: see https://example.org/b\u00fcro"
    with own.ssh_spawn("sus1", "cat") as session:
        wait_for(lambda: "running" in call(own, "show", "sus1").out, 10)
        assert steps(own, "suspend", "sus1", "--message", text) == ["suspend", "stop", "spec"]
        assert session.wait(10) != 0
    uid = own.ids("sus1")[0]
    assert not any(uid in process.uids for process in own.processes())
    done = own.ssh("sus1", "id")
    assert done.returncode == 254 and done.stdout == f"{text}\n"
    assert own.sftp("sus1", "ls\n").returncode != 0
    assert own.run(["/bin/su", "-", "sus1", "-c", "id"]).returncode != 0
    assert call(own, "exec", "sus1", "--", "id", check=False).status == 12
    assert refused(own, "start", "sus1") == (12, "jail.disabled")
    own.wait_syslog("refused user=sus1 service=sshd rhost=127.0.0.1 code=login.suspended")
    assert steps(own, "suspend", "sus1") == []
    assert json.loads(call(own, "show", "sus1", "--json").out)["jail"]["state"] == "suspended"
    assert steps(own, "set", "sus1", "linger=5") == ["jail-files", "spec"]
    assert own.ssh("sus1", "id").returncode == 254
    assert steps(own, "resume", "sus1") == ["suspend", "spec"]
    assert steps(own, "resume", "sus1") == []
    assert own.ssh("sus1", "id -un").stdout == "sus1\n"


@pytest.mark.parametrize("half", ["suspended", "recipe"])
def test_either_half_of_a_suspension_refuses(own: Host, half: str) -> None:
    name = add(own, f"sus-{half}")
    call(own, "suspend", name)
    jail = own.root / f"var/lib/jailctl/jails/{name}"
    if half == "suspended":
        (jail / "suspended").unlink()
    else:
        text = (jail / "recipe").read_text()
        (jail / "recipe").write_text(text.replace("disabled suspended: This account is suspended.", "disabled "))
    assert own.ssh(name, "id").returncode == 254
    assert steps(own, "suspend", name) == ["suspend"]


def test_a189_a_suspension_waits_for_no_template_and_no_spec(own: Host) -> None:
    add(own, "sus2", "--template", "shell")
    call(own, "template", "new", "gone", "--from", "shell")
    add(own, "sus3", "--template", "gone")
    own.run(["/bin/rm", "-r", "/etc/jailctl/templates/gone"], check=True)
    (own.root / "etc/jailctl/jails.d/sus2.toml").write_text("this is no TOML = = =\n")
    for name in ("sus2", "sus3"):
        assert steps(own, "suspend", name, "--message", "closed") == ["suspend", "stop", "spec"]
        assert own.ssh(name, "id").stdout == "closed\n"


@pytest.mark.parametrize("how", ["suspended", "renamed", "moved"])
def test_a192_changed_between_authentication_and_session(own: Host, how: str) -> None:
    """The hook waits for the jail's lock. When it has it the jail is another one: she is refused, or ended with it; or,
    where the jail is open again by then, in the new one."""
    name = add(own, f"a192-{how}")
    assert own.ssh(name, "true").returncode == 0
    uid = own.ids(name)[0]
    words = {"suspended": ["suspend", name], "renamed": ["rename", name, f"{name}-new", "--stop"],
             "moved": ["move-home", name, f"/home/{name}.new", "--stop"]}[how]  # fmt: skip
    jail = own.root / f"var/lib/jailctl/jails/{name}"
    with own.ssh_spawn(name, "pwd; exec sleep 8190") as login:
        with own.spawn([PYTHON, "-I", "-c", HOLD, f"/run/jailctl/jails/{uid}/lock"]) as holder:
            assert holder.stdout and holder.stdout.read(5) == b"held\n"
            wait_for(lambda: any(p.argv == ("/opt/jailctl/libexec/hook",) for p in own.processes()), 10)
            changing = own.spawn(["/usr/local/sbin/jailctl", *words])
            wait_for(lambda: "disabled \n" not in (jail / "recipe").read_text(), 10)
        assert changing.wait(30) == 0
        changing.close()
        status = login.wait(3 if how == "moved" else 20)
        inside = [process for process in own.processes() if uid in process.uids]
        if status is None:
            login.kill()
            assert how == "moved" and login.stdout and login.stdout.read() == f"/home/{name}.new\n".encode()
        else:
            assert status != 0 and inside == []
    if how == "moved":
        assert own.ssh(name, "pwd").stdout == f"/home/{name}.new\n"


# -- rename, move-home


def test_a104_a107_who_gets_the_old_name_gets_nothing_else(own: Host) -> None:
    add(own, "ren1")
    own.ssh("ren1", "echo hers > work")
    uid = own.ids("ren1")[0]
    for path in ("var/mail/ren1", "var/spool/cron/crontabs/ren1"):
        (own.root / path).parent.mkdir(parents=True, exist_ok=True)
        (own.root / path).write_text("hers")
        own.run(["/bin/chown", "ren1", f"/{path}"], check=True)
    assert refused(own, "rename", "ren1", "ren2") == (7, "busy.sessions")  # it lingers
    call(own, "rename", "ren1", "ren2", "--stop")
    assert own.run(["/usr/bin/id", "-u", "ren1"]).returncode == 1
    call(own, "add-user", "ren1", "--key", own.key("ren3") + ".pub")
    assert own.ids("ren1")[0] not in (uid, own.ids("ren2")[0]) and own.ids("ren2")[0] == uid
    assert not (own.root / "home/ren1/work").exists() and (own.root / "home/ren2/work").read_text() == "hers\n"
    for path in ("var/mail/ren", "var/spool/cron/crontabs/ren"):
        assert not (own.root / f"{path}1").exists() and (own.root / f"{path}2").stat().st_uid == uid
    assert own.ssh("ren1", "true").returncode == 255  # with the key that ren2 has
    key = ["-i", own.key("ren1"), "-o", "StrictHostKeyChecking=no"]
    assert own.run(["/usr/bin/ssh", *key, "ren2@127.0.0.1", "id -un; pwd"]).stdout == "ren2\n/home/ren2\n"
    assert json.loads(call(own, "rename", "ren1", "ren4", "--stop", "--json").out)["changed"]
    assert not json.loads(call(own, "rename", "ren1", "ren4", "--json").out)["changed"]


def test_rename_takes_no_name_that_is_somebodys(own: Host) -> None:
    add(own, "ren5"), add(own, "ren6")
    own.run(["/usr/sbin/groupadd", "rengroup"], check=True)
    own.run(["/usr/sbin/useradd", "-m", "-s", "/bin/bash", "renold"], check=True)
    call(own, "add-user", "renold", "--existing")
    before = fingerprint(own)
    for new in ("ren6", "rengroup", "daemon"):
        assert refused(own, "rename", "ren5", new) == (4, "conflict.account-exists")
    assert refused(own, "rename", "renold", "rennew") == (4, "conflict.existing")
    assert refused(own, "move-home", "renold", "/home/rennew") == (4, "conflict.unchangeable")
    assert refused(own, "rename", "nobody-here", "rennew") == (3, "missing.jail")
    assert fingerprint(own) == before


@pytest.mark.parametrize("verb", [("rename", "mov2"), ("move-home", "/home/mov2"), ("move-home", "/home/disk/mov2")])
def test_a003_who_stands_in_a_directory_is_ended_before_it_is_moved(own: Host, verb: tuple[str, str]) -> None:
    name = add(own, "mov1")
    with own.ssh_spawn(name, "mkdir d; cd d; exec 3<.; echo ready; exec sleep 8191") as session:
        assert session.stdout and session.stdout.read(6) == b"ready\n"
        uid = own.ids(name)[0]
        assert refused(own, verb[0], name, verb[1]) == (7, "busy.sessions")
        call(own, verb[0], name, verb[1], "--stop")
        assert not any(uid in process.uids for process in own.processes())
        assert session.wait(10) != 0
    call(own, "remove-user", "mov2" if verb[0] == "rename" else name)
    assert list((own.root / "home").rglob("mov*")) == []


def test_a086_a088_a090_a_home_full_of_traps_is_moved_and_nothing_else_touched(own: Host) -> None:
    """Links lead where they led, a FIFO holds nothing up, what is not hers refuses a copy; nothing outside changes."""
    add(own, "trap")
    script = """
        ln -s /root/canary/file link; ln -s /root/canary dir; mkfifo fifo; mkdir -m 000 shut; echo x > 'a b'
        ln -s . loop; python3 -c "import socket; socket.socket(1).bind('sock')"
    """
    assert own.ssh("trap", script).returncode == 0
    before = canary(own)
    call(own, "move-home", "trap", "/home/disk/trap", "--stop")
    moved = own.root / "home/disk/trap"
    assert (moved / "link").readlink().as_posix() == "/root/canary/file" and (moved / "a b").read_text() == "x\n"
    assert stat.S_IMODE((moved / "shut").stat().st_mode) == 0
    uid = own.ids("trap")[0]
    assert {path.lstat().st_uid for path in [moved, *moved.rglob("*")]} == {uid}
    assert canary(own) == before
    own.run(["/bin/cp", "/root/canary/file", "/home/disk/secret"], check=True)
    own.run(["/bin/chmod", "600", "/home/disk/secret"], check=True)
    own.run(["/bin/ln", "/home/disk/secret", "/home/disk/trap/hard"], check=True)
    assert refused(own, "move-home", "trap", "/home/trap") == (4, "conflict.not-hers")
    assert not (own.root / "home/trap").exists() and (moved / "hard").stat().st_uid == 0
    assert own.ssh("trap", "pwd").stdout == "/home/disk/trap\n"
    (moved / "hard").unlink()
    call(own, "set", "trap", "home=", "--force")
    assert (own.root / "home/trap/a b").exists() and not moved.exists()
    assert [path.name for path in (own.root / "home").iterdir() if path.name.startswith(".")] == []


def test_a_copy_with_holes_attributes_and_long_names_is_the_same(own: Host) -> None:
    add(own, "copy1")
    script = """
        truncate -s 100M holes; echo end >> holes; printf 'x\\377' > "$(printf 'n\\377')"; touch "$(printf %0200d 1)"
        python3 -c "import os; os.setxattr('holes', 'user.b', b'2'); os.setxattr('holes', 'user.a', b'1')"
        mkdir deep; ln holes deep/hard; chmod 1777 deep; touch -d 1999-01-01 deep
    """
    assert own.ssh("copy1", script).returncode == 0
    call(own, "move-home", "copy1", "/home/disk/copy1", "--stop")
    moved = own.root / "home/disk/copy1"
    assert (moved / "holes").stat().st_blocks * 512 < 1 << 20 and (moved / "holes").read_bytes()[-4:] == b"end\n"
    assert (moved / "holes").stat().st_ino == (moved / "deep/hard").stat().st_ino
    assert stat.S_IMODE((moved / "deep").stat().st_mode) == 0o1777 and (moved / "deep").stat().st_mtime < 1e9


def test_move_home_goes_nowhere_unsafe(own: Host) -> None:
    add(own, "mov3")
    own.run(["/bin/sh", "-c", "mkdir -m 777 /home/open; mkdir /home/taken; ln -s /root /home/linked"], check=True)
    before = fingerprint(own)
    for path, code in (
        ("/home/open/x", "unsafe.path"), ("/home/taken", "conflict.home-exists"), ("/home/linked/x", "unsafe.path"),
        ("/home/mov3/x", "unsafe.path"), ("/etc/mov3", "invalid.home"), ("/home/nowhere/x", "unsafe.path"),
    ):  # fmt: skip
        assert refused(own, "move-home", "mov3", path)[1] == code, path
    assert fingerprint(own) == before


def test_a096_a097_no_program_of_the_path_and_no_shell(own: Host) -> None:
    add(own, "path1")
    own.ssh("path1", "echo x > f")
    environment = {"PATH": "/tmp/evil", "LANG": "C"}
    for words in (
        ("set", "path1", "linger=5", "network=host"), ("suspend", "path1", "--message", "$(id)"),
        ("rename", "path1", "path2", "--stop"), ("move-home", "path2", "/home/disk/path2", "--stop"),
    ):  # fmt: skip
        done = own.run(["/usr/local/sbin/jailctl", *words], env=environment)
        assert done.returncode == 0, done.stderr
    assert not (own.root / "tmp/evil-ran").exists()
    programs = inside(own, "executed_changes", name="path3")
    assert {argv[0] for argv in programs} <= {"/usr/sbin/pwck", "/usr/sbin/grpck"}, programs


# -- many


def test_many_jails_by_name_pattern_plan_and_template(own: Host) -> None:
    for name in ("many-a", "many-b", "many-c"):
        add(own, name)
    found = entries(own, "set", "many-*", "linger=5", "--jobs", "2")
    assert sorted(found) == ["many-a", "many-b", "many-c"] and all(entry["changed"] for entry in found.values())
    found = entries(own, "suspend", "many-a", "nobody-here", "many-[bc]", "--jobs", "3", status=3)
    assert found["nobody-here"]["error"]["code"] == "missing.jail"
    assert [name for name, entry in found.items() if entry["changed"]] == ["many-a", "many-b", "many-c"]
    assert own.ssh("many-b", "id").returncode == 254
    found = entries(own, "resume", "many-*", "--template", "shell", "--dry-run")
    assert len(found) == 3 and not any(entry["changed"] for entry in found.values())
    assert refused(own, "resume", "many-*", "--plan", "gold") == (3, "missing.jail")
    said = call(own, "resume", "many-*", "--jobs", "2").out
    assert "many-c: open again" in said and "3 jails: 3 changed, 0 not, 0 failed." in said
    assert own.ssh("many-b", "id -un").stdout == "many-b\n"
    assert refused(own, "remove-user", "many-*") == (5, "invalid.user-name")
    assert sorted(entries(own, "remove-user", "--match", "many-*", "--jobs", "2")) == ["many-a", "many-b", "many-c"]
    assert refused(own, "stop", "many-*") == (3, "missing.jail")
