"""Root's work in homes: what is built, kept and archived, with canaries outside that must stay as they are."""

from __future__ import annotations

import os
import socket
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jailkit.errors import JailkitError
from jailkit.image import render
from jailkit.jail import recipe as recipes
from jailkit.kernel.beneath import remove_tree
from jailkit.paths import Paths
from jailkit.provision import files, homes, mounts, resolve
from jailkit.provision.backup import process, target
from jailkit.provision.backup.process import Parts, Shown
from jailkit.provision.state import Row
from tests.unit.rooted import rooted

UID = 54777
ROW = Row("alice", UID, UID, 700000000, "present", False, "", False, "/home/alice", "", {}, 0)
FILES_ONLY = replace(ROW, level="chroot")
SECRET = "canary-content"


@pytest.fixture
def top() -> Iterator[Path]:
    """``home`` is the tenant's; ``canary`` is not hers to read."""
    with rooted() as paths:
        base = Path(paths.root)
        (base / "home").mkdir()
        os.chown(base / "home", UID, UID)
        (base / "home").chmod(0o700)
        (base / "canary").write_text(SECRET)
        (base / "canary").chmod(0o600)
        yield base


def own(path: Path, mode: int | None = None) -> Path:
    os.chown(path, UID, UID, follow_symlinks=False)
    if mode is not None:
        path.chmod(mode)
    return path


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.write_text(text)
    return own(path, mode)


def archived(top: Path, compress: bool = False) -> tuple[dict[str, object], dict[str, tarfile.TarInfo], bytes]:
    path = top / "out.tar"
    home = os.open(top / "home", os.O_RDONLY | os.O_DIRECTORY)
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        done = process.write(Paths(str(top)), ROW, Parts(home), output, "gzip" if compress else "", Shown("."))
    finally:
        os.close(home)
        os.close(output)
    report = {"files": done.files, "skipped": done.skipped, "left_out": done.left_out}
    with tarfile.open(path) as tar:
        return report, {info.name: info for info in tar.getmembers()}, path.read_bytes()


def content(top: Path, name: str) -> bytes:
    with tarfile.open(top / "out.tar") as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


@pytest.mark.parametrize("compress", [False, True])
def test_an_archive_holds_the_tree(top: Path, compress: bool) -> None:
    home = top / "home"
    write(home / "a", "A" * 3000000)
    write(home / "n\u00e4me \n", "odd", 0o600)
    (home / "dir").mkdir()
    own(home / "dir")
    write(home / "dir" / "empty", "")
    (home / "link").symlink_to("dir/empty")
    os.link(home / "a", home / "hard")
    report, found, _ = archived(top, compress)
    assert set(found) == {".", "./a", "./n\u00e4me \n", "./dir", "./dir/empty", "./link", "./hard"}
    assert report == {"files": 3, "skipped": 0, "left_out": ()}
    assert content(top, "./a") == b"A" * 3000000
    assert found["./hard"].islnk() and found["./hard"].linkname == "./a"
    assert found["./link"].issym() and found["./link"].linkname == "dir/empty"
    assert (found["./a"].uid, found["./a"].uname) == (UID, "alice")


