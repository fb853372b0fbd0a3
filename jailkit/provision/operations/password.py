from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import accounts
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
        return accounts.password_field(world.name) == self.hashed

    def intent(self, world: World) -> dict[str, Any]:
        return {"old": accounts.password_field(world.name)} if self.change else {}

    def apply(self, world: World) -> None:
        accounts.set_password_hash(world.paths, world.name, self.hashed)

    def undo(self, world: World) -> None:
        if isinstance(old := world.note.get("old"), str) and self.check(world):
            accounts.set_password_hash(world.paths, world.name, old)
