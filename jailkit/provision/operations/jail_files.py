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
    data of the spec before a change, which undoing comes back to."""

    spec: dict[str, Any] = field(default_factory=dict)
    fresh: bool = True
    old: dict[str, Any] = field(default_factory=dict)

    kind = "jail-files"

    def describe(self) -> str:
        return "write the jail's own /etc files and its start recipe"

    def apply(self, world: World) -> None:
        _write(world, self.spec, self.fresh)

    def undo(self, world: World) -> None:
        if self.fresh:
            remove_tree(world.paths.jail(world.name))
            files.remove(world.paths.uid_mark(world.row().uid))
        elif self.old:
            _write(world, self.old, False)
            if runtime.running(world.paths, world.row().uid) is not None:
                limits.hold(world)


def _write(world: World, data: dict[str, Any], fresh: bool) -> None:
    row = world.row()
    spec = resolve.settled(world.paths, world.config, JailSpec.model_validate(data))
    assert spec.template is not None
    template, image = world.template(world.paths, spec.template)
    if image is None:
        raise JailkitError("missing.image", f"template {spec.template} has no image", "run this command again")
    ids = (row.uid, row.gid, row.base)
    made, content = resolve.wanted(world.paths, template, spec, ids, row.home, image, world.look)
    reason = resolve.SETTING_UP if fresh else resolve.kept_reason(world.paths, world.name, spec)
    resolve.write(world.paths, made.but(disabled=reason), content, world.sync)
    world.point("written")
    world.state.update(world.name, image=image, spec=data)
