from __future__ import annotations

from dataclasses import dataclass

from ...image import build, tags
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class BuildImage(Operation):
    """The root that all jails of the template share. Undoing leaves it: it is nobody's in particular."""

    template: str

    kind = "image"

    def describe(self) -> str:
        return f"build the image of template {self.template}"

    def check(self, world: World) -> bool:
        return tags.current(world.paths, self.template) is not None

    def apply(self, world: World) -> None:
        made = build.build(world.paths, self.template)
        tags.move(world.paths, self.template, made.digest, "build", made.inputs)
