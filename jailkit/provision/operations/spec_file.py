from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...spec.jail import JailSpec
from ...spec.write import spec_text
from .. import files
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class WriteSpec(Operation):
    """Near the end: what stands in jails.d is there. Until then the row in the state says that it is being made. old:
    data of the spec before a change, which undoing comes back to, in the file as it was."""

    spec: dict[str, Any] = field(default_factory=dict)
    fresh: bool = True
    old: dict[str, Any] = field(default_factory=dict)

    kind = "spec"

    def describe(self) -> str:
        return "write the spec file"

    def intent(self, world: World) -> dict[str, Any]:
        if not self.old:
            return {}
        data = files.read(world.paths.spec(world.name))
        return {"text": None if data is None else data.decode(errors="replace")}

    def apply(self, world: World) -> None:
        path = world.paths.spec(world.name)
        old = (files.read(path) or b"").decode(errors="replace")
        text = spec_text(JailSpec.model_validate(self.spec), old)
        if text != old:
            files.write(path, text.encode(), 0o600, world.sync)
        world.state.update(world.name, spec=self.spec)

    def undo(self, world: World) -> None:
        path = world.paths.spec(world.name)
        if self.fresh:
            files.remove(path)
        elif self.old and "text" in world.note:
            text = world.note["text"]
            if text is None:
                files.remove(path)
            else:
                files.write(path, text.encode(), 0o600)
            world.state.update(world.name, spec=self.old)


@dataclass(frozen=True)
class RemoveSpec(Operation):
    """After everything that it describes is gone."""

    kind = "remove-spec"
    final = True

    def describe(self) -> str:
        return "remove the spec file"

    def apply(self, world: World) -> None:
        files.remove(world.paths.spec(world.name), world.sync)
