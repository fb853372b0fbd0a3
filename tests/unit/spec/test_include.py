"""Templates made of parts: what wins, what is refused, and that every error of every file comes at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jailkit.errors import InvalidFile, InvalidFiles, JailkitError
from jailkit.image.template import load_template
from jailkit.paths import Paths
from jailkit.spec import include
from tests.unit.rooted import rooted

Errors = list[tuple[str, str]]


@pytest.fixture
def paths() -> Iterator[Paths]:
    with rooted() as made:
        yield made


def put(paths: Paths, name: str, text: str = "", *, includes: str = "", base: str = "", part: bool = False) -> Path:
    """A template of the administrator's own, or a part; with a source unless it is a part or has includes."""
    folder = Path(base or paths.templates) / ("parts" if part else "") / name
    folder.mkdir(parents=True, exist_ok=True)
    names = f"includes = [{', '.join(repr(one) for one in includes.split())}]\n" if includes else ""
    source = "" if part or includes or "source =" in text else 'source = "host"\n'
    (folder / "template.toml").write_text(f'name = "{name}"\ndescription = "{name}"\n{names}{source}{text}')
    return folder


def refused(paths: Paths, name: str) -> Errors:
    with pytest.raises(InvalidFile) as caught:
        load_template(paths, name)
    assert caught.value.code == "invalid.template" and caught.value.exit_number == 5
    return caught.value.errors


def test_scalars_replace_tables_merge_lists_append(paths: Paths) -> None:
    put(paths, "one", 'linger = 1\ntmp = "1M"\n[image]\nclosed = ["/a"]\nlinks = {"/x" = "1", "/y" = "1"}\n', part=True)
    put(paths, "two", 'linger = 2\n[image]\nclosed = ["/b", "/a"]\nlinks = {"/y" = "2"}\n', part=True)
    put(paths, "top", 'source = "host"\nshell = "/bin/sh"\n[image]\nclosed = ["/c"]\n', includes="one two")
    found = include.resolve(paths, "top")
    spec = found.spec
    assert (spec.linger, spec.tmp, spec.shell) == (2, "1M", "/bin/sh")
    assert spec.image.closed == ["/a", "/b", "/c"]
    assert spec.image.links == {"/x": "1", "/y": "2"}
    assert (spec.name, spec.description, spec.includes) == ("top", "top", ["one", "two"])
    assert found.origins["linger"] == "two" and found.origins["tmp"] == "one" and found.origins["shell"] == "top"
    assert [found.origins[f"image.closed[{n}]"] for n in range(3)] == ["one", "two", "top"]
    assert found.origins["image.links./x"] == "one" and found.origins["image.links./y"] == "two"
    assert spec.binds == ["/usr"] and "binds" not in found.origins


def test_what_two_include_counts_once_and_before_both(paths: Paths) -> None:
    put(paths, "ground", "linger = 1\n", part=True)
    put(paths, "left", "linger = 2\n", includes="ground", part=True)
    put(paths, "right", includes="ground", part=True)
    put(paths, "top", 'source = "host"\n', includes="left right")
    found = include.resolve(paths, "top")
    assert [piece.name for piece in found.pieces] == ["ground", "left", "right", "top"]
    assert found.spec.linger == 2


def test_a_source_comes_from_an_included_template(paths: Paths) -> None:
    put(paths, "base", 'source = "copy"\nsmoke = ["true"]\n[copy]\nprograms = ["ls"]\n[[run]]\ncommand = "a"\n')
    put(paths, "top", 'smoke = ["ls"]\n[copy]\nprograms = ["cat", "ls"]\n[[run]]\ncommand = "b"\n', includes="base")
    spec = include.resolve(paths, "top").spec
    assert spec.source == "copy" and spec.copying is not None and spec.copying.programs == ["ls", "cat"]
    assert spec.smoke == ["true", "ls"] and [step.command for step in spec.run] == ["a", "b"]


