"""The start of a chroot jail: each component of its directory is checked, with the command that mends; then its files
are put in place."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jailkit.errors import JailkitError
from jailkit.jail import chroot, runtime
from jailkit.jail.recipe import Recipe
from jailkit.jail.record import FLAG_CHROOT, FOREVER
from jailkit.paths import Paths
from jailkit.provision import homes
from tests.unit.rooted import rooted

UID = 54778


class Jail:
    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.home = Path(paths.root) / "a/b/drop"
        self.home.parent.mkdir(parents=True)
        homes.build_chroot(str(self.home), UID, UID)
        self.recipe = Recipe(
            user="drop", uid=UID, gid=UID, base=700000000, home=str(self.home), hostname="drop", template="t",
            level="chroot", files={"group": b"group\n", "passwd": b"passwd\n"}, linger=None, services=["sshd"],
        )  # fmt: skip
        os.makedirs(paths.jail("drop"))

    def start(self) -> None:
        os.makedirs(os.path.dirname(self.paths.run), exist_ok=True)
        runtime.prepare(self.paths, UID, UID, "drop")
        chroot.start(self.paths, self.recipe)

    def placed(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in (self.home / "etc").iterdir()}


@pytest.fixture
def jail() -> Iterator[Jail]:
    with rooted() as paths:
        yield Jail(paths)


def test_start(jail: Jail) -> None:
    jail.start()
    record = runtime.running(jail.paths, UID)
    assert record is not None
    assert (record.pid, record.start, record.userns, record.filter) == (0, 0, 0, b"")
    assert (record.flags, record.linger, record.home) == (FLAG_CHROOT, FOREVER, str(jail.home))
    assert runtime.keeper(record) is None
    assert jail.placed() == {"passwd": "passwd\n", "group": "group\n"}
    for path in (jail.home / "etc", *(jail.home / "etc").iterdir()):
        assert (path.stat().st_uid, path.stat().st_gid) == (0, 0)
    os.symlink(str(jail.home), jail.paths.chroot(UID))
    runtime.clear(jail.paths, UID, "drop")
    assert runtime.running(jail.paths, UID) is None
    assert not os.path.lexists(jail.paths.chroot(UID))


def test_files_are_replaced_only_where_they_differ(jail: Jail) -> None:
    jail.start()
    before = (jail.home / "etc/passwd").stat().st_ino
    (jail.home / "etc/localtime").write_text("an administrator's")
    jail.recipe.files["group"] = b"another\n"
    jail.start()
    assert jail.placed() == {"passwd": "passwd\n", "group": "another\n", "localtime": "an administrator's"}
    assert (jail.home / "etc/passwd").stat().st_ino == before


def test_a086_what_stands_in_the_way_is_not_followed(jail: Jail) -> None:
    (jail.home / "etc").mkdir(0o755)
    canary = jail.home.parent / "canary"
    canary.write_text("canary")
    (jail.home / "etc/passwd").symlink_to(canary)
    os.link(canary, jail.home / "etc/group")
    jail.start()
    assert jail.placed() == {"passwd": "passwd\n", "group": "group\n"} and canary.read_text() == "canary"
    assert not (jail.home / "etc/passwd").is_symlink()


Change = Callable[[Path], object]
WRONG: dict[str, tuple[Change, str]] = {
    "0777": (lambda path: path.chmod(0o777), "has mode 0777: others may write"),
    "group": (lambda path: path.chmod(0o770), "has mode 0770: others may write"),
    "tenant's": (lambda path: os.chown(path, UID, UID), f"belongs to uid {UID}"),
}
ROOT_ONLY: dict[str, tuple[Change, str]] = {
    "open": (lambda path: path.chmod(0o755), "has mode 0755: others may enter"),
    "shut": (lambda path: path.chmod(0o700), "has mode 0700: drop cannot enter"),
    "another group": (lambda path: os.chown(path, 0, 0), f"not to uid 0, gid {UID}"),
}
CASES = [(up, *case) for up in (0, 1, 2) for case in WRONG.values()] + [(0, *case) for case in ROOT_ONLY.values()]


@pytest.mark.parametrize(("up", "change", "says"), CASES, ids=lambda value: str(value) if value in (0, 1, 2) else "")
def test_a008_the_wrong_component_is_named_and_the_hint_mends_it(
    jail: Jail, up: int, change: Change, says: str
) -> None:
    wrong = [jail.home, *jail.home.parents][up]
    chroot.check(jail.recipe)
    change(wrong)
    for _ in range(2):  # a component may be wrong in two ways: its owner is mended, then its mode
        with pytest.raises(JailkitError) as caught:
            chroot.check(jail.recipe)
        assert caught.value.message.startswith(f"{wrong} ") and says in caught.value.message
        subprocess.run(shlex.split(caught.value.hint), check=True)
        try:
            chroot.check(jail.recipe)
            return
        except JailkitError as error:
            says = error.message.partition(" ")[2]
    raise AssertionError("not mended")


def test_a008_a_link_is_no_component(jail: Jail) -> None:
    real = jail.home.parent.with_name("real")
    jail.home.parent.rename(real)
    jail.home.parent.symlink_to("real")
    with pytest.raises(JailkitError, match=f"{jail.home.parent} is a symbolic link"):
        chroot.check(jail.recipe)


def test_what_is_missing_is_made_by_the_hint(jail: Jail) -> None:
    (jail.home / "files").rmdir()
    with pytest.raises(JailkitError) as caught:
        jail.start()
    assert caught.value.code == "missing.home" and f"no {jail.home}/files" in caught.value.message
    assert runtime.running(jail.paths, UID) is None
    subprocess.run(shlex.split(caught.value.hint), check=True)
    jail.start()
    (jail.home / "files").chmod(0o555)  # hers to change, and to change back
    jail.start()
    assert stat.S_IMODE((jail.home / "files").stat().st_mode) == 0o555
    os.chown(jail.home / "files", 0, 0)
    with pytest.raises(JailkitError, match="belongs to uid 0"):
        jail.start()
