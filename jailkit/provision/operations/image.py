from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

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

    @classmethod
    def apply_all(cls, many: Sequence[tuple[Self, World]]) -> dict[str, Exception]:
        tried: dict[str, dict[str, Exception]] = {}  # what comes of it for one comes of it for all of the template
        for operation, world in many:
            if operation.template not in tried:
                tried[operation.template] = super().apply_all([(operation, world)])
        return {world.name: error for operation, world in many for error in tried[operation.template].values()}
