"""The copy source on this very host: beside lddtree(1), and as a root in which real programs do real work."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from jailkit.image.source.copied import elf
from jailkit.image.source.copied.hosttree import HostTree
from jailkit.image.source.copied.loader import Loader
from jailkit.image.source.copy import collect
from jailkit.spec.source import CopySource
from tests.conftest import need_root
from tests.unit.image.source.copied.fakehost import Image
from tests.unit.rooted import TREE

COUNT = 200
JUSTIFIED: dict[str, str] = {}
"""Difference (as :func:`differences` writes it) to the reason why ours is right. None so far."""


def programs() -> list[str]:
    """As many of the host's own, evenly over the alphabet, as COUNT says: dynamic ones of /usr/bin and /usr/sbin."""
    found = []
    for directory in ("/usr/bin", "/usr/sbin"):
        for entry in os.scandir(directory):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o111 and status.st_uid == 0 and dynamic(entry.path):
                found.append(entry.path)
    found.sort(key=os.path.basename)
    assert len(found) >= COUNT
    return [found[at * len(found) // COUNT] for at in range(COUNT)]


def dynamic(path: str) -> bool:
    with open(path, "rb") as file:
        found = elf.read(file)
    return found is not None and found.interpreter != ""


def lddtree(paths: list[str]) -> dict[str, dict[str, str | None]]:
    script = Path(__file__).with_name("lddtree_json.py")
    done = subprocess.run(["/usr/bin/python3", "-I", str(script), *paths], capture_output=True, text=True, check=True)
    found: dict[str, dict[str, str | None]] = json.loads(done.stdout)["programs"]
    return found


def ours(paths: list[str]) -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = {}
    with HostTree("/") as tree:
        loader = Loader(tree)
        for path in paths:
            wanted = loader.object(path)
            assert wanted is not None
            load = loader.load(path, wanted)
            found[path] = {name: tree.resolve(item.path).path for name, item in load.files.items()}
            found[path] |= {os.path.basename(name): None for name, _, _ in load.missing}
    return found


def differences(one: dict[str, dict[str, str | None]], other: dict[str, dict[str, str | None]]) -> list[str]:
    """By program and library. A name that only a library's own soname has (ours keeps it, too) is none."""
    wrong = []
    for path in one:
        files = set(other[path].values())
        for name in sorted(one[path].keys() | other[path].keys()):
            left, right = one[path].get(name, "not asked for"), other[path].get(name, "not asked for")
            if left != right and not (right == "not asked for" and left in files):
                wrong.append(f"{path}: {name}: ours {left}, lddtree's {right}")
    return wrong


@pytest.mark.slow
def test_the_same_libraries_as_lddtree_for_many_programs_of_this_host() -> None:
    paths = programs()
    one, other = ours(paths), lddtree(paths)
    assert len(one) == len(other) == COUNT
    assert sum(len(found) for found in one.values()) > 4 * COUNT
    found = differences(one, other)
    print(*found, sep="\n")
    assert [line for line in found if line not in JUSTIFIED] == []


def test_the_comparison_sees_a_difference() -> None:
    theirs: dict[str, dict[str, str | None]] = {"/p": {"a.so": "/lib/a.so", "b.so": None, "c.so": "/lib/c.so"}}
    assert differences({"/p": {"a.so": "/lib/a.so", "b.so": "/x", "d.so": "/lib/c.so"}}, theirs) == [
        "/p: b.so: ours /x, lddtree's None",
        "/p: c.so: ours not asked for, lddtree's /lib/c.so",
    ]


# -- a root of real programs


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    need_root()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as top:
        os.chmod(top, 0o755)
        yield Image(
            Path(top) / "image",
            programs=["bash", "sh", "python3", "perl", "vim", "getent", "iconv", "locale", "ldd"],
            packages=["coreutils", "git"],
            globs=["/etc/nsswitch.conf", "/etc/hosts"],
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("echo $((6 * 7)) $BASH_VERSION | cut -c1-4", "42 5"),
        ("ls -d /usr/bin/env && sort -r <<< $'a\\nb' | tr '\\n' ' ' && sha256sum < /dev/null | cut -c1-8", "e3b0c442"),
        ("git --version", "git version 2"),
        ("python3 -c 'import ssl,ctypes,sqlite3 as s;print(*s.connect(\"\").execute(\"select 6*7\"))'", "(42,)"),
        ("python3 -c 'import ssl, lzma, bz2, zlib, curses, readline; print(ssl.OPENSSL_VERSION)'", "OpenSSL 3"),
        ("python3 -c 'import threading; t = threading.Thread(target=lambda: print(1)); t.start(); t.join()'", "1"),
        ("perl -MPOSIX -MEncode -e 'print POSIX::floor(3.7), length(Encode::encode(\"sjis\", chr 0x3042))'", "32"),
        ("vim --version | head -1", "VIM - Vi IMproved"),
        ("getent hosts localhost", "localhost"),
        ("printf '\\343\\201\\202' | iconv -f UTF-8 -t ISO-2022-JP | od -An -tx1", "1b 24 42 24 22"),
        ("printf '\\343\\201\\202' | iconv -f UTF-8 -t EUC-JISX0213 | od -An -tx1", "a4 a2"),
        ("LC_ALL=C.UTF-8 locale", 'LC_CTYPE="C.UTF-8"'),
        ("LC_ALL=C.UTF-8 locale charmap", "UTF-8"),
        ("LC_ALL=C.UTF-8 bash -c 'word=$(printf \"\\303\\244\\303\\266\"); echo ${#word}'", "2"),
    ],
    ids=lambda value: value.split()[0] if " " in value else None,
)  # fmt: skip
def test_a_real_program_does_its_work_in_the_image(image: Image, command: str, expected: str) -> None:
    done = image.run("/bin/bash", "-c", command)
    assert done.returncode == 0 and expected in done.stdout, (done.stdout, done.stderr)
    assert done.stderr == ""


_COMMIT = """export HOME=/work
cd /work; git init -q -b main one; cd one; echo a >b; git add b
git -c user.name=x -c user.email=x@y commit -qm one; git log --format=%s
git clone -q . ../two; ls ../two
"""


@pytest.mark.slow
def test_git_makes_a_commit_in_the_image(image: Image) -> None:
    (image.root / "work").mkdir(mode=0o777, exist_ok=True)
    (image.root / "work").chmod(0o777)
    done = image.run("/bin/bash", "-ec", _COMMIT)
    assert (done.stdout, done.stderr) == ("one\nb\n", "")


@pytest.mark.slow
def test_nothing_in_the_image_is_more_than_plain(image: Image) -> None:
    modes = {row.mode for row in image.rows.values() if row.kind == "file"}
    assert modes == {0o644, 0o755}
    never = ("/etc/shadow", "/etc/passwd", "/dev", "/proc", "/root", "/home")
    assert not [path for path in image.rows if path.startswith(never)]
    assert "/etc/ld.so.cache" not in image.rows  # all that was copied lies in default directories
    told = ("not on this host", "comes with its modules", "copied ")
    assert [line for line in image.lines if not any(part in line for part in told)] == []


def test_certificates_bring_no_interpreter() -> None:
    """Part ssl: OpenSSL's own directory has scripts in Perl."""
    said = tomllib.loads((TREE / "templates/parts/ssl/template.toml").read_text())["copy"]
    with HostTree("/") as tree:
        found = collect(tree, CopySource(programs=["sh"], **said), lambda line: None)
    assert not found.problems and "/etc/ssl/certs/ca-certificates.crt" in found.files
    assert not [path for path in found.files if "perl" in path]
