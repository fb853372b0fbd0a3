from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import JailkitError
from ...paths import CHROOT_GROUP
from .. import accounts
from ..accountfiles import New
from ..state import Row
from ..world import World
from .base import Operation


def _complete(world: World, uid: int) -> bool:
    """Whether the account stands in all its files, as it is to be."""
    look = world.look
    entry = look.find(world.name)
    return (
        entry is not None
        and entry.uid == uid
        and entry.shell == world.paths.door
        and look.password_field(world.name) not in (None, "")
        and look.is_member(world.name)
        and look.is_member(world.name, CHROOT_GROUP) == (world.row().level == "chroot")
        and look.group_exists(world.name)
    )


@dataclass(frozen=True)
class CreateAccount(Operation):
    """Shell (the door), groups and locked password come with the account, not after it: passwd(5) is the last of the
    files that is replaced. Killed before that, there are names in the others that nobody has."""

    home: str

    kind = "create-account"

    def describe(self) -> str:
        return "create the account, confined and without a password"

    def intent(self, world: World) -> dict[str, Any]:
        return {"begun": True}

    def check(self, world: World) -> bool:
        return _complete(world, world.row().uid)

    def apply(self, world: World) -> None:
        row = world.row()
        found = accounts.find(world.name)
        if found is not None and (found.uid != row.uid or not found.local):
            raise JailkitError(
                "conflict.account-exists", f"somebody else has made an account {world.name}", "choose another name"
            )
        accounts.create(world.paths, self.account(world, row), world.point)
        if not _complete(world, row.uid):
            raise JailkitError("host.account", f"{world.name} is not there as it was made", "pwck -r; grpck -r")

    def account(self, world: World, row: Row) -> New:
        return accounts.new(world.paths, world.name, row.uid, self.home, row.level == "chroot")

    def undo(self, world: World) -> None:
        row = world.state.get(world.name)
        found = accounts.find(world.name)
        if row is not None and world.note.get("begun") and (found is None or found.uid == row.uid):
            accounts.delete(world.paths, world.name, row.uid)


@dataclass(frozen=True)
class RemoveAccount(Operation):
    """Nothing in the home is touched: ``userdel -r`` deletes by path, as root, in a tree that was the tenant's."""

    kind = "remove-account"
    final = True

    def describe(self) -> str:
        return "remove the account"

    def apply(self, world: World) -> None:
        found = accounts.find(world.name)
        if found is None or found.uid == world.row().uid:
            accounts.delete(world.paths, world.name, world.row().uid, world.point)
