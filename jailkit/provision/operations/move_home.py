from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ...errors import JailkitError
from ...kernel import quota
from ...kernel.beneath import remove_tree
from ...spec.jail import JailSpec
from .. import accounts, homecopy, homes, resolve
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class Close(Operation):
    """No cold jail starts until all is in its new place. Undone last of all: by then the spec is the one before."""

    kind = "close"

    def describe(self) -> str:
        return "let nobody log in meanwhile"

    def apply(self, world: World) -> None:
        resolve.disable(world.paths, world.name, resolve.MOVING)

    def undo(self, world: World) -> None:
        spec = JailSpec.model_validate(world.row().spec)
        if resolve.disabled(world.paths, world.name) == resolve.MOVING:
            resolve.disable(world.paths, world.name, resolve.suspension(spec))


@dataclass(frozen=True)
class MoveHome(Operation):
    """Nobody is in it: the jail is closed and has ended, and with it whoever held a directory of it open (chroot(2):
    a directory that is moved while somebody stands in it is a way out)."""

    home: str
    to: str

    kind = "move-home"

    def describe(self) -> str:
        return f"move the home {self.home} to {self.to}"

    def intent(self, world: World) -> dict[str, Any]:
        directory, _, name = self.to.rpartition("/")
        return {"temporary": f"{directory}/.{name}.jailctl-{os.urandom(8).hex()}"}

    def apply(self, world: World) -> None:
        row, temporary = world.row(), world.note["temporary"]
        if _own(self.to, world):
            remove_tree(temporary)  # of a run that was killed right after
            return
        if homecopy.move(self.home, self.to, row):
            world.point("renamed")
            return
        homecopy.copy(world.paths, self.home, self.to, row, temporary)
        world.point("copied")

    def undo(self, world: World) -> None:
        if isinstance(temporary := world.note.get("temporary"), str):
            remove_tree(temporary)
        if not _own(self.to, world):
            return
        if _own(self.home, world):
            remove_tree(self.to)  # it was a copy
        elif not homecopy.move(self.to, self.home, world.row()):
            raise JailkitError("interrupted.undo", f"{self.to} cannot be moved back", f"mv {self.to} {self.home}")


def _own(path: str, world: World) -> bool:
    try:
        return homes.is_own(os.lstat(path), world.row())
    except (FileNotFoundError, NotADirectoryError):
        return False


@dataclass(frozen=True)
class SetHome(Operation):
    """The home that stands in passwd(5). old: as it was."""

    home: str
    old: str

    kind = "account-home"

    def describe(self) -> str:
        return f"make {self.home} the home of the account"

    def apply(self, world: World) -> None:
        accounts.set_home(world.paths, world.name, self.home)

    def undo(self, world: World) -> None:
        found = accounts.find(world.name)
        if found is not None and found.home == self.home:
            accounts.set_home(world.paths, world.name, self.old)


@dataclass(frozen=True)
class LeaveHome(Operation):
    """Where it was copied, the old one goes when the new one is in use. new: without it nothing is deleted."""

    home: str
    new: str

    kind = "leave-home"
    final = True

    def describe(self) -> str:
        return f"delete the old home {self.home} where it was copied"

    def check(self, world: World) -> bool:
        return not os.path.lexists(self.home)

    def apply(self, world: World) -> None:
        fd = homes.open_own(self.home, world.row())
        if fd is None:
            return
        os.close(fd)
        if not _own(self.new, world):
            raise JailkitError("missing.home", f"{self.new} is not there: {self.home} stays", f"ls -ld {self.new}")
        if quota.place(self.home) != quota.place(self.new):
            quota.clear(self.home, world.row().base, keep=False)
        remove_tree(self.home)
