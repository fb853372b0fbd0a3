from __future__ import annotations

from dataclasses import dataclass

from ...jail import limits, runtime
from ...jail import recipe as recipes
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class SetLimits(Operation):
    """What the recipe says of limits, for the jail that runs: comes after JailFiles, whose undoing undoes it."""

    kind = "limits"

    def describe(self) -> str:
        return "have the running jail keep its limits"

    def check(self, world: World) -> bool:
        return runtime.running(world.paths, world.row().uid) is None  # a start reads the recipe

    def apply(self, world: World) -> None:
        hold(world)


def hold(world: World) -> None:
    for problem in limits.apply(world.paths, recipes.load(world.paths, world.name)):
        runtime.complain(f"code=limit.busy user={world.name} {problem}")
