"""Backups as trees and files: what comes back is what was there, and nothing else; what means harm is refused whole."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import socket
import stat
import struct
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jailkit.errors import JailkitError
from jailkit.kernel import mount, namespaces
from jailkit.paths import Paths
from jailkit.provision.backup import process, snapshot, target
from jailkit.provision.backup.judge import Shape
from tests.unit.image.foreign.tars import directory, file, hard, link, node, tar
from tests.unit.provision import trees
from tests.unit.provision.trees import OTHER, PLAIN, UID, WHOLE, checked, copied, digest, filled, new, picture, write
from tests.unit.rooted import rooted

SECRET = b"canary-content"


@pytest.fixture
def top() -> Iterator[Path]:
    """``home`` is alice's; ``canary`` is nobody's but root's, and as it was at the end."""
    with rooted() as paths:
        base = Path(paths.root)
        new(base / "home", UID)
        (base / "canary").write_bytes(SECRET)
        (base / "canary").chmod(0o600)
        yield base
        status = (base / "canary").stat()
        assert (base / "canary").read_bytes() == SECRET and (status.st_uid, status.st_mode & 0o7777) == (0, 0o600)


def at(top: Path) -> Paths:
    return Paths(str(top))


# -- what comes back is what was there

_NAMES = st.binary(min_size=1, max_size=20).map(lambda b: b.replace(b"/", b"_").replace(b"\0", b"0")).filter(
    lambda b: b not in (b".", b"..")
)  # fmt: skip
_PLACE = st.tuples(_NAMES, st.sampled_from([0o600, 0o644, 0o755, 0, 0o400, 0o777]), st.integers(-(10**18), 4 * 10**18))
_FILES = st.tuples(
    _PLACE,
    st.lists(st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=3000)), max_size=3),
    st.integers(0, 9),
    st.dictionaries(st.sampled_from(["user.a", "user.b=c%", "user.\u00e4"]), st.binary(max_size=200), max_size=2),
)  # fmt: skip
_TREES = st.recursive(
    st.lists(_FILES, max_size=6),
    lambda below: st.tuples(st.lists(_FILES, max_size=4), st.lists(st.tuples(_PLACE, below), max_size=3)),
    max_leaves=6,
)


def plant(base: bytes, tree: object, names: set[bytes]) -> None:
    """Make a generated tree: files with holes between their parts, and links of both kinds to some of them."""
    files, below = tree if isinstance(tree, tuple) else (tree, [])
    made: list[bytes] = []
    for (name, mode, when), pieces, extra, attributes in files:
        path = os.path.join(base, name)
        if os.path.lexists(path):
            continue
        with open(path, "wb") as out:
            for page, data in pieces:
                out.seek(page * 4096)
                out.write(data)
            if extra > 7:
                out.truncate(1 << 20)
        for key, value in attributes.items():
            os.setxattr(path, key, value)
        own(path, mode, when)
        made.append(path)
        if extra in (1, 2) and not os.path.lexists(path + b"~"):
            (os.link if extra == 1 else os.symlink)(made[0], path + b"~")
            if extra == 2:
                os.chown(path + b"~", UID, UID, follow_symlinks=False)
    for (name, mode, when), tree_below in below:
        path = os.path.join(base, name)
        if not os.path.lexists(path):
            os.mkdir(path)
            plant(path, tree_below, names)
            own(path, mode | 0o2000 if mode == 0o755 else mode, when)


def own(path: bytes | Path, mode: int, when: int = 1) -> None:
    os.chown(path, UID, UID)
    os.chmod(path, mode)
    os.utime(path, ns=(when, when))


@settings(
    max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate], database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(tree=_TREES, packer=st.sampled_from(["zstd", "gzip", ""]))
def test_a_backup_brings_back_what_was_there(top: Path, tree: object, packer: str) -> None:
    number = os.urandom(6).hex()
    home = new(top / f"home-{number}", UID)
    plant(os.fsencode(home), tree, set())
    own(home, 0o750)
    before = picture(home, UID)
    write(at(top), top / number, home, packer=packer, shown=".")
    checked(at(top), top / number)
    filled(at(top), top / number, new(top / f"new-{number}"))
    assert picture(top / f"new-{number}", OTHER) == before
    copied(at(top), home, new(top / f"copy-{number}"))
    assert picture(top / f"copy-{number}", OTHER) == before
    assert picture(home, UID) == before


