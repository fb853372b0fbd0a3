"""The copy source: what is named, what comes along, what never does, and trees that mean harm."""

from __future__ import annotations

import os
import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from jailkit.errors import InvalidFile, JailkitError
from jailkit.image.layer import Row
from jailkit.image.source import Build, copy
from jailkit.image.source.copied.interpreters import Script, script
from jailkit.paths import Paths
from tests.unit.image.source.copied.fakehost import LIB, FakeHost, Kept, template

SECRET = "canary-content"
BASE = {f"{LIB}/libc.so.6", f"{LIB}/ld-linux-x86-64.so.2"}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path / "host")


def text(problems: list[tuple[str, str]]) -> str:
    return "\n".join(f"{where}: {what}" for where, what in problems)


# -- what is named


def test_programs_are_looked_for_in_roots_path_or_named_by_path(host: FakeHost) -> None:
    host.program("/usr/sbin/it")
    host.program("/usr/bin/it")
    host.file("/usr/local/bin/it", "no program")
    host.program("/opt/other")
    closure = host.collect(programs=["it", "/opt/other", "/bin/it"])
    assert closure.problems == []
    assert set(closure.files) == {"/usr/sbin/it", "/usr/bin/it", "/opt/other", *BASE}
    assert closure.links == {"/bin": "usr/bin", "/lib": "usr/lib", "/lib64": "usr/lib64",
                             "/usr/lib64/ld-linux-x86-64.so.2": f"{LIB}/ld-linux-x86-64.so.2"}  # fmt: skip
    assert closure.directories.keys() >= {"/usr", "/usr/bin", "/opt", LIB}


def test_links_are_copied_with_what_they_lead_to(host: FakeHost, tmp_path: Path) -> None:
    host.program("/usr/bin/it.basic")
    host.link("/etc/alternatives/it", "/usr/bin/it.basic")
    host.link("/usr/bin/it", "../../etc/alternatives/it")
    image = host.image(tmp_path / "image", programs=["it"])
    assert image.rows["/usr/bin/it"] == Row("/usr/bin/it", "link", target="../../etc/alternatives/it")
    assert image.rows["/etc/alternatives/it"].target == "/usr/bin/it.basic"
    assert image.rows["/bin"].target == "usr/bin"
    assert image.run("/bin/it").returncode == 0


def test_globs_name_files_and_whole_directories(host: FakeHost) -> None:
    for name in ("a.conf", "b.conf", ".hidden", "c.txt", "d/deep/file", "d/.dot"):
        host.file(f"/etc/it/{name}")
    host.link("/etc/it/d/link", "../c.txt")
    host.link("/etc/it/d/tree", "/usr/share/it")
    host.file("/usr/share/it/data")
    closure = host.collect(globs=["/etc/it/?.conf", "/etc/it/[d]"])
    assert set(closure.files) == {"/etc/it/a.conf", "/etc/it/b.conf", "/etc/it/d/deep/file", "/etc/it/d/.dot",
                                  "/etc/it/c.txt", "/usr/share/it/data"}  # fmt: skip
    assert closure.links == {"/etc/it/d/link": "../c.txt", "/etc/it/d/tree": "/usr/share/it"}


