"""Tars that mean harm (attacks A109, A111): each first does it, to a naive unpacker, and is then refused whole."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from jailkit.errors import JailkitError
from jailkit.image.foreign import tarball, unpack
from tests.unit.image.foreign import tars
from tests.unit.image.foreign.tars import directory, file, hard, link, node, raw_header, tar, unpacked

END = bytes(1024)
SECRET = b"the host's own\n"


@pytest.fixture(autouse=True)
def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("namespaces of root's need root")


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A tree beside the place where a naive unpacker works; unchanged at the end."""
    tree = tmp_path / "canary"
    (tree / "directory").mkdir(parents=True)
    (tree / "file").write_bytes(SECRET)
    yield tree
    assert sorted(path.name for path in tree.rglob("*")) == ["directory", "file"]
    assert (tree / "file").read_bytes() == SECRET and (tree / "file").stat().st_nlink == 1


def naive(archive: bytes, root: Path) -> None:
    """An unpacker that believes what it reads."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        for header in found:
            path, target = root / header.name, header.linkname
            path.parent.mkdir(parents=True, exist_ok=True)
            if header.isdir():
                path.mkdir(exist_ok=True)
            elif header.issym():
                if path.is_dir():
                    path.rmdir()
                path.symlink_to(target)
            elif header.islnk():
                os.link(root / target, path)
            else:
                data = found.extractfile(header)
                assert data is not None
                path.write_bytes(data.read())


ATTACKS: dict[str, Callable[[str], bytes]] = {
    "dot-dot": lambda canary: tar(directory("a"), file("../canary/file", b"harm")),
    "dot-dot-inside": lambda canary: tar(directory("a/b"), file("a/b/../../../canary/file", b"harm")),
    "link-then-file": lambda canary: tar(link("way", canary), file("way/file", b"harm")),
    "relative-link-then-file": lambda canary: tar(link("way", "../canary"), file("way/file", b"harm")),
    "link-then-directory": lambda canary: tar(link("way", canary), directory("way/new")),
    "link-then-link": lambda canary: tar(link("way", canary), link("way/new", "x")),
    "link-itself-then-file": lambda canary: tar(link("way", f"{canary}/file"), file("way", b"harm")),
    "directory-then-link": lambda canary: tar(directory("way"), link("way", canary), file("way/file", b"harm")),
    "hard-link-out": lambda canary: tar(hard("linked", "../canary/file")),
    "hard-link-to-a-link": lambda canary: tar(link("way", canary), hard("linked", "way/file")),
    "hard-link-then-file": lambda canary: tar(hard("f", "../canary/file"), file("f", b"harm")),
    "absolute-hard-link": lambda canary: tar(hard("linked", f"{canary}/file")),
}  # fmt: skip

@pytest.mark.parametrize("name", ATTACKS)
def test_a109_an_archive_that_climbs_out_is_refused_whole(name: str, tmp_path: Path, canary: Path) -> None:
    place = tmp_path / "naive/root"
    place.mkdir(parents=True)
    twin = Path(shutil.copytree(canary, tmp_path / "naive/canary"))
    naive(ATTACKS[name](str(twin)), place)
    unchanged = (twin / "file").read_bytes() == SECRET and (twin / "file").stat().st_nlink == 1
    assert not unchanged or len(list(twin.rglob("*"))) > 2
    with pytest.raises(JailkitError) as caught:
        unpacked(ATTACKS[name](str(canary)), tmp_path)
    assert caught.value.code == "unsafe.archive" and caught.value.message.startswith("archive.tar: ")


def test_a109_an_absolute_name_is_taken_below_the_root(tmp_path: Path, canary: Path) -> None:
    rows, kept, _ = unpacked(tar(file(f"{canary}/file", b"harm")), tmp_path)
    assert rows[-1].path == f"{canary}/file" and kept.data[rows[-1].sha256] == b"harm"


def test_a109_devices_and_set_id_bits_never_come_out(tmp_path: Path) -> None:
    rows, _, log = unpacked(
        tar(node("dev/sda", tarfile.BLKTYPE), node("mem", tarfile.CHRTYPE), file("su", b"x", 0o7777)), tmp_path
    )
    assert {row.path: row.mode for row in rows} == {"/dev": 0o755, "/su": 0o755} and len(log) == 4


REFUSED: dict[str, tuple[bytes, str]] = {
    "link-up": (tar(link("a/b", "../../../etc/passwd")), "climbs out"),
    "link-up-absolute": (tar(link("a", "/../../etc/passwd")), "climbs out"),
    "link-to-nothing": (tar(link("a", "")), "points to nothing"),
    "link-of-control": (tar(link("a", "x\x1b[2J")), "cannot be printed"),
    "file-over-directory": (tar(file("a/b"), file("a")), "twice, as a directory and as a file"),
    "link-over-directory": (tar(file("a/b"), link("a", "/etc")), "twice, as a directory and as a link"),
    "link-over-file": (tar(file("a"), link("a", "/etc")), "twice"),
    "link-over-link": (tar(link("a", "x"), link("a", "y")), "twice"),
    "device-over-file": (tar(file("a"), node("a", tarfile.CHRTYPE)), "twice"),
    "below-a-device": (tar(node("a", tarfile.CHRTYPE), file("a/b")), "which is something that was dropped"),
    "below-a-file": (tar(file("a"), file("a/b")), "which is a file"),
    "root-is-a-link": (tar(link(".", "/etc")), "replace the root"),
    "root-is-a-file": (tar(file("./")), "replace the root"),
    "hard-link-to-later": (tar(hard("a", "b"), file("b")), "does not hold before it"),
    "hard-link-to-directory": (tar(directory("d"), hard("a", "d")), "which is a directory"),
    "hard-link-moves-a-link": (tar(link("a/b/c", "../../x"), hard("d", "a/b/c")), "climbs out"),
    "not-utf-8": (tar(file("na\udcefve"), format_=tarfile.GNU_FORMAT), "is not UTF-8"),
    "not-utf-8-link": (tar(link("a", "na\udcefve"), format_=tarfile.GNU_FORMAT), "is not UTF-8"),
    "newline": (tar(file("a\nb")), "cannot be printed"),
    "escape": (tar(file("\x1b]0;x\x07")), "cannot be printed"),
    "backwards-text": (tar(file("a\u202egnp.exe")), "cannot be printed"),
    "name-of-300": (tar(file("x" * 300)), "too long or too deep"),
    "path-of-4000": (tar(file("/".join(["x" * 100] * 40))), "more than 3072"),
    "deep": (tar(file("/".join(["x"] * 200))), "too long or too deep"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a109_what_an_image_cannot_mean_is_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    archive, sentence = REFUSED[name]
    with pytest.raises(JailkitError) as caught:
        unpacked(archive, tmp_path)
    assert caught.value.code == "unsafe.archive" and sentence in caught.value.message
    assert caught.value.message.isprintable() and caught.value.message.isascii()


GOOD = tar(file("a", b"1" * 600), file("b", b"2" * 600))
PAX_BOMB = raw_header(b"x", b"%011o" % (7 << 30), b"x")


def _sparse(real: int, *areas: tuple[int, int]) -> bytes:
    """An old GNU sparse header: offset, size pairs of 12 bytes, "is extended", the real size (tar(5), old GNU)."""
    table = b"".join(b"%011o\0%011o\0" % area for area in areas).ljust(96, b"\0")
    tail = b"\0" * 41 + table + b"\0" + (b"%011o\0" % real if real < 8 << 30 else b"\x80" + real.to_bytes(11, "big"))
    return raw_header(b"s", b"%011o" % sum(size for _, size in areas), b"S", tail=tail)


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty-file": (b"", "cut off"),
    "text": (b"#!/bin/sh\n" * 200, "not a tar file"),
    "cut-in-data": (GOOD[:900], "cut off"),
    "cut-in-header": (GOOD[:1800], "cut off"),
    "no-end-mark": (GOOD.rstrip(b"\0")[:2560].ljust(2560 + 512, b"\0")[:2560 + 512 - 512], "cut off"),
    "cut-gzip": (gzip.compress(GOOD)[:-12], "cut off"),
    "gzip-of-wrong-sum": (gzip.compress(GOOD)[:-8] + b"\0\0\0\0" + gzip.compress(GOOD)[-4:], "damaged"),
    "broken-gzip": (gzip.compress(GOOD)[:30] + b"\xff" * 40, "damaged"),
    "broken-xz": (lzma.compress(GOOD)[:40] + b"\xff" * 40, "damaged"),
    "zstd-without-end": (zstandard.compress(GOOD)[:-20], "cut off"),
    "broken-zstd": (zstandard.compress(GOOD)[:12] + b"\xff" * 40, "cut off"),
    "garbage-after-zstd": (zstandard.compress(GOOD) + b"garbage", "damaged"),
    "hidden-frame-after-zstd": (zstandard.compress(GOOD) + zstandard.compress(GOOD), "after its end"),
    "garbage-after": (GOOD + b"garbage".ljust(512, b"!"), "after its end"),
    "archive-after": (GOOD + GOOD, "after its end"),
    "garbage-after-gzip": (gzip.compress(GOOD) + b"garbage", "after its end"),
    "hidden-stream-after-gzip": (gzip.compress(GOOD) + gzip.compress(GOOD), "after its end"),
    "header-of-wrong-sum": (GOOD[:1536] + b"x" + GOOD[1537:], "damaged"),
    "negative-size": (raw_header(b"a", b"\xff" * 12) + END, "damaged"),
    "negative-pax-size": (tar(file("a", b"1", pax={"size": "-1024"})) + END, "damaged"),
    "multi-volume": (raw_header(b"a", b"%011o" % 0, b"M") + END, "neither file"),
    "unknown-kind": (raw_header(b"a", b"%011o" % 0, b"Z") + END, "neither file"),
    "pax-header-last": (raw_header(b"x", b"%011o" % 11, b"x") + b"11 path=ab\n".ljust(512, b"\0") + END, "damaged"),
    "pax-headers-nested": ((raw_header(b"x", b"%011o" % 11, b"x") + b"11 path=ab\n".ljust(512, b"\0")) * 3000 + GOOD,
                           "damaged"),
    "sparse-overlapping": (_sparse(4096, (0, 512), (0, 512)) + bytes(1024) + END, "damaged"),
    "sparse-beyond": (_sparse(512, (512, 512)) + bytes(512) + END, "damaged"),
    "sparse-endless-map": (tar(file("s", b"9999999\n" + b"1" * 504, pax={"GNU.sparse.major": "1",
                           "GNU.sparse.minor": "0", "GNU.sparse.realsize": "512", "GNU.sparse.name": "s"})),
                           "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_a_whole_tar_is_refused(name: str, tmp_path: Path) -> None:
    archive, sentence = BROKEN[name]
    with pytest.raises(JailkitError) as caught:
        unpacked(archive, tmp_path)
    assert caught.value.code == "invalid.archive" and sentence in caught.value.message, caught.value.message


# -- bombs


def _zeros(size: int) -> Iterator[bytes]:
    yield raw_header(b"zeros", b"%011o" % size)
    for _ in range(size >> 20):
        yield bytes(1 << 20)
    yield END


def _gzip_bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(part) for part in _zeros(200 << 20)) + packer.flush()


def _xz_bomb() -> bytes:
    packer = lzma.LZMACompressor(preset=0)
    return b"".join(packer.compress(part) for part in _zeros(200 << 20)) + packer.flush()


def _zstd_bomb() -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    return b"".join(packer.compress(part) for part in _zeros(200 << 20)) + packer.flush()


def _xz_of_memory() -> bytes:
    """A small xz whose header asks for a dictionary of 1.5 GiB (the .xz file format, 3.1 and 5.3.1)."""
    data = bytearray(lzma.compress(GOOD))
    length = (data[12] + 1) * 4
    assert data[14] == 0x21, "LZMA2"
    data[16] = 37
    data[12 + length - 4 : 12 + length] = struct.pack("<I", zlib.crc32(data[12 : 12 + length - 4]))
    return bytes(data)


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "gzip": (_gzip_bomb, "more than 250 times larger"),
    "xz": (_xz_bomb, "more than 250 times larger"),
    "zstd": (_zstd_bomb, "more than 250 times larger"),
    "xz-memory": (_xz_of_memory, "more memory"),
    "bytes": (lambda: raw_header(b"a", b"%011o" % (2 << 30)) + END, "more than 1,073,741,824 bytes"),
    "bytes-of-many": (lambda: b"".join(_sparse(400 << 20) for _ in range(3)) + END, "more than 1,073,741,824 bytes"),
    "sparse": (lambda: _sparse(1 << 60) + END, "more than 1,073,741,824 bytes"),
    "sparse-pax": (lambda: tar(file("s", b"1", pax={"GNU.sparse.map": "0,1", "GNU.sparse.size": f"{1 << 60}"})),
                   "more than 1,073,741,824 bytes"),
    "size-of-8-exbibytes": (lambda: raw_header(b"a", b"\x80\0\0\0" + b"\x7f" * 8) + END, "more than"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a109_a_bomb_is_refused_before_it_has_filled_anything(name: str, tmp_path: Path) -> None:
    make, sentence = BOMBS[name]
    archive = make()
    assert len(archive) < 1 << 20
    with pytest.raises(JailkitError) as caught:
        unpacked(archive, tmp_path)
    assert caught.value.code == "unsafe.archive" and sentence in caught.value.message


def test_a109_a_header_that_wants_gigabytes_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MEMORY", 100 << 20)
    path = tmp_path / "pax.tar"
    path.write_bytes(PAX_BOMB)
    os.truncate(path, 9 << 30)
    with pytest.raises(JailkitError, match="more memory than a tar file should"):
        tars.unpacked_file(path, tmp_path, tarball.Limits())


# -- an unpacking process that was taken over


def _says(*parts: bytes) -> Callable[[tarball.Limits], int]:
    def main(limits: tarball.Limits) -> int:
        for part in parts:
            os.write(1, part)
        return 0

    return main


def _frame(**changed: object) -> bytes:
    fields: dict[str, object] = {"kind": "file", "name": "a", "mode": 420, "size": 0, "target": "", "attributes": []}
    line = json.dumps(fields | changed).encode()
    return struct.pack(">I", len(line)) + line


LAST = struct.pack(">I", 0)
LIES: dict[str, tuple[tuple[bytes, ...], str]] = {
    "silence": ((), "ended too early"),
    "half-a-length": ((b"\0\0",), "ended too early"),
    "half-a-header": ((_frame()[:20],), "ended too early"),
    "half-a-file": ((_frame(size=100), b"x" * 50), "ended too early"),
    "no-end": ((_frame(),), "ended too early"),
    "endless-header": ((struct.pack(">I", 1 << 31), b"x" * 100), "says more than it may"),
    "after-the-end": ((_frame(), LAST, b"x"), "says more than it may"),
    "not-json": ((struct.pack(">I", 4) + b"\xff{}[",), "has no meaning"),
    "deep-json": ((struct.pack(">I", 30_000) + b"[" * 30_000,), "has no meaning"),
    "a-list": ((struct.pack(">I", 2) + b"[]",), "has no meaning"),
    "unknown-kind": ((_frame(kind="gone"), LAST), "has no meaning"),
    "kind-is-a-list": ((_frame(kind=["file"]), LAST), "has no meaning"),
    "mode-is-true": ((_frame(mode=True), LAST), "has no meaning"),
    "mode-too-large": ((_frame(mode=0o100644), LAST), "has no meaning"),
    "size-negative": ((_frame(size=-1), LAST), "has no meaning"),
    "size-of-a-link": ((_frame(kind="link", target="x", size=1), b"x", LAST), "has no meaning"),
    "size-is-a-float": ((_frame(size=1.5), b"x", LAST), "has no meaning"),
    "size-huge": ((_frame(size=1 << 62), b"x"), "larger than it may be"),
    "attributes-of-numbers": ((_frame(attributes=[1]), LAST), "has no meaning"),
    "climbing": ((_frame(name="../x"), LAST), "climbs out"),
    "a-surrogate": ((_frame(name="\udcff"), LAST), "is not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a109_root_believes_nothing_that_the_process_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, sentence = LIES[name]
    monkeypatch.setattr(tarball, "main", _says(*parts))
    with pytest.raises(JailkitError) as caught:
        unpacked(b"", tmp_path)
    assert sentence in caught.value.message, caught.value.message


def test_the_lies_are_told_in_the_right_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarball, "main", _says(_frame(size=3), b"abc", LAST))
    assert [row.size for row in unpacked(b"", tmp_path)[0]] == [3]
