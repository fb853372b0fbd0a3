"""Building images: the digest, what is kept, what damage is seen, what a killed or failed build leaves."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jailkit.errors import JailkitError
from jailkit.image import build, contents, layer, scratch, store, tags
from jailkit.image.template import load_template
from jailkit.paths import Paths
from tests.unit.rooted import TREE

BUILD = (
    "import sys; sys.path.insert(0, sys.argv[1]); from jailkit.image import build; from jailkit.paths import Paths;"
    "print(build.build(Paths(sys.argv[2]), 'shell', host_root=sys.argv[3]).digest)"
)


def made(paths: Paths, fake: Path) -> str:
    done = build.build(paths, "shell", host_root=str(fake))
    tags.move(paths, "shell", done.digest, "build", done.inputs)
    return done.digest


def test_the_digest_is_of_the_input_and_of_nothing_else(paths: Paths, fake: Path) -> None:
    first = made(paths, fake)
    again = Path(shutil.copytree(fake, f"{fake}2", symlinks=True, ignore=shutil.ignore_patterns("fifo")))
    for path in again.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    (again / "etc/theirs").write_text("another secret")
    env = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    argv = [sys.executable, "-c", BUILD, str(TREE), paths.root, str(again)]
    other = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.strip()
    assert other == first
    (again / "etc/vim/vimrc").write_text("set cp\n")
    assert made(paths, again) != first


@pytest.mark.parametrize("change", ["file", "mode", "link", "template"])
def test_every_kind_of_change_changes_the_digest(paths: Paths, fake: Path, change: str) -> None:
    first = made(paths, fake)
    if change == "file":
        (fake / "etc/vim/vimrc").write_text("other")
    elif change == "mode":
        (fake / "etc/vim/vimrc").chmod(0o755)
    elif change == "link":
        (fake / "etc/ssl/certs/out").unlink()
        (fake / "etc/ssl/certs/out").symlink_to("/root/secre")
    else:
        with open(f"{paths.opt}/templates/parts/shells/files/etc/profile", "a", encoding="utf-8") as file:
            file.write("# more\n")
    assert made(paths, fake) != first


def test_an_image_is_built_once_and_verifies(paths: Paths, fake: Path) -> None:
    os.umask(0o077)
    try:
        digest = made(paths, fake)
    finally:
        os.umask(0o022)
    assert tags.current(paths, "shell") == digest
    assert store.verify(paths, digest) == []
    assert store.digests(paths) == [digest]
    root = Path(paths.image_root(digest))
    assert os.readlink(f"{paths.tags}/shell") == f"../images/{digest}"
    assert stat.S_IMODE(root.parent.stat().st_mode) == 0o700
    assert not [path for path in [root, *root.rglob("*")] if not path.is_symlink() and path.stat().st_mode & 0o022]
    assert (root / "root").stat().st_mode & 0o7777 == 0o700
    assert (root / "etc/passwd").read_bytes() == b""
    assert os.readlink(root / "bin") == "usr/bin"
    before = root.stat().st_ino
    assert made(paths, fake) == digest
    assert root.stat().st_ino == before
    assert os.listdir(paths.images).count(digest) == 1
    assert not [name for name in os.listdir(paths.images) if name.startswith(".build")]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: (root / "etc/profile").write_text("evil"), "has another content"),
        (lambda root: (root / "etc/profile").chmod(0o666), "has mode 0666"),
        (lambda root: os.chown(root / "etc/profile", 54321, 0), "belongs to 54321:0"),
        (lambda root: (root / "etc/profile").unlink(), "is missing"),
        (lambda root: (root / "etc/more").write_text(""), "is not in the manifest"),
        (lambda root: ((root / "bin").unlink(), (root / "bin").symlink_to("evil")), "points to 'evil'"),
        (lambda root: ((root / "etc/profile").unlink(), (root / "etc/profile").mkdir()), "is no file"),
    ],
)
def test_verify_sees_each_damage(paths: Paths, fake: Path, damage: object, said: str) -> None:
    assert callable(damage)
    digest = made(paths, fake)
    damage(Path(paths.image_root(digest)))
    assert [what for _, what in store.verify(paths, digest)] == [said]


def test_a_forged_manifest_is_refused(paths: Paths, fake: Path) -> None:
    digest = made(paths, fake)
    path = f"{paths.images}/{digest}/manifest.json"
    body = json.loads(Path(path).read_text())
    body["entries"] = body["entries"][1:]
    Path(path).write_text(json.dumps(body))
    with pytest.raises(JailkitError) as caught:
        store.verify(paths, digest)
    assert caught.value.code == "invalid.image"


def test_an_interrupted_build_is_cleaned_and_one_under_way_is_not(paths: Paths, fake: Path) -> None:
    import fcntl

    made(paths, fake)
    dead, alive = f"{paths.images}/.build-dead", f"{paths.images}/.build-alive"
    for path in (dead, alive):
        os.makedirs(f"{path}/root/etc")
    fd = os.open(alive, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert scratch.clean(paths) == 1
    assert os.path.isdir(alive)
    os.close(fd)
    assert scratch.clean(paths) == 1


def test_builds_at_once_end_in_one_image(paths: Paths, fake: Path) -> None:
    argv = [sys.executable, "-c", BUILD, str(TREE), paths.root, str(fake)]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    digests = {process.communicate(timeout=60)[0].strip() for process in running}
    assert len(digests) == 1
    assert [process.returncode for process in running] == [0] * 4
    assert store.verify(paths, digests.pop()) == []
    assert not [name for name in os.listdir(paths.images) if name.startswith(".build")]


def test_contents_that_two_builds_add_at_once_are_one_file(paths: Paths) -> None:
    """Else the store has the later one's, and sweeps it away with that image while the other is in use."""
    store.ready(paths)
    template, places, digests = load_template(paths, "shell"), [], []
    for name in ("one", "other"):
        place = f"{paths.images}/.build-{name}"
        os.mkdir(place)
        kept = contents.Store(paths, place)
        places.append((name, place, kept, [layer.file("/same", b"the same", 0o644, kept)]))
    for name, place, kept, rows in places:
        digests.append(store.publish(paths, store.renamed(template, name), rows, kept, place)[0])
    one, other = (os.stat(f"{paths.image_root(digest)}/same") for digest in digests)
    assert os.path.samestat(one, other)
    assert one.st_nlink == 3, "and that of the store"


