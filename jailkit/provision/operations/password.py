from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from .. import accounts
from ..accountfiles import Changed
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class SetPassword(Operation):
    """hashed: crypt(5). The journal holds it, and the one before, until the plan has ended; it is shown to nobody.
    change: there was another one, which undoing comes back to."""

    hashed: str
    change: bool = False

    kind = "password"

    def describe(self) -> str:
        return "set the password"

    def check(self, world: World) -> bool:
        return world.look.password_field(world.name) == self.hashed

    def intent(self, world: World) -> dict[str, Any]:
        return {"old": accounts.password_field(world.name)} if self.change else {}

    def apply(self, world: World) -> None:
        accounts.set_password_hash(world.paths, world.name, self.hashed)

    @classmethod
    def apply_all(cls, many: Sequence[tuple[Self, World]]) -> dict[str, Exception]:
        wanted = [Changed(world.name, password=operation.hashed) for operation, world in many]
        return {**accounts.change(many[0][1].paths, alter=wanted, point=many[0][1].point)}

    def undo(self, world: World) -> None:
        if isinstance(old := world.note.get("old"), str) and self.check(world):
            accounts.set_password_hash(world.paths, world.name, old)
