"""Template rsync-backup, used from outside as a backup is: push, pull, delete, hard links, snapshots, one big file; and
what else its user may ask for.

A083: an option or a file of hers that makes rsync run another program. A062: every way in leads to the same shell."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.host import Host
from tests.host.host import Result

pytestmark = pytest.mark.host
USER = "backy"


@pytest.fixture(scope="module")
def backup(host: Host) -> Iterator[Host]:
    host.jailctl("update", "rsync-backup", timeout=120)  # with its smoke tests
    host.jailctl("add-user", USER, "--template", "rsync-backup", "--key", host.key(USER) + ".pub")
    yield host
    host.jailctl("remove-user", USER)


@pytest.fixture
def source(backup: Host) -> Iterator[Path]:
    """A directory of the client's: /root/source in the host."""
    top = backup.root / "root/source"
    (top / "deep/er").mkdir(parents=True)
    (top / "one").write_text("one\n")
    (top / "deep/er/two").write_text("two\n")
    (top / "a name with 'quotes' & $signs; ü").write_text("three\n")
    os.link(top / "one", top / "deep/same")
    (top / "link").symlink_to("one")
    (top / "program").write_text("#!/bin/sh\n")
    (top / "program").chmod(0o755)
    os.utime(top / "one", (1_000_000_000, 1_000_000_000))
    yield top
    backup.run(["/bin/rm", "-rf", "/root/source", "/root/back"], check=True)
    backup.run(["/usr/bin/find", f"/home/{USER}", "-mindepth", "1", "-delete"], check=True)


def rsync(host: Host, *words: str, timeout: float = 60) -> Result:
    """rsync(1) of the client; ``:`` before a name means the far side."""
    remote = shlex.join(host.ssh_argv(USER, opts=["-o", "BatchMode=yes"])[:-1])
    far = [f"{USER}@127.0.0.1{word}" if word.startswith(":") else word for word in words]
    return host.run(["/usr/bin/rsync", "-e", remote, *far], timeout=timeout)


