from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import quota
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class SetQuota(Operation):
    """Limits of disk and inodes, for who is writing at this moment too. A home that was there before is tagged first:
    its top before what is in it, so an interrupted run has to do all of it again (the note says so)."""

    disk: int = 0
    inodes: int = 0
    old_disk: int = 0
    old_inodes: int = 0

    kind = "set-quota"

    def describe(self) -> str:
        return f"limit what is the jail's own: {quota.Limit(self.disk, self.inodes)}"

    def intent(self, world: World) -> dict[str, Any]:
        limited = self.disk or self.inodes
        return {"adopt": quota.uncounted(world.paths, world.row()) if limited else []}

    def apply(self, world: World) -> None:
        adopt = world.note.get("adopt", [])
        quota.put(world.paths, world.row(), quota.Limit(self.disk, self.inodes), adopt)

    def undo(self, world: World) -> None:
        row = world.state.get(world.name)
        if row is not None:
            quota.put(world.paths, row, quota.Limit(self.old_disk, self.old_inodes), [])


@dataclass(frozen=True)
class ClearQuota(Operation):
    """Before the home goes or becomes somebody else's: it needs both, the tree and the number. keep: the home stays."""

    old_disk: int = 0
    old_inodes: int = 0
    keep: bool = False

    kind = "clear-quota"

    def describe(self) -> str:
        return "lift the limits of disk and inodes"

    def apply(self, world: World) -> None:
        quota.clear(world.paths, world.row(), self.keep)

    def undo(self, world: World) -> None:
        row = world.state.get(world.name)
        if row is not None:
            limit = quota.Limit(self.old_disk, self.old_inodes)
            quota.put(world.paths, row, limit, quota.uncounted(world.paths, row) if limit else [])
