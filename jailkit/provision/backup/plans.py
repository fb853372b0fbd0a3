"""Backups, restores and copies as plans.

    backup    archive
    restore   unpack, hold, stop, require-unmounted, swap, release, drop-old: into a jail that is there. Until "swap" it
              runs on and nothing of it has changed; "release" lets the user in again; "drop-old" deletes.
    restore, clone   as an addition (plan.py), with "unpack" and "swap" in place of "make-home"."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...errors import JailkitError
from ...image.foreign.outside import shown
from ...jail import recipe as recipes
from ...names import user_name
from ...spec.jail import JailSpec
from .. import accounts
from ..operations import (
    DropOld,
    Hold,
    MakeHome,
    Operation,
    Release,
    RequireUnmounted,
    StopJail,
    Swap,
    Unpack,
    WriteArchive,
    WriteSpec,
)
from ..operations.restore import below
from ..state import OpenPlan, Row
from . import check, snapshot, target
from .judge import HOME, Shape
from .manifest import Manifest

if TYPE_CHECKING:
    from ..host import Host, Plan


def present(host: Host, name: str) -> Row:
    """The row of a jail that is there and whole. Raise ``missing.jail``, ``interrupted.phase``."""
    row = host.row(name)
    if row is None:
        raise JailkitError("missing.jail", f"there is no jail of {name}", "jailctl list shows all")
    if row.phase != "present":
        raise JailkitError("interrupted.phase", f"the jail of {name} is being made or removed", "run that again first")
    return row


def _token() -> str:
    return os.urandom(8).hex()


@dataclass(frozen=True)
class Backup:
    """A backup of a jail to the new file ``file``, an absolute path. live: without holding it still."""

    name: str
    file: str
    live: bool = False

    def judged(self, host: Host) -> Plan:
        from ..host import Plan

        row = present(host, user_name(self.name))
        target.check(self.file)
        with snapshot.opened(host.paths, row, row.home):
            step = WriteArchive("it was asked for", home=row.home, file=self.file, whole=True, live=self.live)
        return Plan(row.name, "backup", (step,), level=row.level, request=self)

    def is_that(self, opened: OpenPlan) -> bool:
        return False  # an interrupted one is undone


@dataclass(frozen=True)
class Restore:
    """A backup into the jail ``name``: of whom it is, or, ``into``, somebody else. home_only: the home alone, into a
    jail that is there; then it may be the tar of a home made by another program, and strip says how many leading
    components of its names are left out."""

    name: str
    file: str
    into: str | None = None
    home_only: bool = False
    strip: int = 0

    def judged(self, host: Host) -> Plan:
        name, goal = user_name(self.name), user_name(self.into or self.name)
        path = os.path.abspath(self.file)
        with check.opened(path) as fd:
            row = host.row(goal)
            plain = self.home_only and not check.sort(fd, host.paths)
            if self.strip and not plain:
                raise JailkitError("usage.restore", "--strip-components is for the tar of a home", "leave it out")
            shape = Shape(plain, self.strip, below(row) if row is not None else HOME)
            found = check.whole(host.paths, fd, shape, check.room(os.path.dirname(_home(host, row, goal))))
            made = found.manifest
            if made is not None and made.name != name:
                raise JailkitError(
                    "conflict.archive", f"it is a backup of {made.name}, not of {name}",
                    f"jailctl restore {made.name} FILE --as {goal}",
                )  # fmt: skip
            fill = {"file": path, "mark": check.mark(fd), "plain": plain, "strip": self.strip,
                    "was": (made.uid, made.gid) if made else (0, 0)}  # fmt: skip
        layer = found.layer and not self.home_only
        if row is not None:
            return self._into(host, present(host, goal), found, layer, fill)
        if made is None or self.home_only:
            raise JailkitError(
                "missing.jail", f"there is no jail of {goal} whose home it could become", f"jailctl add-user {goal}"
            )
        return self._again(host, goal, made, found, layer, fill)

    def _into(self, host: Host, row: Row, found: check.Checked, layer: bool, fill: dict[str, Any]) -> Plan:
        from ..host import Plan

        recipe = recipes.load(host.paths, row.name)
        warnings = _warnings(found)
        if layer and recipe.mode != "overlay":
            warnings.append("the root of the jail is not writable now: the layer in the backup is left out")
            layer = False
        elif layer and found.manifest is not None and found.manifest.image != recipes.image(host.paths, recipe):
            warnings.append("the layer was made on another image: look at it with jailctl diff")
        if found.manifest is not None and found.manifest.spec.data() != row.spec:
            warnings.append("the spec of the jail is another one than in the backup, and stays as it is")
        token, before = _token(), recipe.disabled
        steps = (
            Unpack("it is whole before anybody is disturbed", home=row.home, token=token, layer=layer, **fill),
            Hold("nobody should write into what is exchanged", before=before),
            StopJail("what runs has the old home"),
            RequireUnmounted("what is mounted there is not the user's", home=row.home),
            Swap("it is whole", home=row.home, token=token, layer=layer),
            Release("everything is there", before=before),
            DropOld("the new one is in its place", home=row.home, token=token),
        )
        return Plan(row.name, "restore", steps, tuple(warnings), level=row.level, request=self)

    def _again(
        self, host: Host, goal: str, made: Manifest, found: check.Checked, layer: bool, fill: dict[str, Any]
    ) -> Plan:  # fmt: skip
        spec = made.spec
        if goal != made.name:
            spec = renamed(spec, goal)
        elif spec.existing and accounts.find(goal) is None:
            spec = spec.model_copy(update={"existing": False})
        warnings = _warnings(found)
        if made.password:
            warnings.append(f"the password is not in a backup: passwd {goal}")
        plan = filled(host.plan_add(spec), host, layer, fill, warnings)
        if plan.level != made.level:
            raise JailkitError(
                "conflict.level", f"it is of a jail of level {made.level}; template {spec.template} is of {plan.level}",
                "jailctl template show; restore --home-only into a jail that is there",
            )  # fmt: skip
        return replace(plan, request=self)

    def is_that(self, opened: OpenPlan) -> bool:
        return any(step.get("op") == Unpack.kind and step.get("file") == os.path.abspath(self.file)
                   for step, _, _ in opened.steps)  # fmt: skip


@dataclass(frozen=True)
class Clone:
    """A jail ``name`` as ``source`` is: its spec, a copy of its home and its layer. keys: lines of public keys that may
    log in; same_keys: those of the source as well."""

    source: str
    name: str
    keys: tuple[str, ...] = ()
    same_keys: bool = False

    def judged(self, host: Host) -> Plan:
        source = present(host, user_name(self.source))
        spec = renamed(JailSpec.model_validate(source.spec), user_name(self.name))
        keys = [*(spec.keys if self.same_keys else []), *self.keys]
        spec = spec.model_copy(update={"keys": [], "suspended": None})
        if host.row(spec.user) is not None:
            raise JailkitError("conflict.exists", f"{spec.user} has a jail already", "choose another name")
        with snapshot.opened(host.paths, source, source.home) as parts:
            layer = parts.layer is not None
        plan = filled(host.plan_add(spec, keys), host, layer, {"source": source.name}, [])
        if plan.level != source.level:
            raise JailkitError("conflict.level", f"template {spec.template} is of level {plan.level} now", "")
        return replace(plan, request=self)

    def is_that(self, opened: OpenPlan) -> bool:
        return any(step.get("op") == Unpack.kind and step.get("source") == self.source for step, _, _ in opened.steps)


def renamed(spec: JailSpec, name: str) -> JailSpec:
    """The spec of another user's jail that is to be as this one: a new account, with a home and a name of its own, of
    no manifest."""
    if name == spec.user:
        raise JailkitError("usage.name", f"{name} is the name that it has", "choose another one")
    kept = {key: value for key, value in spec.data().items() if key not in ("home", "hostname", "existing", "manifest")}
    return JailSpec.model_validate({**kept, "user": name})


def filled(plan: Plan, host: Host, layer: bool, fill: dict[str, Any], warnings: list[str]) -> Plan:
    """A plan of an addition, with a home that is not empty."""
    home, token = _home_of(plan), _token()
    steps: list[Operation] = []
    for step in plan.operations:
        if isinstance(step, MakeHome):
            continue
        if isinstance(step, WriteSpec):
            steps.append(Unpack("the home is not to be an empty one", home=home, token=token, layer=layer, **fill))
            steps.append(Swap("it is whole", home=home, token=token, layer=layer))
        steps.append(step)
    steps.append(DropOld("the new one is in its place", home=home, token=token))
    if plan.kind != "add" or not any(isinstance(step, Unpack) for step in steps):
        raise JailkitError("conflict.exists", f"{plan.name} has a jail already", "jailctl list shows all")
    return replace(plan, operations=tuple(steps), warnings=(*plan.warnings, *warnings))


def _home_of(plan: Plan) -> str:
    return next((str(step.home) for step in plan.operations if step.kind == "reserve"), "")  # type: ignore[attr-defined]


def _home(host: Host, row: Row | None, name: str) -> str:
    return row.home if row is not None else f"{host.config.home_base}/{name}"


def _warnings(found: check.Checked) -> list[str]:
    warnings = [f"left out: {line}" for line in found.notes]
    if found.left_out:
        more = f" and {len(found.left_out) - 3} more" if len(found.left_out) > 3 else ""
        warnings.append(f"the backup itself lacks {'; '.join(map(shown, found.left_out[:3]))}{more}")
    return warnings
