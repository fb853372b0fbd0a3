from __future__ import annotations

from dataclasses import dataclass

from ...jail import recipe as recipes
from ...jail.stop import stop
from ...kernel import disk
from ...paths import Paths
from ...spec.jail import JailSpec
from .. import resolve
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class Enable(Operation):
    """The last step of adding: one atomic change of the recipe, and the user may log in, unless the jail is suspended.
    Whatever failed or was killed before leaves a jail that refuses to start. From here on the home is hers and in use,
    so an addition that came this far is finished, never undone."""

    kind = "enable"
    final = True

    def describe(self) -> str:
        return "let the user log in"

    def effective(self, paths: Paths, name: str) -> bool:
        return resolve.disabled(paths, name) not in resolve.UNDER_WAY

    def prepare(self, world: World) -> None:
        made = recipes.load(world.paths, world.name)
        spec = JailSpec.model_validate(world.row().spec)
        resolve.write_notice(world.paths, world.name, spec.suspended, world.sync)
        recipes.prepare(world.paths, made.but(disabled=resolve.suspension(spec)), world.sync)

    def apply(self, world: World) -> None:
        recipes.publish(world.paths, world.name)
        if world.sync:
            disk.sync_names(world.paths.jail(world.name))

    def undo(self, world: World) -> None:
        resolve.disable(world.paths, world.name, resolve.SETTING_UP)
        row = world.state.get(world.name)
        if row is not None:
            stop(world.paths, row.uid, world.name)


@dataclass(frozen=True)
class Disable(Operation):
    """The first step of removing: from now on no cold jail starts, so that what is ended stays ended."""

    kind = "disable"

    def describe(self) -> str:
        return "let nobody log in any more"

    def apply(self, world: World) -> None:
        world.state.update(world.name, phase="removing")
        resolve.disable(world.paths, world.name, resolve.REMOVING, world.sync)

    def undo(self, world: World) -> None:
        if world.state.get(world.name) is not None:
            spec = JailSpec.model_validate(world.row().spec)
            resolve.disable(world.paths, world.name, resolve.suspension(spec))
            world.state.update(world.name, phase="present")
