"""What ELF files ask for, and what the loader would find: compared with the loader itself, in a chroot of the image."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import BinaryIO

import pytest

from jailkit.image.source.copied import elf, ldcache
from jailkit.image.source.copied.hosttree import HostTree
from jailkit.image.source.copied.loader import Loader, ld_so_conf
from tests.unit.image.source.copied.fakehost import LIB, FakeHost

MACHINE = (64, True, "EM_X86_64")


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path / "host")


def read(path: Path) -> elf.Object | None:
    with path.open("rb") as file:
        return elf.read(file)


def status(host: FakeHost, tmp_path: Path, program: str, **spec: list[str]) -> int:
    return host.image(tmp_path / "image", programs=[program], **spec).run(program).returncode


def test_what_a_program_asks_for(host: FakeHost) -> None:
    host.library("/opt/lib/libone.so.1")
    needs = ["/opt/lib/libone.so.1"]
    path = host.program("/opt/bin/it", needs=needs, calls="one", flags="-Wl,-rpath,$ORIGIN/../lib:/b")
    found = read(path)
    assert found == elf.Object(
        MACHINE, "/lib64/ld-linux-x86-64.so.2", ("libone.so.1", "libc.so.6"), "", "$ORIGIN/../lib:/b", "", False
    )
    old = host.program("/opt/bin/old", needs=["/opt/lib/libone.so.1"], calls="one",
                       flags="-Wl,--disable-new-dtags,-rpath,/a -Wl,-z,nodefaultlib")  # fmt: skip
    found = read(old)
    assert found is not None and (found.rpath, found.runpath, found.nodeflib) == ("/a", "", True)
    library = read(host.path("/opt/lib/libone.so.1"))
    assert library == elf.Object(MACHINE, soname="libone.so.1")
    static = read(host.program("/opt/bin/static", flags="-static -nostdlib -Wl,-e,main"))
    assert static == elf.Object(MACHINE)


def test_a_file_without_section_headers_is_read_as_the_loader_reads_it(host: FakeHost, tmp_path: Path) -> None:
    library = host.library(f"{LIB}/libone.so.1", 7)
    path = host.program("/usr/bin/it", needs=[f"{LIB}/libone.so.1"], calls="one")
    whole = read(path)
    for place in (path, library):
        data = bytearray(place.read_bytes())
        data[0x28:0x30] = bytes(8)  # e_shoff
        data[0x3A:0x40] = bytes(6)  # e_shentsize, e_shnum, e_shstrndx
        place.write_bytes(data)
    assert read(path) == whole
    assert status(host, tmp_path, "/usr/bin/it") == 7


@pytest.mark.parametrize("data", [b"", b"\x7fEL", b"#!/bin/sh\n", b"\0" * 64])
def test_what_is_no_elf_file(data: bytes) -> None:
    assert elf.read(io.BytesIO(data)) is None


def test_a_damaged_file_is_said_to_be_one_whatever_is_damaged() -> None:
    """Every prefix, and every byte of the headers changed: an answer or Damaged, never another exception."""
    data = Path(f"{LIB}/libnss_files.so.2").read_bytes()
    whole = elf.read(io.BytesIO(data))
    assert whole is not None and "libc.so.6" in whole.needed
    damaged = 0
    for end in range(4, 2048, 13):
        damaged += _damaged(data[:end])
    for place in (*range(4, 64), *range(64, 1024, 3)):
        damaged += _damaged(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
    assert damaged > 100


def _damaged(data: bytes) -> bool:
    try:
        elf.read(io.BytesIO(data))
    except elf.Damaged:
        return True
    return False


# -- the search, each case run in the image as well


def test_default_directories_and_what_libraries_need_in_turn(host: FakeHost, tmp_path: Path) -> None:
    host.library(f"{LIB}/libtwo.so.1", 5)
    host.library("/usr/lib/libone.so.1", 1, calls="two", needs=[f"{LIB}/libtwo.so.1"])
    host.program("/usr/bin/it", needs=["/usr/lib/libone.so.1"], calls="one")
    assert status(host, tmp_path, "/usr/bin/it") == 6


def test_runpath_is_for_the_asking_object_alone_and_rpath_for_all_below(host: FakeHost, tmp_path: Path) -> None:
    host.library("/opt/lib/libtwo.so.1", 5)
    host.library("/opt/lib/libone.so.1", 1, calls="two", needs=["/opt/lib/libtwo.so.1"])
    host.program("/usr/bin/runpath", needs=["/opt/lib/libone.so.1"], calls="one", flags="-Wl,-rpath,/opt/lib")
    host.program("/usr/bin/rpath", needs=["/opt/lib/libone.so.1"], calls="one",
                 flags="-Wl,--disable-new-dtags,-rpath,/opt/lib")  # fmt: skip
    (where, what), = host.problems(programs=["runpath"])
    assert where == "copy.programs" and "/opt/lib/libone.so.1 needs libtwo.so.1" in what
    assert host.problems(programs=["runpath"], optional=["libtwo.so.*"]) == []
    assert status(host, tmp_path, "/usr/bin/rpath") == 6


@pytest.mark.parametrize("token", ["$ORIGIN/../$LIB/sub", "${ORIGIN}/../${LIB}/sub", "$ORIGIN/../lib64/$PLATFORM"])
def test_tokens(host: FakeHost, tmp_path: Path, token: str) -> None:
    place = "lib/x86_64-linux-gnu/sub" if "LIB" in token else "lib64/x86_64"
    host.library(f"/opt/it/{place}/libone.so.1", 9)
    if "LIB" not in token:
        host.library("/opt/it/lib64/haswell/libone.so.1", 9)
    host.program("/opt/it/bin/it", needs=[f"/opt/it/{place}/libone.so.1"], calls="one", flags=f"-Wl,-rpath,{token}")
    host.link("/usr/bin/it", "/opt/it/bin/it")  # $ORIGIN is where the program really is
    assert status(host, tmp_path, "/usr/bin/it") == 9


def test_origin_of_a_library_is_where_it_was_opened_not_where_its_link_leads(host: FakeHost, tmp_path: Path) -> None:
    host.library("/opt/real/libone.so.1.2", 1, calls="two", flags="-Wl,-rpath,$ORIGIN/sub -Wl,-soname,libone.so.1")
    host.library("/opt/seen/sub/libtwo.so.1", 3)
    host.library("/opt/real/sub/libtwo.so.1", 30)
    host.library("/opt/real/libone.so.1.2", 1, calls="two", needs=["/opt/seen/sub/libtwo.so.1"],
                 flags="-Wl,-rpath,$ORIGIN/sub -Wl,-soname,libone.so.1")  # fmt: skip
    host.link("/opt/seen/libone.so.1", "../real/libone.so.1.2")
    host.program("/usr/bin/it", needs=["/opt/seen/libone.so.1"], calls="one", flags="-Wl,-rpath,/opt/seen")
    assert status(host, tmp_path, "/usr/bin/it") == 4
    assert "/opt/real/sub/libtwo.so.1" not in host.collect(programs=["it"]).files


def test_the_way_through_a_directory_that_is_left_again_is_there(host: FakeHost, tmp_path: Path) -> None:
    host.library("/opt/lib/libone.so.1", 2)
    host.path("/opt/empty/x").parent.chmod(0o755)
    host.program("/usr/bin/it", needs=["/opt/lib/libone.so.1"], calls="one", flags="-Wl,-rpath,/opt/empty/../lib")
    assert status(host, tmp_path, "/usr/bin/it") == 2


def test_a_library_for_another_machine_is_passed_over(host: FakeHost, tmp_path: Path) -> None:
    host.library("/opt/lib/libone.so.1", 3)
    host.library("/opt/other/libone.so.1", 4)
    data = bytearray(host.path("/opt/other/libone.so.1").read_bytes())
    data[18] = 183  # e_machine: EM_AARCH64
    host.path("/opt/other/libone.so.1").write_bytes(data)
    flags = "-Wl,-rpath,/opt/other:/opt/lib"
    host.program("/usr/bin/it", needs=["/opt/lib/libone.so.1"], calls="one", flags=flags)
    assert status(host, tmp_path, "/usr/bin/it") == 3


def test_libraries_for_certain_processors_come_all(host: FakeHost, tmp_path: Path) -> None:
    names = [f"{LIB}/{place}libone.so.1" for place in ("", "glibc-hwcaps/x86-64-v2/", "glibc-hwcaps/x86-64-v4/")]
    for name in names:
        host.library(name, 3)
    host.library(f"{LIB}/libonly.so.1", 1)
    host.library(names[2], 3, needs=[f"{LIB}/libonly.so.1"], flags="-Wl,--no-as-needed")
    host.program("/usr/bin/it", needs=names[:1], calls="one")
    assert {*names, f"{LIB}/libonly.so.1"} <= set(host.collect(programs=["it"]).files)
    assert status(host, tmp_path, "/usr/bin/it") == 3


def test_a_library_is_loaded_once_by_its_first_finder(host: FakeHost, tmp_path: Path) -> None:
    """libthree asks for libtwo, too, and has no path to it: the loader has it already."""
    host.library("/opt/lib/libtwo.so.1", 5)
    host.library(f"{LIB}/libthree.so.1", 1, calls="two", needs=["/opt/lib/libtwo.so.1"])
    host.program("/usr/bin/it", needs=["/opt/lib/libtwo.so.1", f"{LIB}/libthree.so.1"], calls="three",
                 flags="-Wl,--no-as-needed,-rpath,/opt/lib")  # fmt: skip
    assert status(host, tmp_path, "/usr/bin/it") == 6


def test_libraries_that_need_each_other(host: FakeHost, tmp_path: Path) -> None:
    host.library(f"{LIB}/libtwo.so.1", 2)
    host.library(f"{LIB}/libone.so.1", 1, calls="two", needs=[f"{LIB}/libtwo.so.1"])
    host.library(f"{LIB}/libtwo.so.1", 2, needs=[f"{LIB}/libone.so.1"], flags="-Wl,--no-as-needed")
    host.program("/usr/bin/it", needs=[f"{LIB}/libone.so.1"], calls="one")
    assert status(host, tmp_path, "/usr/bin/it") == 3


def test_paths_that_depend_on_the_working_directory_lead_nowhere(host: FakeHost) -> None:
    host.library("/opt/lib/libone.so.1", 3)
    host.program("/usr/bin/it", needs=["/opt/lib/libone.so.1"], calls="one", flags="-Wl,-rpath,opt/lib:.:")
    (_, what), = host.problems(programs=["it"])
    assert "needs libone.so.1" in what


def test_a_missing_interpreter_is_a_problem(host: FakeHost) -> None:
    host.program("/usr/bin/it", flags="-Wl,--dynamic-linker,/lib/ld-other.so.1")
    (_, what), = host.problems(programs=["it"])
    assert what == "/usr/bin/it needs /lib/ld-other.so.1, which the loader would not find"


# -- ld.so.conf and the cache


def test_ld_so_conf_with_includes_comments_and_circles(host: FakeHost) -> None:
    host.file("/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf # x\n/last\nhwcap 0 nosegneg\n")
    host.file("/etc/ld.so.conf.d/b.conf", "/b/lib/\ninclude sub/c.conf\n")
    host.file("/etc/ld.so.conf.d/a.conf", "# /no\n  /a\n/b/lib\ninclude /etc/ld.so.conf\n")
    host.file("/etc/ld.so.conf.d/sub/c.conf", "/c=libc6\n")
    with HostTree(str(host.root)) as tree:
        directories, files = ld_so_conf(tree)
    assert directories == ["/a", "/b/lib", "/c", "/last"]
    assert set(files) == {"/etc/ld.so.conf", *(f"/etc/ld.so.conf.d/{name}.conf" for name in ("a", "b", "sub/c"))}


def test_a_library_that_only_ldconfig_knows_is_found_in_the_image(host: FakeHost, tmp_path: Path) -> None:
    host.file("/etc/ld.so.conf", "/usr/local/lib\n/opt/late\n")
    for number in (1, 2, 9, 10, 11):
        host.library(f"/usr/local/lib/libmany{number}.so.{number}", number)
    host.library("/usr/local/lib/sub/libtwo.so.1", 5)
    host.library("/usr/local/lib/libone.so.1.2", 1, calls="two", needs=["/usr/local/lib/sub/libtwo.so.1"],
                 flags="-Wl,-rpath,$ORIGIN/sub -Wl,-soname,libone.so.1")  # fmt: skip
    host.link("/usr/local/lib/libone.so.1", "libone.so.1.2")
    host.library("/opt/late/libone.so.1", 90)  # shadowed by the first directory
    host.library(f"{LIB}/libone.so.1", 80)  # the default ones come after all others
    host.program("/usr/bin/it", needs=["/usr/local/lib/libone.so.1"], calls="one")
    spec = {"globs": ["/usr/local/lib/libmany*"], "packages": ["late"]}
    host.package("late", ["/opt/late/libone.so.1", f"{LIB}/libone.so.1"])
    assert status(host, tmp_path, "/usr/bin/it", **spec) == 6
    shown = subprocess.run(["/usr/sbin/ldconfig", "-p", "-C", str(tmp_path / "image/root/etc/ld.so.cache")],
                           capture_output=True, text=True, check=True)  # fmt: skip
    entries = [line.strip() for line in shown.stdout.splitlines()[1:]]
    assert "libone.so.1 (libc6,x86-64) => /usr/local/lib/libone.so.1" in entries
    assert not any("=> /opt/late" in entry or f"=> {LIB}" in entry for entry in entries)


def test_the_cache_is_ordered_as_ldconfigs_own(host: FakeHost, tmp_path: Path) -> None:
    names = ["liba.so", "liba-b.so", "liba1.so", "liba10.so", "liba9.so", "liba_.so", "libA.so.2", "libA.so.10",
             "lib.so", "liba.so.1", "liba+.so", "libz.so", "lib0.so"]  # fmt: skip
    host.file("/etc/ld.so.conf", "/opt/lib\n")
    for name in names:
        host.library(f"/opt/lib/{name}")
    subprocess.run(["/usr/sbin/ldconfig", "-r", str(host.root), "-X"], check=True)
    theirs = _names(host.path("/etc/ld.so.cache").read_bytes())
    ours = ldcache.cache({(name, MACHINE): f"/opt/lib/{name}" for name in names})
    assert [name for name in theirs if name in names] == _names(ours)
    assert len(_names(ours)) == len(names)


def _names(cache: bytes) -> list[str]:
    """The keys in the order of the file."""
    count = int.from_bytes(cache[20:24], "little")
    offsets = [int.from_bytes(cache[52 + 24 * at : 56 + 24 * at], "little") for at in range(count)]
    return [cache[offset : cache.index(b"\0", offset)].decode() for offset in offsets]


def test_no_cache_is_written_where_default_directories_do(host: FakeHost) -> None:
    host.file("/etc/ld.so.conf", f"/usr/local/lib\n/lib/x86_64-linux-gnu\n{LIB}\n")
    host.program("/usr/bin/it")
    assert host.collect(programs=["it"]).problems == [] and host.cache == b""
    host.library("/usr/local/lib/libone.so.1")
    host.collect(programs=["it"], extra=["/usr/local/lib/*"])
    assert b"/usr/local/lib/libone.so.1" in host.cache


def test_libraries_of_musl(host: FakeHost) -> None:
    host.library("/usr/lib/x86_64-linux-musl/libc.so")
    host.link("/lib/ld-musl-x86_64.so.1", "/usr/lib/x86_64-linux-musl/libc.so")
    host.file("/etc/ld-musl-x86_64.path", "/usr/lib/x86_64-linux-musl\n")
    host.library("/usr/lib/x86_64-linux-musl/libone.so", 1)
    host.library(f"{LIB}/libone.so", 2)
    needs = [f"/usr/lib/x86_64-linux-musl/{name}" for name in ("libone.so", "libc.so")]
    flags = "-nostdlib -Wl,-e,main -Wl,--no-as-needed -Wl,--dynamic-linker,/lib/ld-musl-x86_64.so.1"
    host.program("/usr/bin/it", needs=needs, flags=flags)
    closure = host.collect(programs=["it"])
    assert closure.problems == []
    assert set(closure.files) == {
        "/etc/ld-musl-x86_64.path", "/usr/bin/it",
        "/usr/lib/x86_64-linux-musl/libc.so", "/usr/lib/x86_64-linux-musl/libone.so",
    }  # fmt: skip


def test_what_was_read_is_read_once(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.program("/usr/bin/one")
    host.program("/usr/bin/two")
    read_files: list[int] = []
    real = elf.read

    def counted(stream: BinaryIO) -> elf.Object | None:
        read_files.append(1)
        return real(stream)

    monkeypatch.setattr(elf, "read", counted)
    with HostTree(str(host.root)) as tree:
        loader = Loader(tree)
        for name in ("/usr/bin/one", "/usr/bin/two", "/usr/bin/one"):
            found = loader.object(name)
            assert found is not None and "libc.so.6" in loader.load(name, found).files
    assert len(read_files) == 4  # both programs, libc, the loader
