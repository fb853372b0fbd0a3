from __future__ import annotations

from dataclasses import dataclass

from .. import accounts
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class SetPassword(Operation):
    """hashed: crypt(5). The journal holds it until the plan has ended; it is shown to nobody."""

    hashed: str

    kind = "password"

    def describe(self) -> str:
        return "set the password"

    def check(self, world: World) -> bool:
        return accounts.password_field(world.name) == self.hashed

    def apply(self, world: World) -> None:
        accounts.set_password_hash(world.paths, world.name, self.hashed)