def test_all_that_is_wrong_is_said_at_once(host: FakeHost, tmp_path: Path) -> None:
    host.library("/opt/lib/libone.so.1")
    host.program("/usr/bin/broken", needs=["/opt/lib/libone.so.1"], calls="one")
    host.file("/usr/bin/script", "#!/usr/bin/nothing\n", 0o755)
    host.file("/usr/bin/text", "text")
    host.file("/etc/private", SECRET, 0o640)
    host.file("/usr/bin/half", "\x7fELF-and-no-more", 0o755)
    with pytest.raises(InvalidFile) as caught:
        host.image(
            tmp_path / "image", programs=["absent", "broken", "script", "text", "/usr/bin/text", "half"],
            globs=["/etc/none*", "/etc/private"], extra=["/usr/lib/plugin.so"], packages=["unknown"],
        )  # fmt: skip
    assert caught.value.code == "host.copy"
    assert sorted(what for _, what in caught.value.errors) == [
        "/etc/none* matches nothing on this host",
        "/etc/private leads to /etc/private, which not everybody may read (mode 0640)",
        "/usr/bin/broken needs libone.so.1, which the loader would not find",
        caught.value.errors[[what[:13] for _, what in caught.value.errors].index("/usr/bin/half")][1],
        "/usr/bin/text is no program: it is no file that may be executed",
        "/usr/lib/plugin.so matches nothing on this host",
        "absent is in no directory of PATH",
        "script: /usr/bin/nothing is not on this host",
        "text is in no directory of PATH",
        "unknown is not installed on this host",
    ]
    assert "at 'copy.globs': /etc/none* matches nothing" in str(caught.value)


def test_what_is_optional_may_be_missing(host: FakeHost) -> None:
    host.program("/usr/bin/it")
    host.library("/opt/lib/libone.so.1")
    host.program("/usr/bin/broken", needs=["/opt/lib/libone.so.1"], calls="one")
    named = {"programs": ["it", "absent", "broken"], "globs": ["/etc/none*"], "packages": ["unknown"]}
    assert len(host.problems(**named)) == 4
    closure = host.collect(**named, optional=["absent", "/etc/none*", "unknown", "libone.so.*"])
    assert closure.problems == []
    assert any("libone.so.1" in line for line in host.lines)


# -- packages


def test_a_package_comes_with_all_its_files(host: FakeHost) -> None:
    host.program("/usr/bin/it")
    host.library(f"{LIB}/libit.so.1")
    host.file("/usr/share/doc/it/example.py", "#!/usr/bin/nothing\n", 0o755)
    host.package("it", ["/bin/it", "/usr/share/doc/it/example.py", "/usr/share/doc/it/left-out.gz"])
    host.package("libit1", [f"{LIB}/libit.so.1"], stem="libit1:amd64")
    closure = host.collect(packages=["it", "libit1"])
    assert closure.problems == []
    assert set(closure.files) == {"/usr/bin/it", f"{LIB}/libit.so.1", "/usr/share/doc/it/example.py", *BASE}
    assert "copy.packages: it: 1 of its 8 files are not on this host" in host.lines


def test_a_package_that_was_removed_is_not_installed(host: FakeHost) -> None:
    host.file("/etc/it.conf")
    host.package("it", ["/etc/it.conf"])
    status = host.path("/var/lib/dpkg/status")
    status.write_text(status.read_text().replace("install ok installed", "deinstall ok config-files"))
    assert host.problems(packages=["it"]) == [("copy.packages", "it is not installed on this host")]


def test_diverted_files_and_alternatives(host: FakeHost) -> None:
    host.program("/usr/bin/config.it")
    host.program("/usr/bin/config")
    host.program("/usr/bin/editor.it")
    host.file("/usr/share/man/man1/editor.it.1.gz")
    host.file("/var/lib/dpkg/diversions", "/usr/bin/config\n/usr/bin/config.it\nother\n")
    host.package("it", ["/usr/bin/config", "/usr/bin/editor.it"])
    host.package("other", ["/usr/bin/config"])
    man = "/usr/share/man/man1"
    for name, top, target in (("editor", "/usr/bin", "editor.it"), ("editor.1.gz", man, "editor.it.1.gz")):
        host.link(f"{top}/{name}", f"/etc/alternatives/{name}")
        host.link(f"/etc/alternatives/{name}", f"{top}/{target}")
    host.file("/var/lib/dpkg/alternatives/editor", f"auto\n/usr/bin/editor\neditor.1.gz\n{man}/editor.1.gz\n\n"
              f"/usr/bin/editor.it\n30\n{man}/editor.it.1.gz\n\n")  # fmt: skip
    closure = host.collect(packages=["it"])
    assert {"/usr/bin/config.it", "/usr/bin/editor.it"} <= set(closure.files)
    assert "/usr/bin/config" not in closure.files
    assert closure.links["/usr/bin/editor"] == "/etc/alternatives/editor"
    assert "/usr/share/man/man1/editor.1.gz" not in closure.links  # its page is not in the image
    assert "/usr/bin/config" in host.collect(packages=["other"]).files


