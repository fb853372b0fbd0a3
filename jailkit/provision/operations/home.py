from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ...kernel.beneath import remove_tree
from .. import homes
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class MakeHome(Operation):
    """After the account, whose password is locked until then: before there is a home there is no ~/.ssh either.

    fresh: the jail is new, so nobody was ever in that home. One that is made anew for a jail which is there may be in
    use a moment later: undoing leaves it."""

    home: str
    fresh: bool = True

    kind = "make-home"

    def describe(self) -> str:
        return f"make the home {self.home}"

    def check(self, world: World) -> bool:
        # uid and gid were never anybody's before this plan: what belongs to them is ours
        try:
            return homes.is_own(os.lstat(self.home), world.row())
        except FileNotFoundError:
            return False

    def intent(self, world: World) -> dict[str, Any]:
        directory, _, name = self.home.rpartition("/")
        return {"temporary": f"{directory}/.{name}.jailctl-{os.urandom(8).hex()}"}

    def prepare(self, world: World) -> None:
        row, name = world.row(), world.note["temporary"]
        self._sweep(world)
        if row.level == "chroot":
            homes.build_chroot(name, row.uid, row.gid, world.sync, row.base)
        else:
            homes.build(name, world.config.skel, row.uid, row.gid, world.sync, row.base)
        world.point("built")

    def apply(self, world: World) -> None:
        homes.publish(world.note["temporary"], self.home, world.sync)

    def undo(self, world: World) -> None:
        self._sweep(world)
        row = world.state.get(world.name)
        if self.fresh and row is not None and os.path.lexists(self.home) and homes.is_own(os.lstat(self.home), row):
            remove_tree(self.home)

    @staticmethod
    def _sweep(world: World) -> None:
        name = world.note.get("temporary")
        if isinstance(name, str):
            remove_tree(name)


@dataclass(frozen=True)
class RemoveHome(Operation):
    """By descriptors, on its one mount, through no link (kernel/beneath.py). A home whose owner is not the jail's user
    any more is somebody's: refused."""

    home: str

    kind = "remove-home"
    final = True

    def describe(self) -> str:
        return f"delete the home {self.home}"

    def apply(self, world: World) -> None:
        fd = homes.open_own(self.home, world.row())
        if fd is not None:
            os.close(fd)
            remove_tree(self.home)


@dataclass(frozen=True)
class KeepHome(Operation):
    """The files stay, behind a directory that is root's alone; a later user of that name does not get it."""

    home: str

    kind = "keep-home"
    final = True

    def describe(self) -> str:
        return f"keep the home {self.home}, closed to everybody but root"

    def check(self, world: World) -> bool:
        try:
            status = os.lstat(self.home)
        except FileNotFoundError:
            return True
        return status.st_uid == 0 and status.st_mode & 0o077 == 0

    def apply(self, world: World) -> None:
        homes.seal(self.home, world.row())
