"""Backups, restores, copies and archives on a whole host: killed anywhere, refused, of every kind of jail. What happens
inside the library's own process is in backup_inside.py; trees and hostile archives in unit/provision/test_backup.py."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.host import Host

from .inside import PYTHON, call
from .test_cli import EXAMPLES, difference, output
from .writable import HERS, template

pytestmark = pytest.mark.host


def inside(host: Host, command: str, **options: Any) -> Any:
    return call(host, ["provision_inside", "backup_inside"], command, 110, **options)


@pytest.fixture(scope="module")
def own() -> Iterator[Host]:
    """With kim, who has "old" and, since her backup, "young" in her home, and big, whose backup takes its time."""
    with Host() as made:
        made.jailctl("setup")
        sh(made, "mkdir /srv/backups && rm -f /etc/skel/.[!.]* && touch /etc/skel/alive")
        for name in ("kim", "big"):
            made.jailctl("add-user", name)
        sh(made, "echo hers >/home/kim/old && chown kim: /home/kim/old")
        made.jailctl("backup", "kim", "/srv/backups/kim.tar.zst")
        sh(made, "head -c 90000000 /dev/urandom >/home/big/random && chown big: /home/big/random")
        yield made


def sh(host: Host, command: str) -> str:
    return host.run(["/bin/sh", "-c", command], check=True).stdout


STEPS = {"backup": 4, "restore": 8, "again": 6, "clone": 6, "archive": 4}


@pytest.mark.parametrize("what", STEPS)
def test_a095_killed_at_every_boundary_of(own: Host, what: str) -> None:
    if what == "restore":
        sh(own, "touch /home/kim/young && chown kim: /home/kim/young")
    results = inside(own, "crash", what=what)
    assert len(results) >= STEPS[what]
    assert [(result["at"], result["wrong"]) for result in results if result["wrong"]] == []


def test_a_backup_that_is_killed_leaves_nobody_held_still_and_no_file(own: Host) -> None:
    own.jailctl("start", "big")
    assert inside(own, "kill_in_the_middle", rounds=3) == []


def test_a031_a_jail_of_all_kinds_of_things_comes_back_as_another_user(own: Host) -> None:
    """Her layer too: what she removed of the image stays removed, what is root's in it root's."""
    template(own, "own", "overlay", writable=f'["{HERS}", "{HERS}/sub"]')
    own.jailctl("add-user", "lea", "--template", "own")
    change = f"set -e; cd {HERS}; rm -f keep change; echo new >change; ln change hard; rm -fr sub; mkdir sub"
    special = "echo mine >sub/mine; ls -la / >~/ls; mkfifo ~/fifo; truncate -s 1G ~/hole; chmod 0 ~/ls"
    own.jailctl("exec", "lea", "--", "sh", "-c", f"{change}; {special}")
    done = output(own, "backup", "lea", "/srv/backups/lea.tar.zst")["jails"][0]
    assert done["taken"] == "frozen" and done["left_out"] == ["home/fifo: a FIFO"] and done["bytes"] < 1 << 20
    look = f"set -e; cd {HERS}; ls . sub; cat change sub/mine; stat -c %h hard; stat -c '%s %b %a' ~/hole ~/ls; id -un"
    before = own.jailctl("exec", "lea", "--", "sh", "-c", look).stdout
    own.jailctl("archive", "lea", "/srv/backups/lea2.tar.zst")
    own.jailctl("restore", "lea", "/srv/backups/lea2.tar.zst")
    own.jailctl("restore", "lea", "/srv/backups/lea.tar.zst", "--as", "leo")
    own.jailctl("clone", "lea", "lia")
    for name in ("lea", "leo", "lia"):
        assert own.jailctl("exec", name, "--", "sh", "-c", look).stdout == before.replace("lea", name)
    sh(own, f"jailctl exec lea -- sh -c 'rm {HERS}/change ~/ls'")
    own.jailctl("restore", "lea", "/srv/backups/lea.tar.zst")
    assert own.jailctl("exec", "lea", "--", "sh", "-c", look).stdout == before
    names = {row["path"] for row in output(own, "diff", "lea")["changes"]}
    assert {f"{HERS}/keep", f"{HERS}/sub/below", f"{HERS}/sub/mine"} <= names


def test_files_of_a_chroot_jail_come_back(own: Host) -> None:
    own.jailctl("add-user", "fay", "--template", "sftp-only")
    sh(own, "echo 1 >/home/fay/files/one && chown fay: /home/fay/files/one")
    own.jailctl("backup", "fay", "/srv/backups/fay.tar.zst")
    sh(own, "rm /home/fay/files/one; echo 2 >/home/fay/files/two")
    own.jailctl("restore", "fay", "/srv/backups/fay.tar.zst")
    own.jailctl("restore", "fay", "/srv/backups/fay.tar.zst", "--as", "fia")
    for name in ("fay", "fia"):
        found = sh(own, f"stat -c '%U %G %a %n' /home/{name} /home/{name}/files /home/{name}/files/*").splitlines()
        assert found == [
            f"root {name} 750 /home/{name}", f"{name} {name} 700 /home/{name}/files",
            f"{name} {name} 644 /home/{name}/files/one",
        ]  # fmt: skip


def test_a092_a_home_under_way_is_seen_by_nobody(own: Host) -> None:
    """A092: what is made beside the home is behind a directory of root's from its first moment."""
    probe = (
        "import os, json\nfrom jailkit.provision.host import Host\n"
        "from jailkit.provision.backup.plans import Restore\n"
        "host = Host(); seen = []\n"
        "def at(number, label):\n"
        "    for name in os.listdir('/home'):\n"
        "        if name.startswith('.'):\n"
        "            s = os.lstat('/home/' + name); seen.append([label, s.st_uid, s.st_mode & 0o7777])\n"
        "os.umask(0)\n"
        "host.apply(host.asked('kim', Restore('kim', '/srv/backups/kim.tar.zst')), boundary=at)\n"
        "print(json.dumps(seen))"
    )
    seen = json.loads(own.run([PYTHON, "-I", "-c", probe], check=True).stdout)
    assert {label for label, _, _ in seen} >= {"unpacked", "exchanged", "applied"}
    assert {(uid, mode) for _, uid, mode in seen} == {(0, 0o700)}


