from __future__ import annotations

from dataclasses import dataclass, field

from .. import files, keys
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class KeyFile(Operation):
    """The file that sshd reads the user's keys from. It comes before the account: sshd looks at it for members of the
    group only, so until there is such a member it opens nothing. old: the keys before a change, which undoing comes
    back to."""

    keys: tuple[str, ...] = field(default_factory=tuple)
    fresh: bool = True
    old: tuple[str, ...] | None = None

    kind = "key-file"

    def describe(self) -> str:
        count = len(self.keys)
        return (
            f"write {count} public key{'s' if count != 1 else ''} to the key file" if count else "remove the key file"
        )

    def check(self, world: World) -> bool:
        return files.read(world.paths.key_file(world.name)) == (keys.file_text(self.keys) if self.keys else None)

    def apply(self, world: World) -> None:
        _write(world, self.keys)

    def undo(self, world: World) -> None:
        if self.fresh:
            files.remove(world.paths.key_file(world.name))
        elif self.old is not None:
            _write(world, self.old)


def _write(world: World, lines: tuple[str, ...]) -> None:
    path = world.paths.key_file(world.name)
    if lines:
        files.write(path, keys.file_text(lines), 0o644, world.sync)
    else:
        files.remove(path, world.sync)


@dataclass(frozen=True)
class RemoveKeys(Operation):
    """No key opens anything any more, before the sessions are ended: nobody comes back in between."""

    keys: tuple[str, ...] = field(default_factory=tuple)

    kind = "remove-keys"

    def describe(self) -> str:
        return "remove the key file"

    def apply(self, world: World) -> None:
        files.remove(world.paths.key_file(world.name), world.sync)

    def undo(self, world: World) -> None:
        if self.keys:
            files.write(world.paths.key_file(world.name), keys.file_text(self.keys), 0o644)
