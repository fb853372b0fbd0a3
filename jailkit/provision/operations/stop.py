from __future__ import annotations

from dataclasses import dataclass

from ...errors import JailkitError
from ...jail.stop import stop
from .. import mounts
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class StopJail(Operation):
    """Ends the jail by its pid namespace and control group, its sessions outside, and what else has the uid."""

    kind = "stop"

    def describe(self) -> str:
        return "end the jail and its sessions"

    def apply(self, world: World) -> None:
        stop(world.paths, world.row().uid, world.name)


@dataclass(frozen=True)
class RequireUnmounted(Operation):
    """The proof before anything is deleted. The jail's own mounts are gone with its namespace; what is mounted below
    its directories in ours was put there by somebody, and is not ours to unmount (law 9; lazy unmounts lie).

    home: the one that is to be deleted; "" where it stays, mounted or not."""

    home: str

    kind = "require-unmounted"

    def describe(self) -> str:
        return f"prove that nothing is mounted in {self.home or 'what is deleted'}"

    def apply(self, world: World) -> None:
        found = mounts.below([world.paths.jail(world.name), *([self.home] if self.home else [])])
        if found:
            raise JailkitError("busy.mounted", f"something is mounted at {found[0]}", f"umount {found[0]}, then again")