def test_a109_an_archive_that_means_harm_changes_nothing(own: Host) -> None:
    before = sh(own, "find /home/kim /etc/passwd /etc/jailctl -printf '%p %T@ %m\\n' | sort")
    with tarfile.open(own.root / "srv/backups/evil.tar", "w") as made:
        links = ((".", tarfile.DIRTYPE, ""), ("l", tarfile.SYMTYPE, "/etc"), ("l/canary", tarfile.REGTYPE, ""))
        for name, kind, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            made.addfile(info)
    refused = own.jailctl("restore", "kim", "/srv/backups/evil.tar", "--home-only", check=False)
    assert refused.returncode == 8 and "which is a link" in refused.stderr
    assert before == sh(own, "find /home/kim /etc/passwd /etc/jailctl -printf '%p %T@ %m\\n' | sort")


REFUSED = {
    "another-user": (["restore", "big", "/srv/backups/kim.tar.zst"], 4, "it is a backup of kim"),
    "no-file": (["restore", "kim", "/srv/backups/none"], 3, "cannot open"),
    "no-jail": (["restore", "new", "/srv/backups/kim.tar.zst", "--as", "x", "--home-only"], 4, "backup of kim"),
    "home-only-of-nobody": (
        ["restore", "kim", "/srv/backups/kim.tar.zst", "--as", "x", "--home-only"], 3, "no jail of x"
    ),
    "exists": (["backup", "kim", "/srv/backups/kim.tar.zst"], 4, "exists already"),
    "into-a-home": (["backup", "kim", "/home/big/x.tar.zst"], 8, "not root's alone"),
    "no-ending": (["backup", "kim", "/srv/backups/x"], 2, "ending"),
    "option-a119": (["backup", "--", "kim", "-x"], 2, "ending"),
    "name-a117": (["backup", "../kim", "/srv/x.tar"], 5, "cannot be a user name"),
    "clone-over": (["clone", "kim", "big"], 4, "has a jail already"),
    "clone-itself": (["clone", "kim", "kim"], 2, "the name that it has"),
    "two-into-one": (["backup", "kim", "big", "/srv/x.tar"], 2, "NAME FILE"),
    "archive-stdout": (["archive", "kim", "-"], 2, "into a file"),
    "strip": (
        ["restore", "kim", "/srv/backups/kim.tar.zst", "--home-only", "--strip-components", "1"], 2, "tar of a home"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(own: Host, name: str) -> None:
    argv, status, text = REFUSED[name]
    done = own.jailctl(*argv, check=False)
    assert (done.returncode, text in done.stderr) == (status, True), done


def test_json_is_as_documented_and_a_stream_is_a_backup(own: Host) -> None:
    file = "/srv/backups/json.tar.gz"
    assert output(own, "backup", "kim", file)["jails"][0]["taken"] in ("stopped", "frozen")
    listed = json.loads(own.jailctl("backup", "--json", "--list", file).stdout)
    assert difference(EXAMPLES["backup --list"], listed) == ""
    assert output(own, "restore", "kim", file, "--dry-run")["jail"] is None
    assert output(own, "clone", "kim", "kay", "--dry-run")["jail"] is None
    sh(own, "jailctl backup kim - --live >/srv/backups/stream.tar")
    checked = json.loads(own.jailctl("backup", "--json", "--verify", "/srv/backups/stream.tar").stdout)
    assert (checked["taken"], checked["complete"]) == ("live", True)
    assert not [name for name in os.listdir(own.root / "home") if name.startswith(".")]
