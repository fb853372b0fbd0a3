"""Root's file work in a tree that somebody else owns. Canaries lie outside it and must not change."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jailkit.errors import JailkitError
from jailkit.kernel.beneath import Tree, remove_tree, require_root_owned_chain

UID = 54321


@pytest.fixture
def base(tmp_path: Path) -> Path:
    # pytest's own directories are root's, but /tmp is not: only what lies below counts here
    (tmp_path / "home").mkdir()
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary" / "file").write_text("outside")
    return tmp_path


def state(path: Path) -> list[tuple[str, int, int, int, bytes]]:
    rows = []
    for p in sorted(path.rglob("*")):
        s = p.lstat()
        rows.append((str(p), s.st_mode, s.st_uid, s.st_mtime_ns, p.read_bytes() if p.is_file() else b""))
    return rows


def test_a086_a_link_in_the_way_is_replaced_not_followed(base: Path) -> None:
    before = state(base / "canary")
    (base / "home" / ".profile").symlink_to(base / "canary" / "file")
    with Tree(str(base / "home")) as tree:
        tree.write_file(".profile", b"ours", 0o644, UID, UID)
    assert state(base / "canary") == before
    written = base / "home" / ".profile"
    assert written.read_bytes() == b"ours" and not written.is_symlink() and written.stat().st_uid == UID


@pytest.mark.parametrize("target", ["../canary", "/proc/self/root", "link"])
def test_a005_no_way_out_through_directories(base: Path, target: str) -> None:
    before = state(base / "canary")
    (base / "home" / "link").symlink_to(base / "canary")
    (base / "home" / "d").symlink_to(target)
    with Tree(str(base / "home")) as tree:
        for path in ("d/file", "link/file", "../canary/file", "/etc/hostname"):
            with pytest.raises(OSError):
                tree.write_file(path, b"x", 0o644, UID, UID)
            with pytest.raises(OSError):
                tree.read_file(path)
    assert state(base / "canary") == before


def test_a088_a_hard_link_to_a_foreign_file_is_not_read_and_not_changed(base: Path) -> None:
    os.link(base / "canary" / "file", base / "home" / "mine")
    before = state(base / "canary")
    with Tree(str(base / "home")) as tree:
        with pytest.raises(JailkitError) as error:
            tree.read_file("mine")
        assert error.value.code == "unsafe.file"
        tree.write_file("mine", b"new", 0o600, UID, UID)
    assert state(base / "canary") == before


def test_a090_special_files_do_not_block(base: Path) -> None:
    os.mkfifo(base / "home" / "keys")
    with Tree(str(base / "home")) as tree:
        with pytest.raises(JailkitError):
            tree.read_file("keys")
        tree.write_file("keys", b"k", 0o600, UID, UID)
    assert (base / "home" / "keys").read_bytes() == b"k"


def test_remove_follows_no_link(base: Path) -> None:
    before = state(base / "canary")
    (base / "home" / "out").symlink_to(base / "canary")
    (base / "home" / "a" / "b").mkdir(parents=True)
    (base / "home" / "a" / "b" / "up").symlink_to("../../..")
    with Tree(str(base / "home")) as tree:
        assert tree.remove_content() == 4
    assert state(base / "canary") == before and os.listdir(base / "home") == []


def test_remove_a_tree_deeper_than_path_max(base: Path) -> None:
    fd = os.open(base / "home", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d" * 20, dir_fd=fd)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    with Tree(str(base / "home")) as tree:
        tree.remove_content()
    assert os.listdir(base / "home") == []


_MOUNTED = """
import os, subprocess, sys
from jailkit.kernel import namespaces, mount
from jailkit.kernel.beneath import Tree
from jailkit.errors import JailkitError
home, canary = sys.argv[1:]
namespaces.unshare(namespaces.NEWNS); mount.make_private()
os.makedirs(home + "/x/mnt"); mount.bind(canary, home + "/x/mnt")
try:
    with Tree(home) as tree: tree.remove_content()
except JailkitError as error:
    print(error.code)
