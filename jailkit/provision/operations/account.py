from __future__ import annotations

from dataclasses import dataclass

from ...errors import JailkitError
from ...paths import CHROOT_GROUP
from .. import accounts
from ..world import World
from .base import Operation


def _complete(world: World, uid: int) -> bool:
    """Whether the account stands in all its files: useradd replaces four of them, one after the other."""
    entry = accounts.find(world.name)
    return (
        entry is not None
        and entry.uid == uid
        and entry.shell == world.paths.door
        and accounts.password_field(world.name) not in (None, "")
        and accounts.is_member(world.name)
        and accounts.is_member(world.name, CHROOT_GROUP) == (world.row().level == "chroot")
        and accounts.group_exists(world.name)
    )


@dataclass(frozen=True)
class CreateAccount(Operation):
    """One call of useradd: shell (the door), group and locked password come with the account, not after it.

    If it is killed between two of the files, what stands there is an account without a password, without a home
    and, at worst, not yet in the group, so that no key of ours counts for it: there is nothing to log in with.
    """

    home: str

    kind = "create-account"

    def describe(self) -> str:
        return "create the account, confined and without a password"

    def check(self, world: World) -> bool:
        return _complete(world, world.row().uid)

    def apply(self, world: World) -> None:
        row = world.row()
        found = accounts.find(world.name)
        if found is not None:
            if found.uid != row.uid or not found.local:
                raise JailkitError(
                    "conflict.account-exists", f"somebody else has made an account {world.name}", "choose another name"
                )
            accounts.delete(world.paths, world.name)  # ours, by its uid, and incomplete
        elif world.note.get("begun"):
            accounts.delete(world.paths, world.name)  # its group, if useradd came that far
        world.remember(begun=True)
        accounts.create(world.paths, world.name, row.uid, self.home, row.level == "chroot")
        if not _complete(world, row.uid):
            raise JailkitError("host.account", f"useradd has not made {world.name} as asked", "pwck -r; grpck -r")

    def undo(self, world: World) -> None:
        row = world.state.get(world.name)
        found = accounts.find(world.name)
        if row is not None and world.note.get("begun") and (found is None or found.uid == row.uid):
            accounts.delete(world.paths, world.name)


@dataclass(frozen=True)
class RemoveAccount(Operation):
    """By userdel without ``-r``: that one deletes by path, as root, in a tree that was the tenant's."""

    kind = "remove-account"
    final = True

    def describe(self) -> str:
        return "remove the account"

    def apply(self, world: World) -> None:
        found = accounts.find(world.name)
        if found is None or found.uid == world.row().uid:
            accounts.delete(world.paths, world.name)
