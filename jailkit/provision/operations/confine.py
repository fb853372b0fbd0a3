from __future__ import annotations

from dataclasses import dataclass

from ...errors import JailkitError
from ...kernel import proc
from ...paths import CHROOT_GROUP
from .. import accounts
from ..world import World
from .base import Operation


@dataclass(frozen=True)
class Confine(Operation):
    """Put an account that is there into its jail: member of the group, then the door as its shell.

    In this order: a member whose shell is still the old one is stopped by the hook already, as the jail is disabled
    until the last operation. fresh: the account was not confined before, and may go back to that."""

    old_shell: str = ""
    was_member: bool = False
    fresh: bool = True

    kind = "confine"

    def describe(self) -> str:
        return "make the account a member of the group jailed, and the door its shell"

    def check(self, world: World) -> bool:
        found = accounts.find(world.name)
        groups = accounts.is_member(world.name) and accounts.is_member(world.name, CHROOT_GROUP) == _chroot(world)
        return found is not None and found.shell == world.paths.door and groups

    def apply(self, world: World) -> None:
        row = world.row()
        found = accounts.find(world.name)
        if found is None or found.uid != row.uid:
            raise JailkitError("conflict.account-gone", f"there is no account {world.name} with uid {row.uid} any more")
        if not accounts.is_member(world.name):
            accounts.join(world.paths, world.name)
        if accounts.is_member(world.name, CHROOT_GROUP) != _chroot(world):
            change = accounts.join if _chroot(world) else accounts.leave
            change(world.paths, world.name, CHROOT_GROUP)
        world.point("joined")
        if found.shell != world.paths.door:
            accounts.set_shell(world.paths, world.name, world.paths.door)
        if not self.check(world):
            raise JailkitError("host.account", f"{world.name} did not become a member with the door as its shell")
        left = list(proc.of_uid(row.uid)) if self.fresh else []
        if left:  # somebody logged in since the plan was made
            raise JailkitError(
                "busy.processes", f"{world.name} has processes outside a jail: {', '.join(map(str, left[:8]))}",
                f"loginctl terminate-user {world.name}, or pkill -KILL -u {world.name}; then try again",
            )  # fmt: skip

    def undo(self, world: World) -> None:
        if self.fresh:
            give_back(world, self.old_shell, self.was_member)


def _chroot(world: World) -> bool:
    return world.row().level == "chroot"


def give_back(world: World, shell: str, was_member: bool) -> None:
    """Undo :class:`Confine`: the shell first. While the group lasts, sshd and PAM keep refusing the disabled jail."""
    found = accounts.find(world.name)
    row = world.state.get(world.name)
    if found is None or row is None or found.uid != row.uid:
        return
    if found.local and found.shell == world.paths.door != shell:
        accounts.set_shell(world.paths, world.name, shell)
    world.point("shell-back")
    if not was_member and accounts.is_member(world.name):
        accounts.leave(world.paths, world.name)


@dataclass(frozen=True)
class GiveBack(Operation):
    """An account that was there before jailkit becomes what it was."""

    old_shell: str = ""
    was_member: bool = False

    kind = "give-back"
    final = True

    def describe(self) -> str:
        return f"give the account its shell {self.old_shell} back"

    def apply(self, world: World) -> None:
        give_back(world, self.old_shell, self.was_member)
