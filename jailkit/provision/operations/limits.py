from __future__ import annotations

from dataclasses import dataclass

from ...jail import limits, runtime
from ...jail import recipe as recipes
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class SetLimits(Operation):
    """What the recipe says of limits, for the jail that runs: comes after JailFiles. Undoing it is doing it once more,
    with the recipe that is there when JailFiles was not undone yet: so it is done again by the next start at the
    latest."""

    kind = "limits"

    def describe(self) -> str:
        return "have the running jail keep its limits"

    def check(self, world: World) -> bool:
        return runtime.running(world.paths, world.row().uid) is None  # a start reads the recipe

    def apply(self, world: World) -> None:
        problems = limits.apply(world.paths, recipes.load(world.paths, world.name))
        for problem in problems:
            runtime.complain(f"code=limit.busy user={world.name} {problem}")
