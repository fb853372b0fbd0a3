"""An overlay's upper directory as rows: marks of the kernel's, content that means harm, and nothing that blocks."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from jailkit.errors import JailkitError
from jailkit.image import contents, layer, upper
from tests.unit.rooted import rooted

ROOT_ID = 700_000_000


@pytest.fixture
def top() -> Iterator[Path]:
    with rooted() as paths:
        made = Path(paths.root) / "upper"
        made.mkdir()
        os.chown(made, ROOT_ID, ROOT_ID)
        yield made


def put(path: Path, text: str = "x", mode: int = 0o644, owner: int = ROOT_ID) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.chown(path, owner, owner)
    path.chmod(mode)
    return path


def read(top: Path) -> upper.Found:
    for path in top.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            os.chown(path, ROOT_ID, ROOT_ID)
    return upper.read(str(top), contents.Counted(), ROOT_ID)


def test_files_links_directories(top: Path) -> None:
    put(top / "a/f", "text", 0o664)
    put(top / "a/program", "#!", 0o711)
    put(top / "a/secret", "s", 0o640)
    (top / "a/link").symlink_to("../nowhere")
    os.link(top / "a/f", top / "a/hard")
    put(top / "b/x", owner=4711)
    (top / "a").chmod(0o700)
    found = read(top)
    rows = {row.path: row for row in found.rows}
    assert list(rows) == sorted(rows)
    assert {path: oct(row.mode) for path, row in rows.items()} == {
        "/a": "0o700", "/a/f": "0o644", "/a/hard": "0o644", "/a/link": "0o0", "/a/program": "0o700",
        "/a/secret": "0o600", "/b": "0o755", "/b/x": "0o644",
    }  # fmt: skip
    assert rows["/a/f"].sha256 == rows["/a/hard"].sha256 == hashlib.sha256(b"text").hexdigest()
    assert rows["/a/link"].target == "../nowhere"
    assert (found.dropped, found.theirs) == ([], ["/b/x"])
    assert found.warnings() == ["1 of other owners are root's in an image: /b/x"]


def test_whiteouts_and_opaque_directories(top: Path) -> None:
    os.mknod(top / "gone", stat.S_IFCHR, 0)
    put(top / "opaque/new")
    os.setxattr(top / "opaque", "trusted.overlay.opaque", b"y")
    put(top / "holds/xattr", "")
    os.setxattr(top / "holds", "trusted.overlay.opaque", b"x")
    os.setxattr(top / "holds/xattr", "trusted.overlay.whiteout", b"y")
    os.setxattr(top / "holds", "trusted.overlay.origin", b"o")
    below = [layer.directory("/opaque"), layer.link("/opaque/old", "x"), layer.directory("/gone"),
             layer.link("/gone/below", "x"), layer.directory("/holds"), layer.link("/holds/xattr", "x"),
             layer.link("/holds/stays", "x")]  # fmt: skip
    found = read(top)
    assert found.dropped == []
    merged = [row.path for row in layer.merge([below, found.rows])]
    assert merged == ["/holds", "/holds/stays", "/opaque", "/opaque/new"]


def test_marks_that_a_user_could_set_mean_nothing(top: Path) -> None:
    put(top / "f", "")
    (top / "d").mkdir()
    for name in ("whiteout", "opaque", "redirect", "metacopy"):
        for path in ("f", "d"):
            os.setxattr(top / path, f"user.overlay.{name}", b"y")
    found = read(top)
    assert [(row.path, row.kind, row.opaque) for row in found.rows] == [
        ("/d", "directory", False), ("/f", "file", False),
    ]  # fmt: skip
    assert len(found.dropped) == 8


@pytest.mark.parametrize("mark", ["redirect", "metacopy"])
def test_what_lies_elsewhere_is_refused(top: Path, mark: str) -> None:
    path = put(top / "d/f")
    os.setxattr(path if mark == "metacopy" else top / "d", f"trusted.overlay.{mark}", b"/etc")
    with pytest.raises(JailkitError) as caught:
        read(top)
    assert caught.value.code == "invalid.upper"


def test_a031_a033_what_no_image_has(top: Path) -> None:
    put(top / "suid", mode=0o6755)
    (top / "sgid").mkdir(mode=0o755)
    (top / "sgid").chmod(0o2775)
    os.setxattr(put(top / "caps", mode=0o755), "security.capability", b"\1\0\0\2" + b"\xff" * 16)
    os.setxattr(put(top / "user"), "user.x", b"1")
    os.mkfifo(top / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(top / "socket"))
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(top / "disk", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    found = read(top)
    assert {row.path: row.mode for row in found.rows} == {
        "/suid": 0o755, "/sgid": 0o755, "/caps": 0o755, "/user": 0o644,
    }  # fmt: skip
    assert dict(found.dropped) == {
        "/suid": "its set-id bits", "/sgid": "its set-id bits", "/caps": "its attribute security.capability",
        "/user": "its attribute user.x", "/fifo": "is a FIFO", "/socket": "is a socket", "/null": "is a device",
        "/disk": "is a block device",
    }  # fmt: skip


def test_what_lies_in_memory_or_is_the_kernels_is_never_in_it(top: Path) -> None:
    for name in ("tmp", "run", "proc", "dev", "sys", "var/tmp"):
        put(top / name / "x")
        put(top / name / "d/y")
    put(top / "var/log/x")
    assert {row.path for row in read(top).rows} == {
        "/tmp", "/run", "/proc", "/dev", "/sys", "/var", "/var/tmp", "/var/log", "/var/log/x",
    }  # fmt: skip


def test_names_sizes_and_depths_that_mean_harm(top: Path) -> None:
    (top / os.fsdecode(b"\xff\xfe")).write_text("x")
    (top / "link").symlink_to(os.fsdecode(b"\xff"))
    put(top / "new\nline")
    with open(top / "holes", "wb") as file:
        file.truncate(1 << 42)
    deep = os.open(top, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    found = upper.read(str(top), contents.Counted(), ROOT_ID)
    kept = [row.path for row in found.rows if not row.path.startswith("/d")]
    assert kept == ["/new\nline"]
    assert [what for path, what in found.dropped if path.startswith("/d")] == [
        "what lies below it: deeper than 256 directories"
    ]
    said = " ".join(what for _, what in found.dropped)
    assert "not UTF-8" in said and "sparse" in said and len(found.dropped) == 4
    for path, _ in found.dropped:
        path.encode()


def test_a113_a_link_to_a_directory_is_not_entered(top: Path) -> None:
    (top / "etc").symlink_to("/etc")
    (top / "up").symlink_to("..")
    assert [(row.path, row.kind) for row in read(top).rows] == [("/etc", "link"), ("/up", "link")]


class Read(contents.Counted):
    """Counts what is read; before, after: called around the reading of each file."""

    def __init__(self, before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None) -> None:
        self.bytes, self._before, self._after = 0, before, after

    def add(self, source: BinaryIO, executable: bool, private: bool) -> tuple[str, int]:
        self._before()
        sha256, size = super().add(source, executable, private)
        self.bytes += size
        self._after()
        return sha256, size


def test_a180_many_names_of_one_file_are_read_once(top: Path) -> None:
    """65,000 names of a gigabyte are nothing for her quota, and 65 terabytes for who reads them."""
    put(top / "one", "x" * 100_000)
    for number in range(300):
        os.link(top / "one", top / f"name{number}")
    taken = Read()
    found = upper.read(str(top), taken, ROOT_ID)
    assert len({row.sha256 for row in found.rows}) == 1 and len(found.rows) == 301
    assert taken.bytes == 100_000


def test_a180_a_name_of_a_file_that_changed_is_read_again(top: Path) -> None:
    put(top / "a", "x" * 1000)
    os.link(top / "a", top / "b")
    os.utime(top / "a")
    time.sleep(0.02)  # a clock that files see may tick as seldom as that

    found = upper.read(str(top), Read(after=lambda: (put(top / "a", "y" * 1000), None)[1]), ROOT_ID)
    assert [row.sha256 for row in found.rows] == [hashlib.sha256(text * 1000).hexdigest() for text in (b"x", b"y")]


def test_a180_holes_of_many_files_do_not_fill_the_disk(top: Path) -> None:
    """Each below the size from which one is left out: a layer of some kilobytes would become terabytes of contents."""
    for number in range(8):
        with open(top / f"holes{number}", "wb") as file:
            file.write(b"%d" % number)
            file.truncate(900 << 20)
    put(top / "plain")
    found = upper.read(str(top), taken := Read(), ROOT_ID)
    assert taken.bytes <= 1 << 30
    assert [row.path for row in found.rows][-1] == "/plain"
    assert [what for _, what in found.dropped] == ["is a sparse file of 943718400 bytes"] * 7


def test_a113_a_file_that_grows_while_it_is_read_ends(top: Path) -> None:
    """What the file was when it was opened: else she makes it longer, without an end, at no cost."""
    path = put(top / "grows", "x" * 10)
    found = upper.read(str(top), Read(lambda: os.truncate(path, 1 << 40)), ROOT_ID)
    assert [(row.path, row.size) for row in found.rows] == [("/grows", 10)]


def test_a179_memory_does_not_grow_with_compiled_python(top: Path) -> None:
    """Its header is made anew; that is no reason to hold all of it."""
    with open(top / "x.pyc", "wb") as file:
        file.write(b"\xa7\r\r\n" + bytes(12) + b"code")
        file.flush()
        os.posix_fallocate(file.fileno(), 0, 300 << 20)
    tracemalloc.start()
    try:
        found = upper.read(str(top), contents.Counted(), ROOT_ID)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [row.size for row in found.rows] == [300 << 20]
    assert most < 32 << 20, most


def test_a136_a_name_stays_on_its_line(top: Path) -> None:
    """jailctl lets a message have several lines."""
    path = put(top / "d/a\njailctl: all is well\x1b[2J", "x")
    os.setxattr(path, "trusted.overlay.metacopy", b"")
    with pytest.raises(JailkitError) as caught:
        read(top)
    assert caught.value.code == "invalid.upper" and caught.value.message.isprintable()


def test_a179_attributes_without_end(top: Path) -> None:
    """Of one block on the disk, which thousands of files share."""
    path = put(top / "f")
    for number in range(40):
        os.setxattr(path, f"user.{number:02}", b"")
    assert [what for _, what in read(top).dropped] == [
        "32 more attributes", *(f"its attribute user.{number:02}" for number in range(8)),
    ]  # fmt: skip


def test_a179_more_names_than_an_image_may_have(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upper, "MOST", 100)
    for number in range(60):
        put(top / f"{number}")
        os.mkfifo(top / f"fifo{number}")
    with pytest.raises(JailkitError) as caught:
        read(top)
    assert caught.value.code == "invalid.upper" and "more than 100 names" in caught.value.message
