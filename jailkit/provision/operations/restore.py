from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ...errors import JailkitError
from ...jail import chroot
from ...jail import recipe as recipes
from ...jail.stop import stop
from ...kernel import disk
from ...kernel.beneath import remove_tree, require_root_owned_chain
from ...paths import Paths
from .. import homes, layers, quota, resolve
from ..backup import check, process, snapshot
from ..backup.fill import Owner
from ..backup.judge import HOME, Shape
from ..lock import locked
from ..state import Row
from ..world import World
from .base import Operation


def below(row: Row) -> str:
    """Where in a backup the part of the home begins that is hers to fill."""
    return f"{HOME}/{chroot.FILES}" if row.level == "chroot" else HOME


@dataclass(frozen=True)
class Unpack(Operation):
    """What is to be a home, and a layer, made beside their places, in directories of root's: from the archive ``file``
    (``mark``: which file it was), or from the jail ``source``. A process with the new owner's ids does it.

    was: her ids in the archive. plain, strip: see Shape. token: part of the names."""

    home: str
    token: str
    file: str = ""
    mark: tuple[int, ...] = ()
    source: str = ""
    was: tuple[int, int] = (0, 0)
    plain: bool = False
    strip: int = 0
    layer: bool = False

    kind = "unpack"

    def describe(self) -> str:
        what = "its home and its layer" if self.layer else "its home"
        return f"copy {what} from {self.source}" if self.source else f"unpack {what} beside the place, from {self.file}"

    def prepare(self, world: World) -> None:
        row = world.row()
        _sweep(world, self.home, self.token)
        place = snapshot.beside(self.home, world.name, self.token)
        require_root_owned_chain(os.path.dirname(place))
        with snapshot.place(place, row) as made, layers.fresh(world.paths, world.name, row.base, self.token) as upper:
            parts = process.Parts(made, upper if self.layer else None)
            found = self._from_jail(world, row, parts) if self.source else self._from_file(world, row, parts)
            if row.level == "chroot":
                homes.complete_chroot(f"{place}/home", row.gid)
        disk.sync_file_system(place)
        if self.layer:
            disk.sync_file_system(layers.beside(world.paths, world.name, self.token))
        world.results.update(found)
        world.point("unpacked")

    def _from_file(self, world: World, row: Row, parts: process.Parts) -> dict[str, Any]:
        with check.opened(self.file) as fd:
            if check.mark(fd) != tuple(self.mark):
                raise JailkitError("conflict.archive-changed", f"{self.file} has changed meanwhile", "run it again")
            owner = Owner((self.was[0], self.was[1]), (row.uid, row.gid))
            shape = Shape(self.plain, self.strip, below(row))
            limits = check.room(os.path.dirname(self.home))
            return process.fill_from_archive(world.paths, row, parts, fd, limits, owner, shape, world.moved)

    def _from_jail(self, world: World, row: Row, parts: process.Parts) -> dict[str, Any]:
        with locked(world.paths, self.source):
            source = world.state.get(self.source)
            if source is None:
                raise JailkitError("missing.jail", f"there is no jail of {self.source} any more", "jailctl list")
            beside = snapshot.beside(source.home, source.name, self.token)
            with snapshot.taken(world.paths, source, source.home, beside, live=False, share=False) as (seen, _):
                return process.fill_from_jail(world.paths, source, seen, row, parts, Shape(below=below(row)))

    def apply(self, world: World) -> None:
        """All of it shows nowhere yet."""

    def undo(self, world: World) -> None:
        _sweep(world, self.home, self.token)


def _sweep(world: World, home: str, token: str) -> None:
    remove_tree(snapshot.beside(home, world.name, token))
    remove_tree(layers.beside(world.paths, world.name, token))


@dataclass(frozen=True)
class Swap(Operation):
    """The new home and layer take their places, each in one step; what was there is kept where they were."""

    home: str
    token: str
    layer: bool = False

    kind = "swap"

    def describe(self) -> str:
        return f"put {'home and layer' if self.layer else 'the home'} in place"

    def intent(self, world: World) -> dict[str, Any]:
        return {"inodes": {place: _inode(staged) for staged, place in self._pairs(world)}}

    def _pairs(self, world: World) -> list[tuple[str, str]]:
        found = [(f"{snapshot.beside(self.home, world.name, self.token)}/home", self.home)]
        if self.layer:
            found.append((layers.beside(world.paths, world.name, self.token), world.paths.layer(world.name)))
        return found

    def check(self, world: World) -> bool:
        return all(_inode(place) == world.note["inodes"][place] for _, place in self._pairs(world))

    def apply(self, world: World) -> None:
        row = world.row()
        for staged, place in self._pairs(world):
            if _inode(place) == world.note["inodes"][place]:
                continue
            if place == self.home and os.path.lexists(place) and not homes.is_own(os.lstat(place), row):
                raise JailkitError("unsafe.home-owner", f"{place} does not belong to this jail", f"ls -ld {place}")
            quota.adopt(staged, row)
            disk.take_place(staged, place)
            world.point("exchanged")

    def undo(self, world: World) -> None:
        inodes = world.note.get("inodes", {})
        for staged, place in reversed(self._pairs(world)):
            if inodes.get(place) is not None and _inode(place) == inodes[place]:
                disk.take_place(place, staged)


def _inode(path: str) -> list[int] | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return [status.st_dev, status.st_ino]


@dataclass(frozen=True)
class DropOld(Operation):
    """What was in the places before is deleted, now that all is well."""

    home: str
    token: str

    kind = "drop-old"
    final = True

    def describe(self) -> str:
        return "delete what was there before"

    def apply(self, world: World) -> None:
        _sweep(world, self.home, self.token)


@dataclass(frozen=True)
class Hold(Operation):
    """Nobody gets in while what is hers is exchanged. before: what kept her out already, or ""."""

    before: str = ""

    kind = "hold"

    def describe(self) -> str:
        return "let nobody log in for a moment"

    def apply(self, world: World) -> None:
        resolve.disable(world.paths, world.name, resolve.RESTORING)

    def undo(self, world: World) -> None:
        resolve.disable(world.paths, world.name, self.before)


@dataclass(frozen=True)
class Release(Operation):
    """The end of :class:`Hold`; from here on the new home may be in use."""

    before: str = ""

    kind = "release"
    final = True

    def describe(self) -> str:
        return "let the user log in again" if not self.before else "leave the jail shut, as it was"

    def effective(self, paths: Paths, name: str) -> bool:
        return resolve.disabled(paths, name) != resolve.RESTORING

    def apply(self, world: World) -> None:
        made = recipes.load(world.paths, world.name)
        if made.disabled == resolve.RESTORING:
            resolve.disable(world.paths, world.name, self.before)

    def undo(self, world: World) -> None:
        resolve.disable(world.paths, world.name, resolve.RESTORING)
        stop(world.paths, world.row().uid, world.name)
