from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from ...errors import JailkitError
from ...paths import CHROOT_GROUP
from .. import accounts
from ..accountfiles import New
from ..lookup import Snapshot
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


def _taken(name: str) -> JailkitError:
    return JailkitError("conflict.account-exists", f"somebody else has made an account {name}", "choose another name")


def _missing(name: str) -> JailkitError:
    return JailkitError("host.account", f"{name} is not there as it was made", "pwck -r; grpck -r")


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
            raise _taken(world.name)
        accounts.create(world.paths, self.account(world, row), world.point)
        if not _complete(world, row.uid):
            raise _missing(world.name)

    @classmethod
    def apply_all(cls, many: Sequence[tuple[Self, World]]) -> dict[str, Exception]:
        errors: dict[str, Exception] = {}
        for _, world in many:
            found = world.look.find(world.name)
            if found is not None and (found.uid != world.row().uid or not found.local):
                errors[world.name] = _taken(world.name)
        left = [(operation, world) for operation, world in many if world.name not in errors]
        if left:
            errors |= cls._create_all(left)
        return errors

    @classmethod
    def _create_all(cls, many: Sequence[tuple[Self, World]]) -> dict[str, Exception]:
        first = many[0][1]
        wanted = [operation.account(world, world.row()) for operation, world in many]
        try:
            errors: dict[str, Exception] = {**accounts.change(first.paths, add=wanted, point=first.point)}
        except JailkitError as error:
            if error.code != "host.account" or len(many) == 1:
                raise
            return super().apply_all(many)  # pwck refuses a line: each for itself, so that the others' come
        look = Snapshot()
        for _, world in many:
            world.look = look
            if world.name not in errors and not _complete(world, world.row().uid):
                errors[world.name] = _missing(world.name)
        return errors

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

    @classmethod
    def apply_all(cls, many: Sequence[tuple[Self, World]]) -> dict[str, Exception]:
        first, look = many[0][1], Snapshot()
        own = {}
        for operation, world in many:
            found = look.find(world.name)
            if found is None or found.uid == world.row().uid:
                own[world.name] = (operation, world)
        apart = accounts.with_subordinates(own)
        errors = super().apply_all([own[name] for name in apart]) if apart else {}
        wanted = [(name, world.row().uid) for name, (_, world) in own.items() if name not in apart]
        if wanted:
            errors |= accounts.change(first.paths, remove=wanted, point=first.point)
        return errors
