"""A copy that is not the same is told, whatever differs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jailkit.errors import JailkitError
from jailkit.kernel.beneath import remove_tree
from jailkit.paths import Paths
from jailkit.provision.backup import same
from jailkit.provision.state import Row

UID = 1_500_000_000 + os.getpid()
ROW = Row("dora", UID, UID, 1_800_000_000, "present", False, "", False, "/home/dora", "", {}, 1)


@pytest.fixture
def trees() -> Iterator[tuple[Path, Path]]:
    if os.geteuid() != 0:
        pytest.skip("it takes another's ids")
    top = Path(tempfile.mkdtemp(prefix="jailkit-same-", dir="/srv"))
    top.chmod(0o755)
    one, other = top / "one", top / "other"
    (one / "dir").mkdir(parents=True)
    (one / "file").write_text("text")
    (one / "dir/link").symlink_to("../file")
    os.link(one / "file", one / "hard")
    with (one / "holes").open("wb") as file:
        file.truncate(1 << 20)
    for path in [one, *one.rglob("*")]:
        os.chown(path, UID, UID, follow_symlinks=False)
    shutil.copytree(one, other, symlinks=True)
    (other / "hard").unlink()
    os.link(other / "file", other / "hard")
    for path in [other, *other.rglob("*")]:
        os.chown(path, UID, UID, follow_symlinks=False)
        status = (one / path.relative_to(other)).lstat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
    yield one, other
    remove_tree(str(top))


def compare(one: Path, other: Path) -> None:
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (one, other)]
    try:
        same.require(Paths(str(one.parent)), ROW, fds[0], fds[1])
    finally:
        for fd in fds:
            os.close(fd)


def test_the_same(trees: tuple[Path, Path]) -> None:
    one, other = trees
    (other / "holes").write_bytes(b"\0" * (1 << 20))
    status = (one / "holes").stat()
    os.utime(other / "holes", ns=(status.st_atime_ns, status.st_mtime_ns))
    compare(one, other)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a byte": lambda tree: (tree / "file").write_text("texT"),
    "a mode": lambda tree: (tree / "file").chmod(0o600),
    "a time": lambda tree: os.utime(tree / "dir", ns=(1, 1)),
    "a name": lambda tree: (tree / "more").touch(),
    "a name less": lambda tree: (tree / "dir/link").unlink(),
    "an attribute": lambda tree: os.setxattr(tree / "file", "user.x", b"1"),
    "a length": lambda tree: os.truncate(tree / "holes", (1 << 20) - 1),
}


@pytest.mark.parametrize("case", CHANGES)
def test_another(trees: tuple[Path, Path], case: str) -> None:
    one, other = trees
    kept = {path: path.lstat() for path in [other, *other.rglob("*")]}
    CHANGES[case](other)
    for path, status in kept.items():
        if case != "a time" and os.path.lexists(path):
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
    with pytest.raises(JailkitError) as caught:
        compare(one, other)
    assert caught.value.code == "io.archive" and "differs" in caught.value.message