def test_a113_links_to_secrets_are_links_and_special_files_are_left_out(top: Path) -> None:
    home = top / "home"
    (home / "abs").symlink_to(top / "canary")
    (home / "rel").symlink_to("../canary")
    (home / "root").symlink_to("/")
    os.link(top / "canary", home / "foreign")
    os.mkfifo(home / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(home / "sock"))
    os.mknod(home / "dev", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    report, found, data = archived(top)
    assert {name for name in found if not found[name].issym()} == {"."}
    assert report["skipped"] == 4
    assert SECRET.encode() not in data
    assert (top / "canary").read_text() == SECRET


def test_the_users_own_unreadable_files_are_not_lost(top: Path) -> None:
    home = top / "home"
    write(home / "closed", "mine", 0)
    (home / "dir").mkdir()
    write(home / "dir" / "x", "deep")
    own(home / "dir", 0)
    (home / "list").mkdir()
    write(home / "list" / "y", "listed")
    own(home / "list", 0o400)
    home.chmod(0o100)
    _, found, _ = archived(top)
    assert stat.S_IMODE(home.stat().st_mode) == 0o100
    assert content(top, "./list/y") == b"listed"
    assert content(top, "./closed") == b"mine"
    assert content(top, "./dir/x") == b"deep"
    assert (found["./closed"].mode, found["./dir"].mode) == (0, 0)
    assert stat.S_IMODE((home / "closed").stat().st_mode) == stat.S_IMODE((home / "dir").stat().st_mode) == 0


def test_a109_no_set_id_bit_goes_into_an_archive(top: Path) -> None:
    write(top / "home" / "suid", "x", 0o6755)
    assert archived(top)[1]["./suid"].mode == 0o755


def test_a111_a127_nothing_of_the_tenants_root_is_loaded(top: Path) -> None:
    """The writer's root is the home; Python and the C library would find these there if they looked."""
    home = top / "home"
    for name in ("etc", "lib", "usr", "usr/lib", "usr/lib/python3.11", "usr/bin"):
        (home / name).mkdir()
        own(home / name)
    for name in ("etc/nsswitch.conf", "etc/passwd", "etc/ld.so.preload", "usr/bin/gzip", "usr/bin/tar"):
        write(home / name, "#!/bin/sh\ntouch /RAN\n", 0o755)
        os.utime(home / name, (1, 1))
    report, _, _ = archived(top, True)
    assert report["files"] == 5
    assert not (home / "RAN").exists()


def test_a_tree_as_deep_as_you_like_is_archived(top: Path) -> None:
    fd = os.open(top / "home", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d" * 60, dir_fd=fd)
        os.chown("d" * 60, UID, UID, dir_fd=fd)
        child = os.open("d" * 60, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = child
    os.close(fd)
    assert len(archived(top)[1]) == 1501
    assert remove_tree(str(top / "home")) > 1500


def test_a_full_disk_is_told_and_nothing_is_said_to_be_archived(top: Path) -> None:
    write(top / "home" / "a", "A" * 100000)
    home = os.open(top / "home", os.O_RDONLY)
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space left"):
        process.write(Paths(str(top)), ROW, Parts(home), full, "", Shown("."))
    os.close(home)
    os.close(full)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("a.tar", "usage.archive"),
        ("-x", "usage.archive"),
        ("/root/../a", "usage.archive"),
        ("/none/a", "missing.directory"),
    ],
)
def test_a119_an_archive_is_a_full_path_into_a_directory(path: str, code: str) -> None:
    with pytest.raises(JailkitError) as caught:
        target.check(path)
    assert caught.value.code == code


def test_a114_an_archive_goes_where_only_root_can_replace_it(top: Path) -> None:
    target.check(str(top / "a.tar"))
    target.check(f"/tmp/jailkit-{os.urandom(8).hex()}.tar")
    for path in (top / "home" / "a.tar", top / "canary"):
        with pytest.raises(JailkitError):
            target.check(str(path))
    (top / "planted").symlink_to("/etc/canary")
    with pytest.raises(JailkitError) as caught:
        target.check(str(top / "planted"))
    assert caught.value.code == "conflict.archive-exists"
    (top / "open").mkdir()
    (top / "open").chmod(0o777)
    with pytest.raises(JailkitError) as caught:
        target.check(str(top / "open" / "a.tar"))
    assert caught.value.code == "unsafe.path"


# -- homes


@pytest.mark.parametrize("umask", [0, 0o077])
def test_a092_a_home_is_the_users_alone_from_its_first_moment(top: Path, umask: int) -> None:
    skel = top / "skel"
    (skel / ".config").mkdir(parents=True)
    (skel / ".bashrc").write_text("x")
    (skel / ".bashrc").chmod(0o4755)
    (skel / "link").symlink_to(".bashrc")
    os.umask(umask)
    try:
        homes.build(str(top / ".new"), str(skel), UID, UID)
    finally:
        os.umask(0o022)
    homes.publish(str(top / ".new"), str(top / "alice"))
    home = top / "alice"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / ".bashrc").stat().st_mode) == 0o755
    assert os.readlink(home / "link") == ".bashrc"
    assert {path.lstat().st_uid for path in [home, *home.rglob("*")]} == {UID}


def test_a107_a_home_never_takes_the_place_of_something(top: Path) -> None:
    homes.build(str(top / ".new"), "/nonexistent", UID, UID)
    (top / "alice").mkdir()
    with pytest.raises(JailkitError) as caught:
        homes.publish(str(top / ".new"), str(top / "alice"))
    assert caught.value.code == "conflict.home-exists"


def test_a088_keeping_a_home_changes_its_top_and_nothing_below(top: Path) -> None:
    home = top / "home"
    write(home / "file", "x")
    os.link(top / "canary", home / "hard")
    before = (top / "canary").stat()
    homes.seal(str(home), ROW)
    assert (home.stat().st_uid, stat.S_IMODE(home.stat().st_mode)) == (0, 0o700)
    after = (top / "canary").stat()
    assert (after.st_uid, after.st_mode, after.st_mtime) == (before.st_uid, before.st_mode, before.st_mtime)
    assert (home / "file").stat().st_uid == UID


def test_a086_a_home_that_became_a_link_or_somebodys_is_refused(top: Path) -> None:
    (top / "target").mkdir()
    (top / "link").symlink_to("target")
    for path in (top / "link", top / "target"):
        with pytest.raises(JailkitError) as caught:
            homes.open_own(str(path), ROW)
        assert caught.value.code == "unsafe.home-owner"
    assert homes.open_own(str(top / "gone"), ROW) is None
    (top / "home2").mkdir()
    (top / "home2").chmod(0o777)
    with pytest.raises(JailkitError) as caught:
        homes.open_own(str(top / "home2" / "x"), ROW)
    assert caught.value.code == "unsafe.path"


