"""Writing through an overlay: to the image below, which all jails of the template share, and past it, to the host.

Attacks A024, A031, A033, A035, A088, A102, A113 where the root is writable. The image's files are hard links into one
store: who could write through one would write to every image that has it. Overlayfs copies before it writes, whatever
the mode of the file; what marks something as gone are attributes that nobody inside can set.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..writable import HERS, template
from .cells import Cell, Cells, mounts

pytestmark = pytest.mark.host
ONE, OTHER = "escovl1", "escovl2"


class Pair:
    """An agent in each of two jails of one template with an overlay."""

    def __init__(self, cells: Cells) -> None:
        self.cells, self.host = cells, cells.host
        self.one, self.other = cells.enter(ONE), cells.enter(OTHER)

    @property
    def upper(self) -> Path:
        return self.host.root / "var/lib/jailctl/jails" / ONE / "layer/upper"

    def image(self, path: str = "") -> Path:
        digest = self.host.image("escovl")
        return Path(f"{self.host.root}/var/lib/jailctl/images/{digest}/root{path}")

    def shared(self) -> str:
        """Of all contents that images share: names, bytes, modes, owners, links, times."""
        total = hashlib.sha256()
        for path in sorted((self.host.root / "var/lib/jailctl/contents").rglob("*.*")):
            status = path.stat()
            kept = (path.name, status.st_mode, status.st_uid, status.st_nlink, status.st_mtime_ns, status.st_size)
            total.update(repr(kept).encode())
            total.update(path.read_bytes())
        return total.hexdigest()

    def again(self) -> Cell:
        """The first jail, started anew."""
        self.one.close()
        self.host.jailctl("stop", ONE)
        self.one = self.cells.enter(ONE)
        return self.one

    def changes(self) -> dict[str, str]:
        found = json.loads(self.host.jailctl("diff", ONE, "--json").stdout)["changes"]
        return {change["path"]: change["kind"] for change in found}


@pytest.fixture(scope="module")
def _made(_cells: Cells) -> Iterator[Cells]:
    template(_cells.host, "escovl", "overlay", writable=f'["{HERS}", "{HERS}/data"]')
    for user in (ONE, OTHER):
        _cells.make(user, "--template", "escovl")
    yield _cells
    for user in (ONE, OTHER):
        _cells.host.jailctl("remove-user", user)


@pytest.fixture
def pair(_made: Cells, cells: Cells) -> Iterator[Pair]:
    for user in (ONE, OTHER):
        cells.host.jailctl("reset", user, "--yes", "--stop")
    made = Pair(cells)
    before = made.shared()
    yield made
    made.one.close()
    made.other.close()
    assert made.shared() == before, "what images share has changed"
    assert cells.host.jailctl("image", "verify").returncode == 0


def test_a035_files_of_the_image_cannot_be_written(pair: Pair) -> None:
    path = f"{HERS}/keep"
    for kind in ("truncate", "chmod", "utime"):
        assert pair.one.says("make", kind=kind, path=path) in ("EPERM", "EACCES"), kind
    assert pair.one.says("write", path=path, data="x") == "EACCES"
    # as a file of hers the same goes through, so it is not the probe that fails
    pair.one.ask("write", path=f"{HERS}/mine", data="x", create=True)
    for kind in ("truncate", "chmod", "utime"):
        assert pair.one.says("make", kind=kind, path=f"{HERS}/mine") == "", kind
    assert pair.other.says("stats", path=f"{HERS}/mine") == "ENOENT"


def test_a035_the_mode_is_not_what_holds_it(pair: Pair) -> None:
    """Where everybody may write to a file of the image: she writes to a copy. The inode below has many names, so a
    write that went through would be in all images."""
    below = pair.image(f"{HERS}/keep")
    inode = below.stat()
    assert inode.st_nlink > 1
    below.chmod(0o666)
    try:
        again = pair.again()
        again.ask("write", path=f"{HERS}/keep", data="through")
        assert again.ask("read", path=f"{HERS}/keep").startswith("through")
        assert below.read_text() == "one\n" and below.stat().st_mtime_ns == inode.st_mtime_ns
        assert pair.other.ask("read", path=f"{HERS}/keep") == "one\n"
        assert (pair.upper / f"{HERS}/keep".lstrip("/")).stat().st_ino != inode.st_ino
    finally:
        below.chmod(0o644)


def test_a035_a_hard_link_is_of_the_copy(pair: Pair) -> None:
    before = pair.image(f"{HERS}/keep").stat().st_nlink
    said = pair.one.says("make", kind="link", path=f"{HERS}/hard", to=f"{HERS}/keep")
    if said == "":  # fs.protected_hardlinks = 0
        assert pair.one.ask("stats", path=f"{HERS}/hard")["uid"] == 0
        assert pair.one.says("write", path=f"{HERS}/hard", data="x") == "EACCES"
    assert pair.image(f"{HERS}/keep").stat().st_nlink == before
    assert pair.one.says("make", kind="link", path="/home/" + ONE + "/hard", to=f"{HERS}/keep") == "EXDEV"


def test_a031_no_whiteout_but_the_kernels(pair: Pair) -> None:
    """Linux lets anybody make a character device 0:0, but not in an overlay; and one from elsewhere does not get in."""
    whiteout, home = f"{HERS}/white", f"/home/{ONE}/white"
    assert pair.one.says("make", kind="chr", path=home, mode=0o666, device=0) == ""
    assert pair.one.says("make", kind="chr", path=whiteout, mode=0o666, device=0) == "EPERM"
    assert pair.one.says("make", kind="rename", path=home, to=whiteout) == "EXDEV"
    assert pair.one.says("make", kind="link", path=whiteout, to=home) == "EXDEV"
    for kind, major, minor in (("chr", 1, 3), ("chr", 1, 1), ("blk", 8, 0)):
        device = os.makedev(major, minor)
        assert pair.one.says("make", kind=kind, path=f"{HERS}/device", device=device) == "EPERM"
    assert pair.changes() == {}


SET = ("import os, sys\nfor name, value in (('whiteout', b'y'), ('opaque', b'y'), ('redirect', b'/etc'), "
       "('metacopy', b''), ('origin', b'x')):\n"
       "    try:\n        os.setxattr(sys.argv[2], f'{sys.argv[1]}.overlay.{name}', value)\n"
       "        print(name, 'set')\n"
       "    except OSError as error:\n        print(name, error.errno)\n")  # fmt: skip


def test_a031_marks_of_her_own_mean_nothing(pair: Pair) -> None:
    def marks(agent: Cell, space: str, path: str) -> list[Any]:
        said: list[Any] = agent.ask("run", argv=["/usr/bin/python3", "-I", "-c", SET, space, path])[1].split("\n")
        return [line for line in said if line]

    place = pair.host.root / "srv/marks"
    place.write_text("")
    assert all("set" in line for line in marks(pair.cells.root, "trusted", "/srv/marks"))
    place.unlink()
    pair.one.ask("make", kind="mkdir", path=f"{HERS}/data/sub", mode=0o755)
    pair.one.ask("write", path=f"{HERS}/file", data="", create=True)
    for path in (f"{HERS}/data/sub", f"{HERS}/file", HERS):
        assert not any("set" in line for line in marks(pair.one, "trusted", path)), path
        marks(pair.one, "user", path)
    again = pair.again()
    assert again.ask("read", path=f"{HERS}/keep") == "one\n" and again.ask("read", path=f"{HERS}/sub/below") == "four\n"
    assert again.ask("read", path=f"{HERS}/file") == ""
    assert pair.changes() == {f"{HERS}/data/sub": "added", f"{HERS}/file": "added"}


def test_a024_links_where_a_start_makes_directories(pair: Pair) -> None:
    """``data`` is hers by the template, and lies in a directory that is hers: she puts a link in its place."""
    canary, before = pair.cells.canary, pair.cells.canary.digest()
    for target in (canary.path, "/etc", "/proc/1/root", "../../../../../../srv"):
        pair.one.ask("make", kind="rmdir", path=f"{HERS}/data")
        pair.one.ask("make", kind="symlink", path=f"{HERS}/data", to=target)
        again = pair.again()
        assert again.ask("link", path=f"{HERS}/data") == target
        assert canary.digest() == before
        assert not (pair.host.root / "srv/work").exists()
        again.ask("make", kind="unlink", path=f"{HERS}/data")
        again.ask("make", kind="mkdir", path=f"{HERS}/data", mode=0o755)


def test_a033_no_set_id_file_comes_to_be_or_counts(pair: Pair) -> None:
    path = f"{HERS}/suid"
    pair.one.ask("write", path=path, data="#!/bin/sh\n", create=True)
    assert pair.one.says("make", kind="chmod", path=path, mode=0o4755) == "EPERM"
    below = pair.upper / path.lstrip("/")
    below.chmod(0o6755)  # what only root of the host could do
    row = next(row for row in mounts(pair.cells.keeper(ONE).pid) if row["point"] == "/")
    assert {"nosuid", "nodev"} <= set(row["options"].split(",")) and row["type"] == "overlay"
    assert pair.changes() == {path: "added"}
    assert (pair.upper.parent.stat().st_mode & 0o777, pair.upper.parent.stat().st_uid) == (0o700, 0)
    said = pair.cells.plain.says("stats", path=f"/var/lib/jailctl/jails/{ONE}/layer/upper")
    assert said == "EACCES"


def test_a102_a_reset_follows_nothing(pair: Pair) -> None:
    canary, before = pair.cells.canary, pair.cells.canary.digest()
    for name in ("a", "a/b", "a/b/c"):
        pair.one.ask("make", kind="mkdir", path=f"{HERS}/data/{name}", mode=0o755)
        pair.one.ask("make", kind="symlink", path=f"{HERS}/data/{name}/link", to=canary.path)
    pair.host.jailctl("reset", ONE, "--yes", "--stop")
    assert canary.digest() == before and pair.changes() == {}


FLIP = ("import os, time\nend = time.time() + 20\nprint('flips', flush=True)\n"
        "while time.time() < end:\n"
        "    open('n', 'w').write('hers\\n'); os.rename('n', 'x')\n"
        "    os.symlink(os.environ['AIM'], 'n'); os.rename('n', 'x')\n"
        "    os.mkfifo('n'); os.rename('n', 'x')\n"
        "    os.unlink('x'); os.mkdir('x'); os.rmdir('x'); os.symlink(os.environ['UP'], 'x')\n")  # fmt: skip


def test_a113_what_is_read_is_hers_while_she_swaps_it(pair: Pair) -> None:
    """diff as root, in a directory whose one name is now a file, now a link to a secret, a FIFO, a directory."""
    canary = pair.cells.canary
    command = f'cd {HERS}/data && AIM={canary.deep} UP={canary.path} exec /usr/bin/python3 -I -c "{FLIP}"'
    size = os.stat(f"{pair.host.root}{canary.deep}").st_size
    with contextlib.closing(pair.host.spawn(pair.host.ssh_argv(ONE, command))) as flipper:
        assert flipper.stdout and flipper.stdout.read(5) == b"flips"
        seen = set()
        for _ in range(25):
            done = pair.host.jailctl("diff", ONE, "--json", check=False, timeout=20)
            assert canary.secret not in done.stdout + done.stderr
            if done.returncode:
                seen.add(json.loads(done.stderr)["error"]["code"])
                continue
            found = json.loads(done.stdout)["changes"]
            assert {change["path"] for change in found} <= {f"{HERS}/data/x", f"{HERS}/data/n"}, found
            assert f"{size} bytes" not in str(found)
            seen.add("read")
        assert seen <= {"read", "busy.layer"} and "read" in seen, seen
