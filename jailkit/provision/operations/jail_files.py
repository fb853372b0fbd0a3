from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...errors import JailkitError
from ...jail import runtime
from ...kernel.beneath import remove_tree
from ...spec.jail import JailSpec
from .. import files, resolve
from ..world import World
from . import limits
from .base import Operation


@dataclass(frozen=True)
class JailFiles(Operation):
    """The jail's own /etc files and its recipe. fresh: the jail is new, and stays disabled until all is there. old:
    data of the spec before a change, which undoing comes back to. home: where it has been moved to; old_home: where it
    was; the jail stays closed then."""

    spec: dict[str, Any] = field(default_factory=dict)
    fresh: bool = True
    old: dict[str, Any] = field(default_factory=dict)
    home: str = ""
    old_home: str = ""

    kind = "jail-files"

    def describe(self) -> str:
        return "write the jail's own /etc files and its start recipe"

    def apply(self, world: World) -> None:
        _write(world, self.spec, resolve.SETTING_UP if self.fresh else resolve.MOVING if self.home else "", self.home)

    def undo(self, world: World) -> None:
        if self.fresh:
            remove_tree(world.paths.jail(world.name))
            files.remove(world.paths.uid_mark(world.row().uid))
        elif self.old:
            _write(world, self.old, resolve.MOVING if self.home else "", self.old_home)
            if runtime.running(world.paths, world.row().uid) is not None:
                limits.hold(world)


def _write(world: World, data: dict[str, Any], reason: str, home: str) -> None:
    """reason: why the jail is closed; "" for what the recipe says already. home: "" for where it is."""
    row = world.row()
    home = home or row.home
    spec = resolve.settled(world.paths, world.config, JailSpec.model_validate(data))
    assert spec.template is not None
    template, image = world.template(world.paths, spec.template)
    if image is None:
        raise JailkitError("missing.image", f"template {spec.template} has no image", "run this command again")
    ids = (row.uid, row.gid, row.base)
    made = resolve.wanted(world.paths, template, spec, ids, home, image, world.look)
    reason = reason or resolve.kept_reason(world.paths, world.name, spec)
    resolve.write(world.paths, made.but(disabled=reason), world.sync)
    world.point("written")
    world.state.update(world.name, image=image, spec=data, home=home)
