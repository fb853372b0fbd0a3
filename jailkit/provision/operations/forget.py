from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from ...errors import JailkitError
from ...kernel.beneath import remove_tree
from .. import files, usage
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class RemoveJailFiles(Operation):
    """The jail's own files and its runtime directory."""

    kind = "remove-jail-files"
    final = True

    def describe(self) -> str:
        return "remove the jail's own files"

    def apply(self, world: World) -> None:
        with contextlib.suppress(JailkitError, OSError):  # an account that cannot be kept does not keep the jail
            usage.last(world.paths, world.row())
        remove_tree(world.paths.jail(world.name))
        files.remove(world.paths.uid_mark(world.row().uid), world.sync)
        world.point("removed")
        runtime = world.paths.run_jail(world.row().uid)
        if os.path.isdir(runtime):  # not since the last boot
            remove_tree(runtime)


@dataclass(frozen=True)
class Forget(Operation):
    """The row goes; uid and range stay in the list of what was ever given."""

    kind = "forget"
    final = True

    def describe(self) -> str:
        return "forget the jail; its ids are never given again"

    def check(self, world: World) -> bool:
        return world.state.get(world.name) is None

    def apply(self, world: World) -> None:
        world.state.forget(world.name)