def test_a_part_says_what_it_needs_of_each_source(paths: Paths) -> None:
    put(paths, "tool", '[copy]\nprograms = ["ls"]\n[debian]\npackages = ["coreutils"]\n', part=True)
    put(paths, "viewed", 'source = "host"\n', includes="tool")
    put(paths, "copied", 'source = "copy"\n', includes="tool")
    viewed, copied = (include.resolve(paths, name) for name in ("viewed", "copied"))
    assert viewed.spec.copying is None and viewed.spec.debian is None
    assert not [path for path in viewed.origins if path.startswith(("copy", "debian"))]
    assert copied.spec.copying is not None and copied.spec.debian is None
    put(paths, "settings", '[image]\ncopy = ["/etc/issue"]\n', part=True)
    for source, copied_files in (("host", ["/etc/issue", "/etc/motd"]), ("debian", ["/etc/motd"])):
        put(paths, "top", f'source = "{source}"\n[image]\ncopy = ["/etc/motd"]\n', includes="settings")
        assert include.resolve(paths, "top").spec.image.copy_ == copied_files
    put(paths, "wrong", 'source = "host"\n[copy]\nprograms = ["ls"]\n')
    assert refused(paths, "wrong") == [("", "[copy] is for source = 'copy', but source is 'host'")]


def test_another_source_than_that_of_the_included(paths: Paths) -> None:
    put(paths, "base", 'source = "copy"\n[copy]\nprograms = ["ls"]\n')
    put(paths, "top", 'source = "debian"\n', includes="base")
    assert include.resolve(paths, "top").spec.copying is None
    put(paths, "top", '[debian]\npackages = ["vim"]\n', includes="base")
    assert refused(paths, "top") == [("", "[debian] is for source = 'debian', but source is 'copy'")]


def test_own_before_shipped_and_templates_before_parts(paths: Paths) -> None:
    shipped = include.shipped(paths)
    for base, part, linger in (
        (shipped, True, 1),
        (shipped, False, 2),
        (paths.templates, True, 3),
        (paths.templates, False, 4),
    ):
        put(paths, "x", f"linger = {linger}\n", base=base, part=part)
        put(paths, "top", 'source = "host"\n', includes="x")
        assert include.resolve(paths, "top").spec.linger == linger
    assert "x" in include.names(paths) and "x" in include.names(paths, parts=True)


@pytest.mark.parametrize(
    ("links", "said"),
    [
        ({"a": "a"}, "a -> a"),
        ({"a": "b", "b": "a"}, "a -> b -> a"),
        ({"a": "b", "b": "c", "c": "b"}, "a -> b -> c -> b"),
    ],
)
def test_a_circle_is_refused_with_the_way_round(paths: Paths, links: dict[str, str], said: str) -> None:
    for name, other in links.items():
        put(paths, name, 'source = "host"\n', includes=other)
    assert refused(paths, "a") == [("includes[0]", f"goes round in a circle: {said}")]


def test_sixteen_deep_and_no_deeper(paths: Paths) -> None:
    names = [f"t{n}" for n in range(17)]
    for name, other in zip(names, [*names[1:], ""], strict=True):
        put(paths, name, includes=other)
    assert len(include.resolve(paths, "t1").pieces) == 16
    (error,) = refused(paths, "t0")
    assert error == ("includes[0]", f"is nested more than 16 deep: {' -> '.join(names)}")


def test_many_ways_to_one_file_cost_one_look(paths: Paths) -> None:
    """Each level includes both of the next: 2^15 ways, 31 files."""
    for level in range(15):
        for side in "lr":
            below = f"n{level + 1}-l n{level + 1}-r" if level < 14 else ""
            put(paths, f"n{level}-{side}", "linger = 1\n", includes=below, part=True)
    put(paths, "top", 'source = "host"\n', includes="n0-l n0-r")
    assert len(include.resolve(paths, "top").pieces) == 31


def test_what_is_not_there_is_named_with_the_nearest(paths: Paths) -> None:
    put(paths, "locales", part=True)
    put(paths, "top", 'source = "host"\n', includes="shel locals zzz")
    assert refused(paths, "top") == [
        ("includes[0]", "there is no template or part 'shel'; did you mean 'shell'?"),
        ("includes[1]", "there is no template or part 'locals'; did you mean 'locales'?"),
        ("includes[2]", "there is no template or part 'zzz'"),
    ]
    (paths_error,) = [
        error for error in refused_text(paths, 'includes = ["../x"]\n') if error[0].startswith("includes")
    ]
    assert "cannot be a template name" in paths_error[1]


def refused_text(paths: Paths, text: str) -> Errors:
    put(paths, "bad", text)
    return refused(paths, "bad")


