from __future__ import annotations

import os
from dataclasses import dataclass

from ...errors import JailkitError
from .. import archive, files, homes
from ..world import World
from .base import Operation

_COMPRESSED = (".gz", ".tgz")


@dataclass(frozen=True)
class WriteArchive(Operation):
    """A tar of the home at ``file``, root's alone. It gets that name when it is whole and on the disk, by link(2),
    which never replaces anything."""

    home: str
    file: str

    kind = "archive"

    def describe(self) -> str:
        return f"write the home {self.home} to {self.file}"

    def check(self, world: World) -> bool:
        return self._finished(world) and not os.path.lexists(world.note["temporary"])

    def _finished(self, world: World) -> bool:
        """Whether the file there is the one that an earlier run has made: the same inode."""
        try:
            status = os.lstat(self.file)
        except FileNotFoundError:
            return False
        return [status.st_dev, status.st_ino] == world.note.get("inode")

    def apply(self, world: World) -> None:
        row = world.row()
        if self._finished(world):
            self._sweep(world)
            return
        self._sweep(world)
        archive.check_target(self.file)
        home = homes.open_own(self.home, row)
        if home is None:
            raise JailkitError("missing.home", f"{self.home} is not there to be archived", "leave --archive out")
        directory, _, name = self.file.rpartition("/")
        temporary = f"{directory}/.{name}.{os.urandom(8).hex()}"
        world.remember(temporary=temporary)
        output = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            found = archive.write(home, output, row.uid, row.gid, world.name, self.file.endswith(_COMPRESSED))
            os.fsync(output)
            status = os.fstat(output)
        except BaseException:
            files.remove(temporary)
            raise
        finally:
            os.close(output)
            os.close(home)
        world.remember(inode=[status.st_dev, status.st_ino], bytes=status.st_size, **found)
        world.point("written")
        os.link(temporary, self.file, follow_symlinks=False)
        world.point("linked")
        files.remove(temporary)

    def undo(self, world: World) -> None:
        if self._finished(world):
            files.remove(self.file)
        self._sweep(world)

    @staticmethod
    def _sweep(world: World) -> None:
        temporary = world.note.get("temporary")
        if isinstance(temporary, str):
            files.remove(temporary)
