from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ...errors import JailkitError
from ...jail.stop import stop
from ...kernel import proc
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

    @classmethod
    def apply_all(cls, many: Sequence[tuple[Self, World]]) -> dict[str, Exception]:
        """One look at all processes. Where nothing has run since the last boot and nothing has the uid, nothing comes
        any more: the jails are disabled, their keys gone."""
        alive = proc.uids()
        return super().apply_all([
            (operation, world) for operation, world in many
            if world.row().uid in alive or os.path.isdir(world.paths.run_jail(world.row().uid))
        ])  # fmt: skip


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
