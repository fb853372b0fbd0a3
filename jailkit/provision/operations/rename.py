"""A jail under another name. The plan is the new name's, and the row has it from the plan's first moment, so nobody who
asks for either name meets half of two jails."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from typing import Any

from ...jail.stop import stop
from ...kernel import disk
from ...spec.jail import JailSpec
from ...spec.write import spec_text
from .. import accounts, files, resolve
from ..state import State
from ..world import World
from .base import Operation
from .spool import BY_NAME


@dataclass(frozen=True)
class RenameRow(Operation):
    """Uid and range stay; the ledger of ids keeps the old name. spec: data of the one that has the new name; old_spec:
    of the old one."""

    old: str
    spec: dict[str, Any] = field(default_factory=dict)
    old_spec: dict[str, Any] = field(default_factory=dict)
    old_home: str = ""

    kind = "rename"

    def describe(self) -> str:
        return f"call the jail of {self.old} by its new name"

    def check(self, world: World) -> bool:
        return world.state.get(world.name) is not None

    def apply(self, world: World) -> None:
        _state(world).rename(self.old, world.name, self.spec)

    def undo(self, world: World) -> None:
        if world.state.get(world.name) is not None:
            _state(world).rename(world.name, self.old, self.old_spec)
            world.state.update(self.old, home=self.old_home)


def _state(world: World) -> State:
    assert isinstance(world.state, State)  # no chunk of jails is renamed together
    return world.state


@dataclass(frozen=True)
class CloseOld(Operation):
    """Nobody gets in by the old name any more, and who is in is ended. Undone when all the rest is: then the jail is
    made again as it was."""

    old: str
    old_spec: dict[str, Any] = field(default_factory=dict)
    old_home: str = ""

    kind = "close-old"

    def describe(self) -> str:
        return f"let nobody log in as {self.old} any more, and end the jail and its sessions"

    def apply(self, world: World) -> None:
        if os.path.isdir(world.paths.jail(self.old)):
            resolve.disable(world.paths, self.old, resolve.MOVING)
        stop(world.paths, world.row().uid, self.old)

    def undo(self, world: World) -> None:
        row = world.row()
        spec = resolve.settled(world.paths, world.config, JailSpec.model_validate(self.old_spec))
        assert spec.template is not None
        template, image = world.template(world.paths, spec.template)
        if image is None:
            return  # it can start again when there is one: its recipe is made anew then
        ids = (row.uid, row.gid, row.base)
        made = resolve.wanted(world.paths, template, spec, ids, self.old_home, image, world.look)
        resolve.write(world.paths, made.but(disabled=resolve.suspension(spec)))


@dataclass(frozen=True)
class MoveJailFiles(Operation):
    """The jail's own directory, layer and all, and the file that sshd reads keys from. A recipe that names another user
    than its directory starts no jail."""

    old: str

    kind = "move-jail-files"

    def describe(self) -> str:
        return "give the jail's own files and its key file the new name"

    def apply(self, world: World) -> None:
        _rename(world.paths.key_file(self.old), world.paths.key_file(world.name))
        world.point("keys")
        _rename(world.paths.jail(self.old), world.paths.jail(world.name))

    def undo(self, world: World) -> None:
        _rename(world.paths.jail(world.name), world.paths.jail(self.old))
        _rename(world.paths.key_file(world.name), world.paths.key_file(self.old))


def _rename(old: str, new: str) -> None:
    """Within a directory of root's; what was done already is left."""
    if os.path.lexists(old) and not os.path.lexists(new):
        os.rename(old, new)
        disk.sync_names(os.path.dirname(new))


@dataclass(frozen=True)
class RenameAccount(Operation):
    """Name, group and home, at one instant: the rename of passwd(5). Memberships and password come along."""

    old: str
    home: str
    old_home: str

    kind = "rename-account"

    def describe(self) -> str:
        return f"give account and group of {self.old} the new name"

    def apply(self, world: World) -> None:
        accounts.rename(world.paths, self.old, world.name, world.row().uid, self.home, world.point)

    def undo(self, world: World) -> None:
        row = world.row()
        if any(found is not None and found.uid == row.uid for found in map(accounts.find, (world.name, self.old))):
            accounts.rename(world.paths, world.name, self.old, row.uid, self.old_home)


@dataclass(frozen=True)
class MoveSpool(Operation):
    """What lies under the user's name and is hers: mail box and crontab. A later user of the old name must not find
    them (shadow#79)."""

    old: str

    kind = "move-spool"

    def describe(self) -> str:
        return "give mail box and crontab the new name"

    def apply(self, world: World) -> None:
        _spool(self.old, world.name, world.row().uid)

    def undo(self, world: World) -> None:
        _spool(world.name, self.old, world.row().uid)


def _spool(old: str, new: str, uid: int) -> None:
    for directory in BY_NAME:
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                status = os.stat(old, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and status.st_uid == uid:
                    os.link(old, new, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)  # replaces nothing
                    os.unlink(old, dir_fd=fd)
            finally:
                os.close(fd)


@dataclass(frozen=True)
class MoveSpec(Operation):
    """The spec file under the new name, with the comments of the old one."""

    old: str
    spec: dict[str, Any] = field(default_factory=dict)

    kind = "move-spec"

    def describe(self) -> str:
        return "write the spec file under the new name, and remove the old one"

    def intent(self, world: World) -> dict[str, Any]:
        data = files.read(world.paths.spec(self.old))
        return {"text": None if data is None else data.decode(errors="replace")}

    def apply(self, world: World) -> None:
        text = spec_text(JailSpec.model_validate(self.spec), world.note.get("text") or "")
        files.write(world.paths.spec(world.name), text.encode(), 0o600)
        world.point("written")
        files.remove(world.paths.spec(self.old))

    def undo(self, world: World) -> None:
        if isinstance(text := world.note.get("text"), str):
            files.write(world.paths.spec(self.old), text.encode(), 0o600)
        files.remove(world.paths.spec(world.name))
