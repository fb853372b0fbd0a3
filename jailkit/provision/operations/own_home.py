from __future__ import annotations

from dataclasses import dataclass

from .. import homes
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class OwnHome(Operation):
    """The home belongs to its user again: the directory, nothing in it. Its owner was root or an id of nobody's; a home
    that belongs to another account is left to that one."""

    home: str

    kind = "own-home"

    def describe(self) -> str:
        return f"give the home {self.home} back to its user"

    def apply(self, world: World) -> None:
        homes.take_back(self.home, world.row())