def test_a_link_to_a_directory_of_the_whole_system_brings_only_the_link(host: FakeHost) -> None:
    host.file("/usr/lib/it/own")
    host.file("/usr/share/other/file")
    host.file("/usr/share/it-data/file")
    links = {"all": "/", "lib": LIB, "share": "../../share", "self": ".", "data": "../../share/it-data"}
    for name, target in links.items():
        host.link(f"/usr/lib/it/{name}", target)
    closure = host.collect(globs=["/usr/lib/it"])
    assert set(closure.files) == {"/usr/lib/it/own", "/usr/share/it-data/file"}
    assert len(closure.links) == 5 and closure.problems == []
    assert host.lines == []


def test_a_package_program_that_cannot_run_is_a_problem_but_not_its_plugin(host: FakeHost) -> None:
    host.library("/opt/lib/libone.so.1")
    host.program("/usr/bin/it", needs=["/opt/lib/libone.so.1"], calls="one")
    host.library("/usr/lib/it/plugin.so", 1, calls="one", needs=["/opt/lib/libone.so.1"])
    host.file("/usr/lib/it/helper", "#!/usr/bin/nothing\n", 0o755)
    host.package("it", ["/usr/bin/it", "/usr/lib/it/plugin.so", "/usr/lib/it/helper"])
    (_, what), = host.problems(packages=["it"])
    assert what == "/usr/bin/it needs libone.so.1, which the loader would not find"
    assert any("plugin.so needs libone.so.1" in line for line in host.lines)
    assert any("/usr/bin/nothing is not on this host" in line for line in host.lines)


# -- what comes along


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"#!/bin/sh\n", Script("/bin/sh")),
        (b"#! /bin/sh -e\n", Script("/bin/sh")),
        (b"#!/usr/bin/env python3\n", Script("/usr/bin/env", "python3")),
        (b"#!/usr/bin/env python3 -I\n", Script("/usr/bin/env", "python3 -I")),  # the kernel makes it one argument
        (b"#!/usr/bin/env -S A=1 -i perl -w\n", Script("/usr/bin/env", "perl")),
        (b"#!/usr/bin/env -vSperl -w\n", Script("/usr/bin/env", "perl")),
        (b"#!/usr/bin/env --split-string=perl -w\n", Script("/usr/bin/env", "perl")),
        (b"#!/bin/sh" + b" " * 300, Script("/bin/sh")),
        (b"#!", Script("")),
        (b"# !/bin/sh\n", None),
        (b"", None),
    ],
)  # fmt: skip
def test_first_lines(line: bytes, expected: Script | None) -> None:
    assert script(line) == expected


def test_interpreters_of_interpreters_come_along(host: FakeHost) -> None:
    for name in ("env", "sh", "worker"):
        host.program(f"/usr/bin/{name}")
    host.file("/usr/bin/one", "#!/usr/bin/env two\n", 0o755)
    host.file("/usr/bin/two", "#!/bin/three -x\n", 0o755)
    host.file("/usr/bin/three", "#! /bin/sh\n", 0o755)
    closure = host.collect(programs=["one"])
    assert closure.problems == []
    assert set(closure.files) == {f"/usr/bin/{name}" for name in ("one", "two", "three", "env", "sh")} | BASE


def test_scripts_that_run_each_other_end(host: FakeHost) -> None:
    host.file("/usr/bin/one", "#!/usr/bin/two\n", 0o755)
    host.file("/usr/bin/two", "#!/usr/bin/one\n", 0o755)
    assert set(host.collect(programs=["one"]).files) == {"/usr/bin/one", "/usr/bin/two"}