def works(host: Host, *words: str, timeout: float = 60) -> str:
    done = rsync(host, *words, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout


def same(host: Host, *words: str) -> bool:
    """Whether rsync, comparing contents and everything else, would change nothing."""
    return works(host, "-aHni", "--checksum", "--delete", *words) == ""


def test_push_and_pull_bring_everything(backup: Host, source: Path) -> None:
    works(backup, "-aH", "/root/source/", ":copy/")
    assert same(backup, "/root/source/", ":copy/")
    works(backup, "-aH", ":copy/", "/root/back/")
    assert same(backup, ":copy/", "/root/back/")
    back = backup.root / "root/back"
    assert sorted(p.relative_to(back) for p in back.rglob("*")) == sorted(
        p.relative_to(source) for p in source.rglob("*")
    )
    assert (back / "one").stat().st_ino == (back / "deep/same").stat().st_ino
    assert (back / "one").stat().st_mtime == 1_000_000_000 and os.readlink(back / "link") == "one"
    kept = backup.root / f"home/{USER}/copy"
    assert (kept / "one").stat().st_uid == backup.ids(USER)[0]


def test_what_is_gone_is_deleted(backup: Host, source: Path) -> None:
    works(backup, "-aH", "/root/source/", ":copy/")
    (source / "deep/er/two").unlink()
    said = works(backup, "-aHi", "--delete", "/root/source/", ":copy/")
    assert "*deleting   deep/er/two" in said and not (backup.root / f"home/{USER}/copy/deep/er/two").exists()
    assert same(backup, "/root/source/", ":copy/")


def test_snapshots_share_what_is_unchanged(backup: Host, source: Path) -> None:
    works(backup, "-a", "/root/source/", ":monday/")
    (source / "deep/er/two").write_text("two, later\n")
    works(backup, "-a", "--link-dest=../monday", "/root/source/", ":tuesday/")
    home = backup.root / f"home/{USER}"
    assert (home / "monday/program").stat().st_ino == (home / "tuesday/program").stat().st_ino
    assert (home / "monday/deep/er/two").read_text() == "two\n"
    assert (home / "tuesday/deep/er/two").read_text() == "two, later\n"


def test_a_big_file_goes_and_only_its_change_goes_again(backup: Host, source: Path) -> None:
    data = bytearray(os.urandom(1 << 20) * 64)
    (source / "big").write_bytes(data)
    works(backup, "-a", "/root/source/big", ":", timeout=110)
    data[5_000_000:5_000_010] = b"0123456789"
    (source / "big").write_bytes(data)
    os.utime(source / "big", (1_100_000_000, 1_100_000_000))  # rsync looks at size and second
    said = works(backup, "-a", "--stats", "--no-whole-file", "/root/source/big", ":", timeout=110)
    literal = next(line for line in said.splitlines() if line.startswith("Literal data:"))
    assert int("".join(c for c in literal if c.isdigit())) < 1 << 20
    kept = backup.root / f"home/{USER}/big"
    assert hashlib.sha256(kept.read_bytes()).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("options", [["-s"], ["--old-args"], []], ids=["secluded", "old", "escaped"])
def test_names_arrive_however_the_client_sends_them(backup: Host, source: Path, options: Sequence[str]) -> None:
    name = "plain" if "--old-args" in options else "a name & more; $(id) `id` 'x' \"y\" #z (ü) ~ * ? [a] !"
    works(backup, "-a", *options, "/root/source/one", f":{name}")
    assert (backup.root / f"home/{USER}" / name).read_text() == "one\n"
    works(backup, "-a", *options, f":{name}", "/root/back")
    assert (backup.root / "root/back").read_text() == "one\n"


WAYS = {
    "a shell": ["ssh"],
    "a command": ["ssh", "id"],
    "a command after": ["ssh", "rsync --server . x; id"],
    "a substitution": ["ssh", "rsync --server --sender . $(id >&2)"],
    "another program's path": ["ssh", "/usr/bin/id"],
    "a client's rsync": ["ssh", "rsync -e id x y:z"],
    "sftp": ["sftp"],
    "scp": ["scp"],
    "old scp": ["scp", "-O"],
}


@pytest.mark.parametrize("way", WAYS)
def test_a062_every_other_way_in_is_refused(backup: Host, source: Path, way: str) -> None:
    kind, *words = WAYS[way]
    if kind == "ssh":
        done = backup.ssh(USER, *words)
        assert "This account is for rsync only" in done.stderr, done
    elif kind == "sftp":
        done = backup.sftp(USER, "pwd\n")
    else:
        done = backup.scp(USER, ["/root/source/one"], ":one", opts=words)
    assert done.returncode != 0 and "uid=" not in done.stdout + done.stderr
    assert not (backup.root / f"home/{USER}/one").exists()


DAEMON = """use chroot = no
[x]
path = {home}
early exec = /bin/sh -c 'echo ran > {home}/ran'
"""


def test_a083_rsync_as_a_daemon_with_a_configuration_of_hers(backup: Host, source: Path) -> None:
    """It would run what the file says: outside it does."""
    talk = b"@RSYNCD: 31.0\nx\n"
    outside = backup.root / "root/source"
    (outside / "conf").write_text(DAEMON.format(home="/root/source"))
    backup.run(["/usr/bin/rsync", "--server", "--daemon", "--config=/root/source/conf", "."], input=talk)
    assert (outside / "ran").exists()
    (outside / "conf").write_text(DAEMON.format(home=f"/home/{USER}"))
    works(backup, "-a", "/root/source/conf", ":rsyncd.conf")
    for command in (
        "rsync --server --daemon .",
        f"rsync --server --daemon --config=/home/{USER}/rsyncd.conf .",
        f"rsync --server \\--daemon --config /home/{USER}/rsyncd.conf .",
    ):
        done = backup.ssh(USER, command, input=talk)
        assert done.returncode == 1 and "this option is not served" in done.stderr
    assert not (backup.root / f"home/{USER}/ran").exists()


def test_a083_aliases_of_hers(backup: Host, source: Path) -> None:
    """popt(3) reads ~/.popt for a client: a server must not."""
    (source / ".popt").write_text("rsync exec --zed /usr/bin/rsync-no-such\nrsync alias --yak --version\n")
    aliased = backup.run(["/usr/bin/rsync", "--yak"], env={"HOME": "/root/source", "PATH": "/usr/bin"})
    assert aliased.stdout.startswith("rsync  version")
    works(backup, "-a", "/root/source/.popt", ":.popt")
    for option in ("--zed", "--yak"):
        done = backup.ssh(USER, f"rsync --server {option} .")
        assert done.returncode != 0 and "unknown option" in done.stderr


def test_nothing_of_the_host_is_in_the_root(backup: Host) -> None:
    root = backup.root / f"var/lib/jailctl/images/{backup.image('rsync-backup')}/root"
    programs = sorted(path.name for path in (root / "usr/bin").iterdir())
    assert set(programs) <= {"rsync", "sh", "dash", "cat"}
    assert not (root / "usr/bin/bash").exists() and not (root / "usr/lib/python3").exists()