"""


def test_a099_never_crosses_a_mount(base: Path) -> None:
    before = state(base / "canary")
    root = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-c", _MOUNTED, str(base / "home"), str(base / "canary")],
        env={"PYTHONPATH": root}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "busy.mounted"
    assert state(base / "canary") == before


def test_a102_swapping_a_directory_with_a_link_during_removal(base: Path) -> None:
    canary = base / "canary"
    for i in range(5):
        (canary / f"keep{i}").write_text("x")
    before = state(canary)
    home = base / "home"
    os.chown(home, UID, UID)
    for path in (base, *base.parents):  # the swapper is the tenant: it must reach its home and may not write outside
        if path.stat().st_uid == 0 and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o011)
    swap = subprocess.Popen(["/usr/bin/python3", "-c", _SWAP, str(home), str(canary)])
    try:
        rounds = disturbed = 0
        end = time.monotonic() + 30
        while (rounds < 200 or disturbed < 5) and time.monotonic() < end:
            rounds += 1
            with Tree(str(home)) as tree:
                try:
                    tree.remove_content()
                except (OSError, JailkitError):
                    disturbed += 1
            assert state(canary) == before
        assert disturbed >= 5, "the swapper never got in the way: the race was not tried"
    finally:
        swap.kill()
        swap.wait()
    assert state(canary) == before


_SWAP = """
import ctypes, os, sys
home, canary = sys.argv[1:]
libc = ctypes.CDLL(None)
os.chdir(home)
os.setgroups([]); os.setresgid(54321, 54321, 54321); os.setresuid(54321, 54321, 54321)
while True:
    try:
        os.makedirs("d/sub", exist_ok=True)
        for i in range(5): open(f"d/sub/keep{i}", "w").close()
        os.symlink(canary, "l")
    except OSError: pass
    for _ in range(20): libc.renameat2(-100, b"d", -100, b"l", 2); libc.renameat2(-100, b"d/sub", -100, b"l", 2)
"""


@pytest.mark.parametrize("what", ["owner", "group-writable", "others-writable", "link", "file", "missing"])
def test_a008_each_component_is_named(what: str) -> None:
    # a chain from / down: only below a directory of root's, which /tmp is not
    top = Path(f"/var/jailkit-test-{os.getpid()}")
    middle = top / "middle"
    (middle / "last").mkdir(parents=True)
    try:
        require_root_owned_chain(str(middle / "last"))
        if what == "owner":
            os.chown(middle, UID, 0)
        elif what == "group-writable":
            middle.chmod(0o775)
        elif what == "others-writable":
            middle.chmod(0o1777)
        elif what == "link":
            middle.rename(top / "real")
            middle.symlink_to("real")
        elif what == "file":
            subprocess.run(["/bin/rm", "-r", str(middle)], check=True)
            middle.write_text("")
        else:
            subprocess.run(["/bin/rm", "-r", str(middle)], check=True)
        with pytest.raises(JailkitError) as error:
            require_root_owned_chain(str(middle / "last"))
        assert error.value.code == "unsafe.path" and str(middle) in error.value.message
    finally:
        subprocess.run(["/bin/rm", "-r", str(top)], check=True)


def test_remove_tree_needs_a_safe_parent(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    tmp_path.chmod(0o777)
    with pytest.raises(JailkitError):
        remove_tree(str(tmp_path / "x"))


def test_a092_never_wider_than_asked(base: Path) -> None:
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for name in ("secret", "dir"):
                try:
                    seen.add(stat.S_IMODE((base / "home" / name).lstat().st_mode))
                except OSError:
                    pass

    old = os.umask(0)
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        with Tree(str(base / "home")) as tree:
            for _ in range(200):
                tree.write_file("secret", b"s" * 1000, 0o600, UID, UID)
                tree.mkdir("dir", 0o700, UID, UID)
                (base / "home" / "dir").rmdir()
    finally:
        os.umask(old)
        done.set()
        thread.join()
    assert seen <= {0o600, 0o700}