def test_python_and_perl_bring_their_trees(host: FakeHost) -> None:
    host.program("/usr/bin/python3.11")
    host.link("/usr/bin/python3", "python3.11")
    host.program("/usr/bin/perl")
    python = ["/usr/lib/python3.11/os.py", "/usr/lib/python3/dist-packages/it.py", "/etc/python3.11/site.py",
              "/usr/local/lib/python3.11/dist-packages/own.py"]  # fmt: skip
    perl = ["/etc/perl/sitecustomize.pl", "/usr/share/perl5/It.pm", "/usr/share/perl/5.36.0/strict.pm",
            f"{LIB}/perl-base/POSIX.pm", f"{LIB}/perl/5.36.0/auto/x.pm", f"{LIB}/perl5/5.36/y.pm"]  # fmt: skip
    for name in (*python, *perl, "/usr/lib/python2.7/os.py"):
        host.file(name)
    host.file("/usr/bin/it", "#!/usr/bin/python3\n", 0o755)
    found = set(host.collect(programs=["it"]).files)
    assert "copy.programs: /usr/bin/python3.11 comes with its modules, for it" in host.lines
    assert set(python) <= found and not found & {*perl, "/usr/lib/python2.7/os.py"}
    found = set(host.collect(programs=["perl"]).files)
    assert set(perl) <= found and not found & set(python)


def test_an_embedded_python_and_a_virtual_environment(host: FakeHost) -> None:
    host.program("/usr/bin/python3.11")
    host.file("/usr/lib/python3.11/os.py")
    host.library(f"{LIB}/libpython3.11.so.1.0")
    host.program("/usr/bin/it", needs=[f"{LIB}/libpython3.11.so.1.0"], flags="-Wl,--no-as-needed")
    assert "/usr/lib/python3.11/os.py" in host.collect(programs=["it"]).files
    host.file("/opt/venv/pyvenv.cfg")
    host.file("/opt/venv/lib/python3.11/site-packages/app.py")
    host.link("/opt/venv/bin/python3", "/usr/bin/python3.11")
    host.file("/opt/venv/bin/app", "#!/opt/venv/bin/python3\n", 0o755)
    found = host.collect(programs=["/opt/venv/bin/app"]).files
    assert {"/opt/venv/pyvenv.cfg", "/opt/venv/lib/python3.11/site-packages/app.py", "/usr/bin/python3.11",
            "/usr/lib/python3.11/os.py"} <= set(found)  # fmt: skip


def test_what_the_c_library_loads_comes_with_it(host: FakeHost) -> None:
    for name in ("libnss_files.so.2", "libnss_dns.so.2", "libnss_compat.so.2", "libnss_resolve.so.2", "libgcc_s.so.1",
                 "gconv/libJIS.so"):  # fmt: skip
        host.library(f"{LIB}/{name}")
    host.library(f"{LIB}/gconv/EUC-JP.so", 1, calls="libJIS", needs=[f"{LIB}/gconv/libJIS.so"],
                 flags="-Wl,-rpath,$ORIGIN")  # fmt: skip
    for name in (f"{LIB}/gconv/gconv-modules", f"{LIB}/gconv/gconv-modules.cache", "/etc/ld.so.conf",
                 "/usr/lib/locale/C.utf8/LC_CTYPE", "/usr/lib/locale/de_DE.utf8/LC_CTYPE",
                 "/usr/lib/locale/fr_FR.utf8/LC_CTYPE", "/usr/lib/locale/locale-archive"):  # fmt: skip
        host.file(name)
    host.file("/etc/default/locale", '# comment\nLANG="de_DE.UTF-8"\nLC_TIME=C\n')
    host.program("/usr/bin/it")
    host.program("/usr/bin/static", flags="-static -nostdlib -Wl,-e,main")
    found = set(host.collect(programs=["it"]).files)
    assert host.problems(programs=["it"]) == []
    assert {f"{LIB}/libnss_files.so.2", f"{LIB}/libnss_dns.so.2", f"{LIB}/libnss_compat.so.2", f"{LIB}/libgcc_s.so.1",
            f"{LIB}/gconv/EUC-JP.so", f"{LIB}/gconv/libJIS.so", f"{LIB}/gconv/gconv-modules.cache", "/etc/ld.so.conf",
            "/usr/lib/locale/C.utf8/LC_CTYPE", "/usr/lib/locale/de_DE.utf8/LC_CTYPE"} <= found  # fmt: skip
    assert not found & {f"{LIB}/libnss_resolve.so.2", "/usr/lib/locale/fr_FR.utf8/LC_CTYPE",
                        "/usr/lib/locale/locale-archive"}  # fmt: skip
    assert set(host.collect(programs=["static"]).files) == {"/usr/bin/static"}
    host.file("/etc/default/locale", "LANG=it_IT.UTF-8@euro\n")
    assert "/usr/lib/locale/locale-archive" in host.collect(programs=["it"]).files


