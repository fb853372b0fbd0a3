from __future__ import annotations

from dataclasses import dataclass

from ...jail.stop import stop
from .. import resolve
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class Suspend(Operation):
    """Nobody gets in any more, and the user is told why; None: she gets in again. It asks neither template nor image,
    so that it works whatever state they are in. old: as it was before a change."""

    message: str | None = None
    old: str | None = None

    kind = "suspend"

    def describe(self) -> str:
        return "let the user log in again" if self.message is None else f"let nobody log in, and say: {self.message}"

    def check(self, world: World) -> bool:
        return resolve.suspended(world.paths, world.name) == self.message

    def apply(self, world: World) -> None:
        resolve.suspend(world.paths, world.name, self.message)

    def undo(self, world: World) -> None:
        resolve.suspend(world.paths, world.name, self.old)
        if self.old is not None:
            stop(world.paths, world.row().uid, world.name)  # she may have come in meanwhile