def test_a_stale_image_is_known(paths: Paths) -> None:
    assert build.stale(paths, "shell") is False
    done = build.build(paths, "shell")
    tags.move(paths, "shell", done.digest, "build", done.inputs)
    assert build.stale(paths, "shell") is False
    with open(f"{paths.opt}/templates/parts/shells/files/etc/profile", "a", encoding="utf-8") as file:
        file.write("# more\n")
    assert build.stale(paths, "shell") is True


def test_what_changes_while_an_image_is_built_makes_it_stale(paths: Paths, fake: Path) -> None:
    def meanwhile(line: str) -> None:
        if ": layer etc: " in line:
            (fake / "etc/vim/vimrc").write_text("set cp\n")

    done = build.build(paths, "shell", log=meanwhile, host_root=str(fake))
    assert {row.path: row.size for row in store.rows(paths, done.digest)}["/etc/vim/vimrc"] == len("set nocp\n")
    again = build.build(paths, "shell", host_root=str(fake))
    assert again.digest != done.digest and again.inputs != done.inputs


def test_a_full_disk_leaves_no_half_image(paths: Paths, fake: Path) -> None:
    import resource

    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            made(paths, fake)
        except JailkitError as error:
            os._exit(0 if error.code == "io.image" else 3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.digests(paths) == []
    assert tags.current(paths, "shell") is None
    assert not [name for name in os.listdir(paths.images) if name.startswith(".build")]