def test_extra_libraries_come_with_what_they_need(host: FakeHost) -> None:
    host.library("/opt/it/libone.so.1")
    host.library("/opt/it/plugin.so", 1, calls="one", needs=["/opt/it/libone.so.1"], flags="-Wl,-rpath,$ORIGIN")
    host.library("/opt/it/lost.so", 1, calls="two", flags="")
    host.library("/opt/far/libfar.so.1")
    host.library("/opt/it/user.so", 1, calls="far", needs=["/opt/far/libfar.so.1"])
    assert "/opt/it/libone.so.1" in host.collect(extra=["/opt/it/plugin.so"]).files
    (where, what), = host.problems(extra=["/opt/it/*.so"])
    assert where == "copy.extra"
    assert what.endswith("/opt/it/user.so needs libfar.so.1, which the loader would not find")
    host.program("/usr/bin/it", needs=["/opt/far/libfar.so.1"], calls="far", flags="-Wl,-rpath,/opt/far")
    assert host.problems(programs=["it"], extra=["/opt/it/*.so"]) == []  # who loads it has libfar.so.1 already


def test_an_extra_library_comes_under_the_name_that_it_is_loaded_by(host: FakeHost) -> None:
    host.library("/opt/it/libone.so.1.2", flags="-Wl,-soname,libone.so.1")
    host.link("/opt/it/libone.so.1", "libone.so.1.2")
    assert host.collect(extra=["/opt/it/libone.so.1.2"]).links == {"/opt/it/libone.so.1": "libone.so.1.2"}


# -- what never comes along


@pytest.mark.parametrize("named", ["programs", "globs", "extra"])
def test_a197_secrets_are_refused_also_through_links(host: FakeHost, named: str) -> None:
    host.file("/etc/shadow", SECRET, 0o755)
    host.file("/etc/ssh/ssh_host_key", SECRET, 0o755)
    host.link("/opt/link", "/etc/shadow")
    host.link("/opt/keys", "../etc/ssh")
    places = ["/etc/shadow", "/opt/link", "/opt/keys/ssh_host_key"]
    problems: list[tuple[str, str]] = []
    for place in places:
        try:
            problems += host.problems(**{named: [place]})
        except JailkitError as refused:
            problems.append(("", refused.message))
    assert len(problems) == 3 and all("never copied into an image" in what for _, what in problems)


def test_a197_secrets_are_left_out_of_packages_and_directories(host: FakeHost, tmp_path: Path) -> None:
    for name in ("/etc/shadow", "/etc/ssh/key", "/etc/ssl/private/key", "/var/lib/jailctl/state.db", "/run/it.sock"):
        host.file(name, SECRET)
    host.file("/etc/fine")
    host.link("/etc/secret", "shadow")
    host.package("it", ["/etc/shadow", "/etc/ssh/key", "/etc/fine", "/etc/secret", "/run/it.sock"])
    image = host.image(tmp_path / "image", packages=["it"], globs=["/etc", "/var"])
    held = {row.path for row in image.rows.values() if row.kind == "file"}
    assert "/etc/fine" in held
    never = ("/etc/shadow", "/etc/ssh/", "/etc/ssl/private", "/run", "/var/lib/jailctl")
    assert not any(path.startswith(never) for path in held)
    assert image.rows["/etc/secret"] == Row("/etc/secret", "link", target="shadow")
    assert not [path for path in image.contents.directory.iterdir() if path.read_text(errors="replace") == SECRET]


