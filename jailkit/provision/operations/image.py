from __future__ import annotations

from dataclasses import dataclass

from ...image import tags
from .. import images
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class BuildImage(Operation):
    """The root that all jails of the template share, tried by its smoke tests: a template whose programs this host
    lacks makes no jail. Undoing leaves it: it is nobody's in particular."""

    template: str

    kind = "image"

    def describe(self) -> str:
        return f"build the image of template {self.template}"

    def check(self, world: World) -> bool:
        return tags.current(world.paths, self.template) is not None

    def apply(self, world: World) -> None:
        images.update(world.paths, self.template)
