"""A jail under another name: from the facts to a plan.

The order, and why each boundary is safe when the process is killed there (operations/rename.py):

    rename            the row, in the transaction that writes the plan down: from here on only the new name has a jail,
                      and the plan is the new name's.
    close-old         the old name is still an account, and its jail starts no more.
    move-jail-files   no key opens the account any more; a recipe in a directory of another name starts nothing.
    rename-account    one rename of passwd(5): a login is one of the old name or of the new one, and either is refused.
    move-home, move-spool, jail-files, move-spec
                      nobody is in.
    enable            the new name's jail starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import JailkitError
from ..names import user_name
from ..paths import Paths
from ..spec.config import Config
from ..spec.jail import JailSpec
from . import inspect, resolve
from .facts import Facts
from .lookup import LIVE
from .operations import (
    CloseOld,
    Enable,
    JailFiles,
    MoveHome,
    MoveJailFiles,
    MoveSpec,
    MoveSpool,
    Operation,
    RenameAccount,
    RenameRow,
)
from .plan import Plan
from .state import OpenPlan, Row, State

if TYPE_CHECKING:
    from .host import Host
    from .host import Plan as AskedPlan


@dataclass(frozen=True)
class Rename:
    """What is asked for. force: end its sessions."""

    old: str
    new: str
    force: bool = False

    @property
    def others(self) -> tuple[str, ...]:
        """Whose lock is held as well."""
        return (self.old,)

    def judged(self, host: Host) -> AskedPlan:
        from .host import Plan as Asked

        made = plan(host.paths, host.config, host.known_state, self)
        return Asked(made.name, made.kind, made.operations, level=made.level, request=self)

    def is_that(self, opened: OpenPlan) -> bool:
        return opened.kind == "rename" and opened.steps[0][0]["old"] == self.old


def plan(paths: Paths, config: Config, state: State | None, request: Rename) -> Plan:
    """How the jail gets its new name; an empty plan where it had the old one once. Raise ``conflict.*``, ``busy.*``,
    ``unsafe.*``, ``missing.*``."""
    row = state.get(request.old) if state else None
    if row is None or state is None:
        if state is not None and state.was_called(request.new, request.old):
            return Plan(request.new, "rename", (), ())
        raise JailkitError("missing.jail", f"there is no jail of {request.old}", "jailctl list shows all")
    if state.open_plan(request.old) is not None:
        raise JailkitError("busy.plan", f"a change of {request.old} is not ended", f"jailctl add-user {request.old}")
    have = JailSpec.model_validate(row.spec)
    want = JailSpec.model_validate({**have.data(), "user": user_name(request.new)})
    home = row.home if have.home is not None else f"{os.path.dirname(row.home)}/{want.user}"
    reference = resolve.settled(paths, config, want).template
    assert reference is not None
    template, image = resolve.template(paths, reference)
    _free(paths, config, want.user)
    _ready(inspect.for_remove(paths, config, row, row.name), row, request)
    if home != row.home:
        place = inspect.home_at(home)
        if place.unsafe:
            raise JailkitError("unsafe.path", f"the home {home} would not be safe: {place.unsafe}", "mend that first")
        if place.kind:
            raise JailkitError("conflict.home-exists", f"{home} exists already", f"mv {home} {home}.old")
    if image is None or template.spec.level != row.level:
        raise JailkitError("missing.image", f"template {reference} has no image for it", f"jailctl show {row.name}")
    return Plan(want.user, "rename", tuple(_steps(row, have, want, home)), (), level=row.level)


def _steps(row: Row, have: JailSpec, want: JailSpec, home: str) -> list[Operation]:
    old, data = row.name, want.data()
    steps: list[Operation] = [
        RenameRow(f"{old} is to be {want.user}", old=old, spec=data, old_spec=have.data(), old_home=row.home),
        CloseOld("nobody may be in while it is moved", old=old, old_spec=have.data(), old_home=row.home),
        MoveJailFiles("they go by the name", old=old),
        RenameAccount("a login is by name", old=old, home=home, old_home=row.home),
    ]
    if home != row.home:
        steps.append(MoveHome("it goes by the name", home=row.home, to=home))
    steps += [
        MoveSpool("they go by the name", old=old),
        JailFiles("name and home are in them", spec=data, fresh=False, home=home),
        MoveSpec("it goes by the name", old=old, spec=data),
        Enable("everything is there"),
    ]
    return steps


def _free(paths: Paths, config: Config, name: str) -> None:
    """Raise unless nothing on this host goes by ``name``."""
    if name in config.never_touch:
        raise JailkitError("conflict.never-touch", f"{name} is a break-glass account", "choose another name")
    if LIVE.find(name) is not None or LIVE.group_exists(name):
        raise JailkitError("conflict.account-exists", f"there is an account or a group {name}", "choose another name")
    for path in (paths.spec(name), paths.key_file(name), paths.jail(name)):
        if os.path.lexists(path):
            raise JailkitError("conflict.spec-exists", f"{path} is there, of somebody before", f"ls -l {path}")


def _ready(facts: Facts, row: Row, request: Rename) -> None:
    """Raise unless the jail is whole, its account jailkit's own, and nobody in it."""
    if row.phase != "present":
        raise JailkitError("interrupted.phase", f"the jail of {row.name} is half {row.phase}", "jailctl doctor")
    if row.existing:
        raise JailkitError(
            "conflict.existing", f"the account {row.name} was there before jailkit, which gives it back as it was",
            f"jailctl remove-user {row.name}; usermod -l {request.new} {row.name}; add it again",
        )  # fmt: skip
    if facts.account is None or facts.account.uid != row.uid or not facts.account.local:
        raise JailkitError("conflict.account-changed", f"{row.name} is not the account it was", f"id {row.name}")
    if facts.spec is not None and JailSpec.model_validate(facts.spec).data() != row.spec:
        raise JailkitError(
            "conflict.edited", f"the spec file of {row.name} was edited and never applied",
            f"jailctl add-user {row.name} applies it",
        )  # fmt: skip
    if not facts.home_is_own or facts.home is None or facts.home.kind != "directory":
        raise JailkitError("missing.home", f"{row.home} is not the home of {row.name}", f"ls -ld {row.home}")
    if facts.mounts:
        raise JailkitError("busy.mounted", f"something is mounted at {facts.mounts[0]}", f"umount {facts.mounts[0]}")
    if facts.running and not request.force:
        raise JailkitError("busy.sessions", f"the jail of {row.name} runs", "--stop ends its sessions; or wait")