def test_a197_only_what_is_roots_own_and_everybodys_to_read_comes(host: FakeHost, tmp_path: Path) -> None:
    host.file("/opt/it/fine")
    host.file("/opt/it/theirs")
    os.chown(host.path("/opt/it/theirs"), 54321, 0)
    host.file("/opt/it/writable", mode=0o666)
    host.file("/opt/it/group", mode=0o664)
    host.file("/opt/it/private", SECRET, mode=0o600)
    host.file("/opt/it/open/file").parent.chmod(0o777)
    host.file("/opt/it/sticky/file").parent.chmod(0o1777)
    host.file("/opt/it/closed/file").parent.chmod(0o750)
    host.file("/opt/it/unlisted/file").parent.chmod(0o711)
    host.file("/opt/it/foreign/file")
    os.chown(host.path("/opt/it/foreign"), 54321, 0)
    os.mkfifo(host.path("/opt/it/fifo"))
    os.mknod(host.path("/opt/it/device"), stat.S_IFBLK | 0o644, os.makedev(7, 99))
    os.mknod(host.path("/opt/it/socket"), stat.S_IFSOCK | 0o755)
    bad = ["theirs", "writable", "group", "private", "open/file", "sticky/file", "closed/file", "foreign/file", "fifo",
           "device", "socket"]  # fmt: skip
    closure = host.collect(globs=["/opt/it"])
    assert set(closure.files) == {"/opt/it/fine"} and closure.problems == []
    assert sum("/opt/it/" in line for line in host.lines) == len(bad) + 1
    problems = host.problems(globs=[f"/opt/it/{name}" for name in bad if "/" not in name])
    assert len(problems) == 7
    for name in bad:
        if "/" in name:
            with pytest.raises(JailkitError) as caught:
                host.image(tmp_path / name.replace("/", "-"), globs=[f"/opt/it/{name}"])
            assert caught.value.code in ("unsafe.host-file", "host.copy")


def test_a008_a_library_in_a_directory_that_others_may_write_is_not_taken(host: FakeHost) -> None:
    host.library("/opt/open/libone.so.1", 1)
    host.program("/usr/bin/it", needs=["/opt/open/libone.so.1"], calls="one", flags="-Wl,-rpath,/opt/open")
    host.path("/opt/open").chmod(0o777)
    (_, what), = host.problems(programs=["it"])
    assert "needs libone.so.1" in what and "/opt/open, which others than root may write" in what
    host.library(f"{LIB}/libone.so.1", 1)
    closure = host.collect(programs=["it"])
    assert closure.problems == [] and f"{LIB}/libone.so.1" in closure.files


def test_a033_modes_are_plain_and_no_set_id_bit_comes_along(host: FakeHost, tmp_path: Path) -> None:
    host.program("/usr/bin/it").chmod(0o6755)
    host.file("/opt/it/data", mode=0o444)
    host.path("/opt/it").chmod(0o2755)
    image = host.image(tmp_path / "image", programs=["it"], globs=["/opt/it"])
    assert [image.rows[path].mode for path in ("/usr/bin/it", "/opt/it", "/opt/it/data")] == [0o755, 0o755, 0o644]