def test_a_tree_as_deep_as_you_like_and_a_file_of_many_holes_come_back(top: Path) -> None:
    fd = os.open(top / "home", os.O_RDONLY)
    for _ in range(400):
        os.mkdir("d" * 60, dir_fd=fd)
        child = os.open("d" * 60, os.O_RDONLY, dir_fd=fd)
        os.fchown(child, UID, UID)
        os.close(fd)
        fd = child
    os.close(os.open("last", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.chown("last", UID, UID, dir_fd=fd)
    os.close(fd)
    with open(top / "home/holes", "wb") as out:
        for piece in range(5000):
            out.seek(piece * 8192)
            out.write(b"x")
    own(top / "home/holes", 0o600)
    write(at(top), top / "a", top / "home", packer="zstd", shown=".")
    assert filled(at(top), top / "a", new(top / "new"))["names"] == 403
    assert digest(top / "new/holes") == digest(top / "home/holes")
    assert (top / "new/holes").stat().st_blocks <= (top / "home/holes").stat().st_blocks * 2


def test_other_tars_read_what_we_write_and_we_read_theirs(top: Path) -> None:
    (top / "home/a").write_bytes(b"A" * 100000)
    with open(top / "home/sparse", "wb") as out:
        out.truncate(9 << 20)
        out.seek(2 << 20)
        out.write(b"middle")
    for name in ("a", "sparse"):
        own(top / "home" / name, 0o640)
    write(at(top), top / "a.tar", top / "home", shown=".")
    assert (top / "a.tar").stat().st_size < 1 << 20
    (top / "gnu").mkdir()
    assert os.spawnv(os.P_WAIT, "/usr/bin/tar", ["tar", "-xf", f"{top}/a.tar", "-C", f"{top}/gnu"]) == 0
    assert digest(top / "gnu/sparse") == digest(top / "home/sparse")
    assert (top / "gnu/sparse").stat().st_blocks * 512 < 1 << 20
    for number, options in enumerate((["--format=pax", "-S"], ["--format=gnu", "-S"], ["--format=ustar"])):
        argv = ["tar", "-cf", f"{top}/{number}.tar", *options, "-C", f"{top}", "home"]
        assert os.spawnv(os.P_WAIT, "/usr/bin/tar", argv) == 0
        filled(at(top), top / f"{number}.tar", new(top / f"new{number}"), shape=Shape(plain=True, strip=1))
        assert digest(top / f"new{number}/sparse") == digest(top / "home/sparse")
        assert stat.S_IMODE((top / f"new{number}/a").stat().st_mode) == 0o640


def test_access_lists_of_hers_come_along_and_of_strangers_do_not(top: Path) -> None:
    (top / "home/a").write_bytes(b"")
    own(top / "home/a", 0o600)
    nobody = 0xFFFFFFFF
    rows = [(1, 6, nobody), (2, 4, 0), (2, 4, UID), (4, 0, nobody), (0x10, 4, nobody), (0x20, 0, nobody)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)
    os.setxattr(top / "home/a", "system.posix_acl_access", value)
    write(at(top), top / "x", top / "home", shown=".")
    filled(at(top), top / "x", new(top / "new"))
    found = os.getxattr(top / "new/a", "system.posix_acl_access")
    users = [number for tag, _, number in struct.iter_unpack("<HHI", found[4:]) if tag == 2]
    assert users == [OTHER]


# -- layers


def test_a031_whiteouts_and_opaque_directories_keep_their_meaning_in_a_layer_and_have_none_in_a_home(top: Path) -> None:
    upper = top / "upper"
    upper.mkdir()
    (upper / "srv").mkdir()
    os.setxattr(upper / "srv", "trusted.overlay.opaque", b"y")
    (upper / "srv/hers").write_bytes(b"h")
    (upper / "srv/roots").write_bytes(b"r")
    os.mknod(upper / "gone", stat.S_IFCHR, os.makedev(0, 0))
    os.mknod(upper / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(top / "home/gone", stat.S_IFCHR, os.makedev(0, 0))
    for path in (upper, upper / "srv", upper / "srv/roots"):
        os.chown(path, trees.ROW.base, trees.ROW.base + 50)
    os.chown(upper / "srv/hers", UID, UID)
    done = write(at(top), top / "a", top / "home", upper)
    assert sorted(done.left_out) == ["home/gone: a device", "layer/null: a device"]
    layers = [new(top / name, trees.BOB.base) for name in ("restored", "copied")]
    filled(at(top), top / "a", new(top / "h1"), layers[0], WHOLE)
    copied(at(top), top / "home", new(top / "h2"), upper, layers[1])
    for made in layers:
        assert sorted(path.name for path in made.rglob("*")) == ["gone", "hers", "roots", "srv"]
        status = (made / "gone").lstat()
        assert stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
        assert os.getxattr(made / "srv", "trusted.overlay.opaque") == b"y"
        ids = [(status.st_uid, status.st_gid) for status in ((made / "srv/roots").stat(), (made / "srv/hers").stat())]
        assert ids == [(trees.BOB.base, trees.BOB.base + 50), (OTHER, OTHER)]
    assert list((top / "h1").iterdir()) == list((top / "h2").iterdir()) == []


# -- what is not hers


def test_a113_a088_nothing_of_others_is_read_through_any_kind_of_name(top: Path) -> None:
    home = top / "home"
    (home / "abs").symlink_to(top / "canary")
    (home / "rel").symlink_to("../canary")
    os.link(top / "canary", home / "foreign")
    os.mkfifo(home / "fifo")
    (home / "closed").mkdir(0o700)
    (home / "closed/x").write_bytes(SECRET)
    os.mknod(home / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(home / "sock"))
    done = write(at(top), top / "a", home)
    assert sorted(line.split(": ")[0] for line in done.left_out) == [
        "home/closed", "home/fifo", "home/foreign", "home/sock", "home/zero",
    ]  # fmt: skip
    assert SECRET not in (top / "a").read_bytes()
    copied(at(top), home, new(top / "new"))
    assert sorted(path.name for path in (top / "new").rglob("*")) == ["abs", "rel"]
    assert (top / "new/abs").readlink() == top / "canary"


def test_a113_a_file_that_grows_shrinks_and_is_swapped_while_it_is_read(top: Path) -> None:
    home, ended = top / "home", threading.Event()
    paths = [home / name for name in ("grows", "shrinks", "swapped")]
    for path in paths:
        path.write_bytes(b"x" * (2 << 20))
        own(path, 0o600)

    def busy() -> None:
        while not ended.is_set():
            with open(paths[0], "ab") as out:
                out.write(b"y" * 65536)
            os.truncate(paths[1], 1000)
            with open(paths[1], "ab") as out:
                out.write(b"z" * (1 << 20))
            os.unlink(paths[2])
            paths[2].symlink_to(top / "canary")
            os.unlink(paths[2])
            os.mkfifo(paths[2])
            os.unlink(paths[2])
            os.link(top / "canary", paths[2])

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for number in range(3):
            write(at(top), top / f"{number}", home, packer="zstd", shown=".")
            os.truncate(paths[0], 2 << 20)
    finally:
        ended.set()
        thread.join()
    for number in range(3):
        checked(at(top), top / f"{number}")
        filled(at(top), top / f"{number}", new(top / f"new{number}"))
        for path in (top / f"new{number}").iterdir():
            assert path.is_symlink() or SECRET not in path.read_bytes()


# -- archives that mean harm


MANIFEST = json.dumps({
    "format": 1, "name": "alice", "uid": UID, "gid": UID, "level": "namespaces", "home": "/home/alice",
    "template": "shell", "image": "", "taken": "stopped", "created": "2026-11-25T09:00:00Z", "host": "elsewhere",
    "version": "0", "parts": ["home"], "password": False, "spec": {"user": "alice", "template": "shell"},
}).encode()  # fmt: skip


def home_tar(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    return whole_tar(directory("home", 0o700), *entries)


def whole_tar(*entries: tuple[tarfile.TarInfo, bytes], manifest: bytes = MANIFEST) -> bytes:
    """Up to where it would say its own digest."""
    return tar(file("manifest.json", manifest), *entries)


def set_id(name: str, mode: int) -> tuple[tarfile.TarInfo, bytes]:
    return file(name, b"#!/bin/sh\n", mode=mode)


HARM: dict[str, tuple[bytes, str]] = {
    "climb": (home_tar(file("home/../../canary", b"HARM")), "climbs out"),
    "absolute": (home_tar(file("/etc/canary", b"HARM")), "begins with '/'"),
    "link-then-file": (home_tar(link("home/l", ".."), file("home/l/canary", b"HARM")), "which is a link"),
    "link-then-directory": (home_tar(link("home/l", ".."), directory("home/l")), "twice"),
    "directory-then-link": (home_tar(directory("home/d"), link("home/d", "..")), "twice"),
    "link-twice": (home_tar(link("home/l", "a"), link("home/l", "..")), "twice"),
    "file-over-link": (home_tar(link("home/l", "../canary"), file("home/l", b"HARM")), "twice"),
    "file-below-file": (home_tar(file("home/f"), file("home/f/g")), "which is a file"),
    "home-is-a-link": (whole_tar(link("home", ".."), file("home/canary", b"HARM")), "not a directory"),
    "hard-link-out": (home_tar(hard("home/h", "../canary")), "climbs out"),
    "hard-link-absolute": (home_tar(hard("home/h", "/etc/shadow")), "begins with '/'"),
    "hard-link-to-link": (home_tar(link("home/l", "../canary"), hard("home/h", "home/l")), "no file that came before"),
    "hard-link-forward": (home_tar(hard("home/h", "home/f"), file("home/f")), "no file that came before"),
    "hard-link-to-manifest": (home_tar(hard("home/h", "sums.json")), "no file that came before"),
    "character-device": (home_tar(node("home/d", tarfile.BLKTYPE)), "a device"),
    "whiteout-in-the-home": (home_tar(node("home/d", tarfile.CHRTYPE)), "a device"),
    "setuid": (home_tar(set_id("home/s", 0o4755)), "set-id"),
    "setgid": (home_tar(set_id("home/s", 0o2755)), "set-id"),
    "another-place": (whole_tar(directory("home"), file("etc")), "no backup"),
    "outside-its-parts": (whole_tar(directory("home"), directory("etc"), file("etc/passwd")), "no backup"),
    "long-component": (home_tar(file("home/" + "a" * 256)), "too long"),
    "empty-link": (home_tar(link("home/l", "")), "points to nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", HARM)
def test_a109_a005_the_whole_archive_is_refused_before_and_while_it_is_written(top: Path, name: str) -> None:
    data, sentence = HARM[name]
    (top / "a").write_bytes(data)
    with pytest.raises(JailkitError) as caught:
        checked(at(top), top / "a", WHOLE)
    assert caught.value.code in ("unsafe.archive", "invalid.archive") and sentence in caught.value.message
    before = sorted(os.listdir(top))
    new(top / "new")
    with pytest.raises(JailkitError) as caught:
        filled(at(top), top / "a", top / "new", shape=WHOLE)
    assert sentence in caught.value.message
    assert sorted(os.listdir(top)) == sorted([*before, "new"])


def test_a109_capabilities_and_marks_of_an_archive_do_not_come_along(top: Path) -> None:
    pax = {"SCHILY.xattr.security.capability": "\x01\0\0\x02", "SCHILY.xattr.trusted.overlay.opaque": "y",
           "SCHILY.xattr.user.fine": "1"}  # fmt: skip
    (top / "a").write_bytes(home_tar(file("home/f", b"x", pax=pax)))
    assert len(filled(at(top), top / "a", new(top / "new"), shape=WHOLE)["dropped"]) == 2
    assert os.listxattr(top / "new/f") == ["user.fine"]


def test_a115_a_zip_and_what_else_is_no_tar_is_refused(top: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as packed:
        packed.writestr("../canary", "HARM")
    for data in (made.getvalue(), b"", b"PK\x03\x04", b"x" * 5000):
        (top / "a").write_bytes(data)
        with pytest.raises(JailkitError) as caught:
            checked(at(top), top / "a")
        assert caught.value.code == "invalid.archive"


def test_a111_no_program_of_hers_unpacks(top: Path) -> None:
    for name in ("usr", "usr/bin", "lib"):
        (top / "home" / name).mkdir()
        own(top / "home" / name, 0o755)
    for name in ("zstd", "gzip", "unpigz", "xz", "tar"):
        (top / f"home/usr/bin/{name}").write_text(f"#!/bin/sh\ntouch {top}/RAN /RAN\n")
        own(top / f"home/usr/bin/{name}", 0o755)
    for packer in ("zstd", "gzip"):
        write(at(top), top / packer, top / "home", packer=packer, shown=".")
        filled(at(top), top / packer, new(top / f"new-{packer}"))
        assert (top / f"new-{packer}/usr/bin/{packer}").is_file()
    assert not list(top.rglob("RAN"))


def test_a180_an_archive_that_has_no_room_is_refused_and_a_full_disk_is_told(top: Path) -> None:
    """On a tmpfs of 4 MiB, in a mount namespace of a child's."""
    (top / "home/big").write_bytes(os.urandom(8 << 20))
    own(top / "home/big", 0o600)
    write(at(top), top / "a", top / "home", shown=".")
    (top / "small").mkdir()

    def child() -> None:
        namespaces.unshare(namespaces.NEWNS)
        mount.make_private()
        mount.attach(mount.tmpfs(0, source="tmpfs", size="4m", mode="0755"), str(top / "small"))
        new(top / "small/new")
        (top / "small/a").symlink_to(top / "a")
        with pytest.raises(JailkitError) as caught:
            checked(at(top), top / "small/a")
        assert caught.value.code == "unsafe.archive", caught.value
        with pytest.raises(OSError, match="No space left"):
            filled(at(top), top / "a", top / "small/new")
        with pytest.raises(OSError, match="No space left"):
            write(at(top), top / "small/out", top / "home")

    in_child(child)


def in_child(work: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException as error:  # noqa: BLE001 - a forked child must not go on as pytest
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


CUT: dict[str, tuple[bytes, str]] = {
    "no-sums": (whole_tar(directory("home")), "cut off"),
    "another-digest": (
        whole_tar(directory("home"), file("sums.json", b'{"sha256": "0", "left_out": []}')), "another digest"
    ),
    "sums-are-none": (whole_tar(directory("home"), file("sums.json", b"[]")), "not to be read"),
    "no-manifest": (tar(directory("home")), "no backup"),
    "manifest-is-none": (whole_tar(directory("home"), manifest=b"x"), "manifest is not one"),
    "another-format": (whole_tar(directory("home"), manifest=b'{"format": 2}'), "this jailkit knows 1"),
    "another-user": (whole_tar(manifest=MANIFEST.replace(b'"user": "alice"', b'"user": "root"')), "spec.user"),
    "two-users": (whole_tar(manifest=MANIFEST.replace(b'"user": "alice"', b'"user": "bob"')), "contradicts itself"),
    "unknown-key": (whole_tar(manifest=MANIFEST.replace(b'"format"', b'"run": "id", "format"')), "run"),
    "path-in-the-spec": (whole_tar(manifest=MANIFEST.replace(b'"user"', b'"shell": "../sh", "user"')), "spec.shell"),
}  # fmt: skip


@pytest.mark.parametrize("name", CUT)
def test_a123_what_it_says_of_itself_is_data_from_outside(top: Path, name: str) -> None:
    (top / "a").write_bytes(CUT[name][0])
    with pytest.raises(JailkitError) as caught:
        checked(at(top), top / "a", WHOLE)
    assert caught.value.code == "invalid.archive" and CUT[name][1] in caught.value.message


# -- the file


def test_a114_the_file_has_no_name_before_it_is_whole_and_replaces_nothing(top: Path) -> None:
    made = target.Target(str(top / "a.tar"), f"{top}/.a")
    before = sorted(os.listdir(top))
    assert "a.tar" not in before and made.temporary == ""
    assert stat.S_IMODE(os.fstat(made.fd).st_mode) == 0o600
    os.write(made.fd, b"x")
    (top / "a.tar").symlink_to("canary")
    with pytest.raises(FileExistsError):
        made.publish()
    made.close()
    assert sorted(os.listdir(top)) == sorted([*before, "a.tar"])


def test_a114_where_files_cannot_be_without_a_name_it_is_one_that_nobody_knows(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # open(2) for writing then answers EISDIR, as these do
    made = target.Target(str(top / "a.tar"), f"{top}/.a.1234")
    assert made.temporary and stat.S_IMODE((top / ".a.1234").stat().st_mode) == 0o600
    os.write(made.fd, b"x")
    made.publish()
    assert (top / "a.tar").read_bytes() == b"x" and not (top / ".a.1234").exists()
    (top / ".b").symlink_to("canary")
    with pytest.raises(FileExistsError):
        target.Target(str(top / "b.tar"), f"{top}/.b")


def test_a_plain_tar_may_lack_directories_and_have_one_too_many(top: Path) -> None:
    (top / "a").write_bytes(tar(file("alice/sub/deep/f", b"1"), directory("alice/sub", 0o700), file("alice/.g", b"2")))
    assert checked(at(top), top / "a", Shape(plain=True, strip=1)).names == 2
    filled(at(top), top / "a", new(top / "new"), shape=Shape(plain=True, strip=1))
    assert sorted(path.name for path in (top / "new").rglob("*")) == [".g", "deep", "f", "sub"]
    assert {path.stat().st_uid for path in (top / "new").rglob("*")} == {OTHER}
    with pytest.raises(JailkitError):
        checked(at(top), top / "a", Shape(plain=True, strip=4))
    assert checked(at(top), top / "a", PLAIN).names == 2


def test_a_copy_shares_its_blocks_where_the_file_system_can(top: Path) -> None:
    """On btrfs: a backup then needs her jail held still only for the copy."""
    image = top / "btrfs"
    with open(image, "wb") as out:
        out.truncate(128 << 20)
    (top / "disk").mkdir()

    def child() -> None:
        namespaces.unshare(namespaces.NEWNS)
        mount.make_private()
        for argv in (["mkfs.btrfs", "-q", str(image)], ["mount", "-o", "loop", str(image), f"{top}/disk"]):
            subprocess.run(argv, check=True, capture_output=True, timeout=60)
        home, layer = new(top / "disk/home", UID), new(top / "disk/upper", trees.ROW.base)
        for path, owner in ((home / "big", UID), (layer / "roots", trees.ROW.base)):
            path.write_bytes(os.urandom(5 << 20))
            os.chown(path, owner, owner)
        with contextlib.ExitStack() as stack, trees.parts(home, layer) as seen:
            copy = snapshot.shared(at(top), trees.ROW, seen, f"{top}/disk/.copy", stack)
            assert copy is not None and copy.layer is not None
            for fd, path in ((copy.home, home / "big"), (copy.layer, layer / "roots")):
                assert digest(Path(f"/proc/self/fd/{fd}/{path.name}")) == digest(path)
            assert os.statvfs(top / "disk").f_bfree * 4096 > 60 << 20
        assert not (top / "disk/.copy").exists()

    in_child(child)
    with contextlib.ExitStack() as stack, trees.parts(top / "home") as seen:
        assert snapshot.shared(at(top), trees.ROW, seen, f"{top}/.copy", stack) is None


# -- the processes

CALLS: dict[str, Callable[[], object]] = {
    "socket": lambda: socket.socket(socket.AF_INET),
    "program": lambda: os.execv("/home/tool", ["tool"]),
    "terminal": lambda: fcntl.ioctl(0, 0x5412, b"x"),
    "become-root": lambda: os.setresuid(0, 0, 0),
    "foreign-secret": lambda: os.open("/home/foreign", os.O_RDONLY),
    "climb": lambda: os.stat("/home/../../etc/passwd"),
    "kill": lambda: os.kill(1, 0),
    "foreign-owner": lambda: os.fchown(os.open("/home/mine", os.O_RDONLY), 5000, 5000),
    "own-secret": lambda: os.close(os.open("/home/mine", os.O_RDONLY)),
    "write": lambda: os.close(os.open("/home/new", os.O_WRONLY | os.O_CREAT, 0o600)),
}
CAN = {"reads": {"own-secret"}, "fills": {"own-secret", "write"}}


@pytest.mark.parametrize("kind", CAN)
def test_a131_who_reads_or_fills_has_her_ids_her_files_and_nothing_else(top: Path, kind: str) -> None:
    os.link(top / "canary", top / "home/foreign")
    for name in ("mine", "tool"):
        (top / "home" / name).write_bytes(b"x")
        own(top / "home" / name, 0o700 if name == "tool" else 0)
    found = {}
    for name, call in CALLS.items():
        with trees.parts(top / "home") as seen:
            found[name] = confined(at(top), seen, kind == "fills", call)
    assert {name for name, answer in found.items() if answer == "done"} == CAN[kind]
    assert (top / "home/mine").stat().st_uid == UID


def confined(paths: Paths, seen: process.Parts, writes: bool, call: Callable[[], object]) -> str:
    """What becomes of ``call`` in such a process: "done", or the error."""

    def work() -> int:
        try:
            call()
            answer = "done"
        except OSError as error:
            answer = str(error.errno)
        os.write(1, answer.encode())
        return 0

    with process.ends_of() as ends:
        out, into = ends.pipe()
        made = ends.start(work, (into, into, into), process.place(paths), process.tenant(ends, trees.ROW, seen, writes))
        ends.close(into)
        answer = os.read(out, 100).decode()
        made.wait()
        return answer