# -- homes of chroot jails


@pytest.mark.parametrize("umask", [0, 0o077])
def test_a092_the_root_of_a_chroot_jail_is_roots_and_closed(top: Path, umask: int) -> None:
    os.umask(umask)
    try:
        homes.build_chroot(str(top / ".new"), UID, UID)
    finally:
        os.umask(0o022)
    status, inner = (top / ".new").stat(), (top / ".new/files").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, UID, 0o750)
    assert (inner.st_uid, inner.st_gid, stat.S_IMODE(inner.st_mode)) == (UID, UID, 0o700)
    assert [path.name for path in (top / ".new").iterdir()] == ["files"]


def test_a088_whose_the_root_of_a_chroot_jail_is(top: Path) -> None:
    homes.build_chroot(str(top / "drop"), UID, UID)
    write(top / "drop/files/file", "x")
    for path, row in ((top / "drop", ROW), (top / "home", FILES_ONLY), (top, FILES_ONLY)):
        with pytest.raises(JailkitError) as caught:
            homes.open_own(str(path), row)
        assert caught.value.code == "unsafe.home-owner"
    homes.seal(str(top / "drop"), FILES_ONLY)
    status = (top / "drop").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 0, 0o700)
    assert (top / "drop/files/file").stat().st_uid == UID
    with pytest.raises(JailkitError):  # what was kept is nobody's any more
        homes.open_own(str(top / "drop"), FILES_ONLY)


def test_a113_an_archive_of_a_chroot_jail_has_all_that_she_could_read(top: Path) -> None:
    homes.build_chroot(str(top / "drop"), UID, UID)
    write(top / "drop/files/mine", "x", 0o600)
    (top / "drop/etc").mkdir(0o755)
    (top / "drop/etc/passwd").write_text("x")
    (top / "drop/by-root").write_text(SECRET)
    (top / "drop/by-root").chmod(0o600)
    (top / "drop/files/out").symlink_to(top / "canary")
    (top / "home").rmdir()
    (top / "drop").rename(top / "home")
    report, members, data = archived(top)
    assert set(members) == {".", "./etc", "./etc/passwd", "./files", "./files/mine", "./files/out"}
    assert report["left_out"] == ("./by-root: not hers to read",) and SECRET.encode() not in data
    assert stat.S_IMODE((top / "home").stat().st_mode) == 0o750


# -- files of our own


def test_a_file_is_replaced_as_a_whole_or_not_at_all(top: Path) -> None:
    path = top / "file"
    files.write(str(path), b"old", 0o640)
    pid = os.fork()
    if pid == 0:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
        try:
            files.write(str(path), b"new content", 0o600)
        except OSError:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert path.read_bytes() == b"old"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(name for name in os.listdir(top) if "file" in name) == ["file"]


def test_a_link_in_the_way_is_replaced_and_a_fifo_is_not_read(top: Path) -> None:
    (top / "link").symlink_to("canary")
    files.write(str(top / "link"), b"new", 0o600)
    assert (top / "canary").read_text() == SECRET
    os.mkfifo(top / "fifo")
    with pytest.raises(JailkitError):
        files.read(str(top / "fifo"))
    assert files.read(str(top / "none")) is None


def test_a_directory_of_ours_that_is_somebodys_is_refused(top: Path) -> None:
    for name in ("home", "canary"):
        with pytest.raises(JailkitError) as caught:
            files.directory(str(top / name), 0o755)
        assert caught.value.code == "unsafe.path"


def test_mount_points_below_a_directory_are_by_component() -> None:
    assert "/proc" in mounts.below(["/proc"])
    assert mounts.below(["/pro"]) == []
    assert "/proc" in mounts.below(["/"])


def test_resolv_conf_is_reduced_to_what_means_something() -> None:
    text = (
        "# c\nnameserver 192.0.2.1\n  search  a.b\nevil\x1b[0m line\nnameserver 1\x00\noptions edns0\nnameserverx y\n"
    )
    assert render.dns_lines(text) == ["nameserver 192.0.2.1", "search a.b", "options edns0"]
    jail = recipes.Recipe(user="a", uid=1, gid=1, base=1, home="/home/a", hostname="a", template="shell")
    assert resolve.dns_lines(jail, text) == []
    assert resolve.dns_lines(jail.but(network="host"), text) == ["nameserver 192.0.2.1", "search a.b", "options edns0"]
    relayed = ["nameserver 127.0.0.1", "search a.b", "options edns0"]
    assert resolve.dns_lines(jail.but(connectors=["dns"]), text) == relayed
    assert resolve.dns_lines(jail.but(connectors=["dns"]), "") == ["nameserver 127.0.0.1"]
