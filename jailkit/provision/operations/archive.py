from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ...jail import freeze
from ...kernel.beneath import remove_tree
from .. import files
from ..backup import manifest, process, snapshot, target
from ..backup.process import Shown, Written
from ..world import World
from .base import Operation

_PACKED = {".gz": "gzip", ".tgz": "gzip", ".zst": "zstd", ".tzst": "zstd"}


def packer(file: str) -> str:
    """What the file's name says about how it is packed; "" not at all."""
    return _PACKED.get(os.path.splitext(file)[1], "")


@dataclass(frozen=True)
class WriteArchive(Operation):
    """A tar of the home at ``file``, root's alone; or, ``whole``, a backup: all that makes the jail again.

    It gets its name when it is whole and on the disk, by link(2), which never replaces anything. live: what runs in the
    jail runs on meanwhile."""

    home: str
    file: str
    whole: bool = False
    live: bool = False

    kind = "archive"

    def describe(self) -> str:
        return f"write a backup to {self.file}" if self.whole else f"write the home {self.home} to {self.file}"

    def check(self, world: World) -> bool:
        return self._finished(world) and not os.path.lexists(world.note["temporary"])

    def _finished(self, world: World) -> bool:
        """Whether the file there is the one that an earlier run has made: the same inode."""
        try:
            status = os.lstat(self.file)
        except FileNotFoundError:
            return False
        return [status.st_dev, status.st_ino] == world.note.get("inode")

    def intent(self, world: World) -> dict[str, Any]:
        directory, _, name = self.file.rpartition("/")
        return {
            "temporary": f"{directory}/.{name[:200]}.{os.urandom(8).hex()}",
            "beside": snapshot.beside(self.home, world.name, os.urandom(8).hex()),
        }

    def apply(self, world: World) -> None:
        self._sweep(world)
        if self._finished(world):
            return
        target.check(self.file)
        made = target.Target(self.file, world.note["temporary"])
        try:
            written, taken = self._write(world, made.fd)
            status = made.flush()
            result = {**vars(written), "left_out": list(written.left_out), "taken": taken, "file": self.file}
            world.remember(inode=[status.st_dev, status.st_ino], result=result)
            world.point("written")
            made.publish()
        finally:
            made.close()
        world.point("linked")
        world.results.update(result)

    def _write(self, world: World, output: int) -> tuple[Written, str]:
        row, name = world.row(), packer(self.file)
        if not self.whole:
            with snapshot.opened(world.paths, row, self.home, layer=False) as parts:
                return process.write(world.paths, row, parts, output, name, Shown("."), world.moved), "stopped"
        with snapshot.taken(world.paths, row, self.home, world.note["beside"], self.live) as (parts, how):
            data = manifest.of(world.paths, row, how, parts.layer is not None, world.look.password_field(row.name))
            return process.write(world.paths, row, parts, output, name, Shown("home", data), world.moved), how

    def undo(self, world: World) -> None:
        if self._finished(world):
            files.remove(self.file)
        self._sweep(world)

    def _sweep(self, world: World) -> None:
        if isinstance(world.note.get("temporary"), str):
            files.remove(world.note["temporary"])
        if isinstance(world.note.get("beside"), str):
            remove_tree(world.note["beside"])
        row = world.state.get(world.name)
        if row is not None:
            freeze.thaw(row.uid)