def test_every_error_of_every_file_comes_at_once(paths: Paths) -> None:
    part = put(paths, "part", 'lingr = 1\n[image]\ndirectoris = []\n[[run]]\ncomand = "x"\n', part=True)
    (part / "files/etc").mkdir(parents=True)
    os.symlink("/etc/shadow", part / "files/etc/x")
    other = put(paths, "other", "tmp = 5\n", includes="nowhere", part=True)
    top = put(paths, "top", 'source = "hosts"\n[copy]\nprogams = []\n', includes="part other")
    (top / "jail/etc/deep").mkdir(parents=True)
    (top / "jail/etc/deep/file").write_text("")
    with pytest.raises(InvalidFiles) as caught:
        load_template(paths, "top")
    lines = caught.value.message.splitlines()
    assert len(lines) == len(set(lines)) == 10
    for folder, where, what in [
        (part, "lingr", "did you mean 'linger'?"),
        (part, "image.directoris", "did you mean 'directories'?"),
        (part, "run[0].comand", "did you mean 'command'?"),
        (part, "run[0].command", "is missing"),
        (part, "files/etc/x", "is a symbolic link"),
        (other, "tmp", "must be a text in quotes"),
        (other, "includes[0]", "there is no template or part 'nowhere'"),
        (top, "source", "must be"),
        (top, "copy.progams", "did you mean 'programs'?"),
        (top, "jail/etc/deep/file", "plain files only"),
    ]:
        assert [line for line in lines if str(folder) in line and f"'{where}'" in line and what in line], where


def test_a_part_cannot_be_built(paths: Paths) -> None:
    put(paths, "alone", "linger = 5\n", part=True)
    ((where, what),) = refused(paths, "alone")
    assert where == "source" and "it is a part" in what
    put(paths, "half", includes="alone")
    assert "here and in all that it includes" in refused(paths, "half")[0][1]


def test_what_is_wrong_with_the_whole_is_said(paths: Paths) -> None:
    put(paths, "links", '[image]\nlinks = {"/a" = "b"}\n', part=True)
    put(paths, "top", 'source = "host"\n[image]\ndirectories = ["/a/b"]\n', includes="links")
    assert "lies below a link" in refused(paths, "top")[0][1]
    put(paths, "hers", 'writable = ["/srv"]\n', part=True)
    put(paths, "top", 'source = "host"\n', includes="hers")
    assert "writable" in refused(paths, "top")[0][1]
    put(paths, "top", 'source = "host"\nroot = "overlay"\n', includes="hers")
    assert load_template(paths, "top").spec.writable == ["/srv"]


def tree(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_files_of_the_includer_replace(paths: Paths) -> None:
    one = put(paths, "one", part=True)
    tree(one, {"files/etc/a": "1", "files/etc/b": "1", "files/etc/d/e": "1", "files/etc/f": "1", "jail/etc/hosts": "1"})
    tree(put(paths, "two", part=True), {"files/etc/b.j2": "2", "files/etc/f/g": "2", "jail/etc/hosts.j2": "2"})
    tree(put(paths, "top", 'source = "host"\n', includes="one two"), {"files/etc/d": "3"})
    template = load_template(paths, "top")
    assert {name: data for name, (data, _) in template.files.items()} == {
        "etc/a": b"1",
        "etc/b.j2": b"2",
        "etc/f/g": b"2",
        "etc/d": b"3",
    }
    assert list(template.jail_files) == ["hosts.j2"] and template.jail_names == ["hosts"]
    assert template.origins["files/etc/a"] == "one" and template.origins["files/etc/b.j2"] == "two"
    assert template.origins["jail/etc/hosts.j2"] == "two"
    assert template.folder("files/etc/a") == str(one)


def test_a123_an_included_file_that_others_could_have_written_is_refused(paths: Paths) -> None:
    part = put(paths, "part", part=True)
    put(paths, "top", 'source = "host"\n', includes="part")
    load_template(paths, "top")
    for path, owner, mode in ((part / "template.toml", 0, 0o666), (part, 54321, 0o755), (part.parent, 0, 0o777)):
        before = path.stat()
        os.chown(path, owner, 0)
        path.chmod(mode)
        with pytest.raises(JailkitError) as caught:
            load_template(paths, "top")
        assert caught.value.code == "unsafe.path" and str(path) in caught.value.message
        os.chown(path, 0, 0)
        path.chmod(before.st_mode & 0o7777)
    load_template(paths, "top")


def test_a_relative_name_starts_from_the_file_that_says_it(paths: Paths) -> None:
    base = put(paths, "base", 'source = "tar"\n[tar]\nfile = "root.tar"\n')
    top = put(paths, "top", includes="base")
    assert load_template(paths, "top").directory == str(base)
    put(paths, "top", '[tar]\nfile = "other.tar"\n', includes="base")
    assert load_template(paths, "top").directory == str(top)