def test_a005_links_in_circles_end(host: FakeHost) -> None:
    host.file("/opt/it/fine")
    host.link("/opt/it/one", "two")
    host.link("/opt/it/two", "one")
    host.link("/opt/it/up", "..")
    host.link("/opt/it/sub", "/opt/it")
    closure = host.collect(globs=["/opt/it"])
    assert set(closure.files) == {"/opt/it/fine"} and closure.problems == []
    assert closure.links["/opt/it/one"] == "two"
    assert "too many links" in text(host.problems(programs=["/opt/it/one"]))


def test_a005_links_that_climb_stay_in_the_tree(host: FakeHost, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_text(SECRET)
    climb = "../" * 30
    host.link("/opt/it/climb", f"{climb}{str(outside)[1:]}")
    host.link("/opt/it/absolute", str(outside))
    host.link("/opt/it/inside", f"{climb}opt/real")
    host.file("/opt/real", "inside")
    image = host.image(tmp_path / "image", globs=["/opt/it"])
    assert {row.path for row in image.rows.values() if row.kind == "file"} == {"/opt/real"}
    assert "is not on this host" in text(host.problems(globs=["/opt/it/climb"]))
    assert SECRET not in [path.read_text() for path in image.contents.directory.iterdir()]


def test_a_file_that_becomes_a_link_or_a_fifo_meanwhile_is_not_followed(host: FakeHost, tmp_path: Path) -> None:
    """Only root can do that; then nothing of it is in the image all the same."""
    outside = tmp_path / "secret"
    outside.write_text(SECRET)
    for number, swap in enumerate(("link", "fifo", "foreign")):
        place = host.file(f"/opt/{swap}")

        def swapped(line: str, place: Path = place, swap: str = swap) -> None:
            if "/no/such" in line:  # the log's line comes between the look and the copy
                place.unlink()
                if swap == "link":
                    place.symlink_to(outside)
                else:
                    os.mkfifo(place)

        spec = template(globs=[f"/opt/{swap}", "/no/such"], optional=["/no/such"])
        kept = Kept(tmp_path / f"kept{number}")
        build = Build(Paths(), spec, "/", kept, str(tmp_path), str(host.root), swapped)
        if swap == "foreign":
            os.chown(place, 54321, 0)
        with pytest.raises((JailkitError, OSError)):
            list(copy.rows(build))
        assert list((tmp_path / f"kept{number}").iterdir()) == []


def test_names_that_are_no_text_are_left_out(host: FakeHost) -> None:
    host.file("/opt/it/fine")
    host.file("/opt/it/Főtanúsítvány.crt")
    for name in (b"bad\xff", b"new\nline", b"esc\x1b[2J"):
        with open(os.fsencode(host.path("/opt/it/x")).replace(b"/x", b"/" + name), "wb"):
            pass
    host.link("/opt/it/link", "a\nb")
    closure = host.collect(globs=["/opt/it"])
    assert set(closure.files) == {"/opt/it/fine", "/opt/it/Főtanúsítvány.crt"} and not closure.links
    assert len(host.lines) == 4 and all(line.isprintable() for line in host.lines)


# -- rows and inputs


def test_memory_does_not_grow_with_the_size_of_files(host: FakeHost, tmp_path: Path) -> None:
    size = 64 << 20
    with host.file("/opt/big").open("wb") as file:
        file.truncate(size)

    class Counted:
        def add(self, source: BinaryIO, executable: bool, private: bool) -> tuple[str, int]:
            return "0" * 64, sum(len(data) for data in iter(lambda: source.read(1 << 16), b""))

    build = Build(Paths(), template(globs=["/opt/big"]), "/", Counted(), str(tmp_path), str(host.root))
    tracemalloc.start()
    try:
        found = [row.size for row in copy.rows(build) if row.path == "/opt/big"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [size] and peak < size / 8


def test_the_same_host_gives_the_same_rows_at_another_time(host: FakeHost, tmp_path: Path) -> None:
    host.program("/usr/bin/it")
    host.file("/opt/it/a/b")
    first = host.image(tmp_path / "one", programs=["it"], globs=["/opt/it"])
    for path in host.root.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert host.image(tmp_path / "two", programs=["it"], globs=["/opt/it"]).rows == first.rows


def test_inputs_change_with_what_decides_the_layer(host: FakeHost) -> None:
    host.program("/usr/bin/it")
    host.file("/opt/it/deep/file")
    host.package("it", ["/usr/bin/it"])
    host.file("/etc/ld.so.conf", "/opt/lib\n")
    host.library("/opt/lib/libone.so.1")
    host.file("/var/lib/dpkg/info/other.list", "")
    spec = {"programs": ["it"], "globs": ["/opt/it"]}
    seen = [host.inputs(**spec)]
    assert host.inputs(**spec) == seen[0]
    status = host.path("/var/lib/dpkg/status")
    os.utime(status, (1, 1))
    status.write_text(status.read_text() + "\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 2\n\n")
    assert host.inputs(**spec) == seen[0]  # neither when dpkg wrote its file, nor what is not installed
    changes: list[Callable[[], object]] = [
        lambda: host.package("more", [], version="2"),
        lambda: host.file("/opt/it/deep/file", "other content"),
        lambda: os.utime(host.path("/opt/it/deep/file"), (1, 1)),
        lambda: host.file("/opt/it/deep/new"),
        lambda: os.utime(host.path("/usr/bin/it"), (1, 1)),
        lambda: host.link("/usr/sbin/it", "/usr/bin/it"),
        lambda: host.file("/etc/ld.so.conf", "/opt/lib\n/usr/lib/more\n"),
        lambda: host.library("/opt/lib/libtwo.so.1"),
        lambda: host.file("/etc/default/locale", "LANG=de_DE.UTF-8\n"),
        lambda: host.link("/etc/alternatives/awk", "/usr/bin/mawk"),
        lambda: host.file("/usr/local/lib/python3.11/dist-packages/x.py"),
    ]  # fmt: skip
    for change in changes:
        change()
        seen.append(host.inputs(**spec))
        assert seen[-1] not in seen[:-1]
    assert host.inputs(programs=["it"]) not in seen


def test_inputs_of_a_tree_that_means_harm_end_and_write_nothing(host: FakeHost) -> None:
    host.link("/opt/it/loop", "loop")
    host.link("/opt/it/up", "..")
    host.file("/opt/it/theirs").chmod(0o666)
    os.mkfifo(host.path("/opt/it/fifo"))
    before = {path: path.lstat().st_mtime_ns for path in host.root.rglob("*")}
    assert host.inputs(globs=["/opt/it", "/opt/none*"], programs=["none"]) is not None
    assert {path: path.lstat().st_mtime_ns for path in host.root.rglob("*")} == before


def test_a_host_that_changes_meanwhile_is_not_copied_half(host: FakeHost, tmp_path: Path) -> None:
    host.file("/opt/it")
    kept = Kept(tmp_path / "kept")

    class Upgrading:
        def add(self, source: BinaryIO, executable: bool, private: bool) -> tuple[str, int]:
            host.package("new", [])
            return kept.add(source, executable, private)

    build = Build(Paths(), template(globs=["/opt/it"]), "/", Upgrading(), str(tmp_path), str(host.root))
    with pytest.raises(JailkitError) as caught:
        list(copy.rows(build))
    assert caught.value.code == "busy.host"


def test_a_host_that_is_not_merged_is_refused(host: FakeHost, tmp_path: Path) -> None:
    host.path("/sbin").unlink()
    host.file("/sbin/it")
    with pytest.raises(JailkitError) as caught:
        host.image(tmp_path / "image", globs=["/sbin/it"])
    assert caught.value.code == "host.usrmerge"


def test_a123_configuration_that_others_may_write_is_refused(host: FakeHost, tmp_path: Path) -> None:
    host.program("/usr/bin/it")
    host.file("/etc/ld.so.conf", "/tmp\n", 0o666)
    with pytest.raises(JailkitError) as caught:
        host.image(tmp_path / "image", programs=["it"])
    assert caught.value.code == "unsafe.host-file"
