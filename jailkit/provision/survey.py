"""How jails stand to what a manifest wants of them: what is to be added, what is to be changed and why, field by field,
and what on the host has drifted from what was applied. Reads only; accounts, templates and rows once for all.

Whether a jail is as it should be is decided by the planner itself (plan.plan_change): a jail without a step has no
difference. Only of the others is it asked where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..errors import JailkitError
from ..image.template import Template
from ..jail import recipe as recipes
from ..paths import CHROOT_GROUP, GROUP, Paths
from ..spec.config import Config
from ..spec.jail import MARK, JailSpec, changes
from . import change, files, inspect, keys, plan, resolve, suspension
from .facts import Facts
from .passwords import Hash
from .plan import Plan
from .state import Row, State
from .view import View

Asked = tuple[JailSpec, Hash | None]
"""What a jail is to be, with its password."""


@dataclass(frozen=True)
class Difference:
    """field: of the spec (``limits.memory``), or of the host: ``spec-file.FIELD``, ``account.shell``,
    ``account.groups``, ``key-file``, ``home``, ``home.owner``, ``recipe.FIELD``, ``etc/NAME`` (inside the jail),
    ``quota.disk``, ``quota.inodes``. have, want: plain values; None where there is none, or where it is secret
    (``password``). drift: the host is not as it was left; else something else is asked for."""

    field: str
    have: Any
    want: Any
    drift: bool = False

    def data(self) -> dict[str, Any]:
        return {"field": self.field, "have": self.have, "want": self.want, "drift": self.drift}


@dataclass(frozen=True)
class Finding:
    """One jail. kind: "add", "change", "same", "resume" (an interrupted plan is ended first), "refused" (error says
    why), "remove". plan: what would be done. asked: what it is to be."""

    name: str
    kind: str
    differences: tuple[Difference, ...] = ()
    plan: Plan | None = None
    error: JailkitError | None = None
    asked: Asked | None = None


class Survey:
    """Reads what is common to all jails when it is made. brief: of jails that are not there yet nothing is asked, and
    no plan is kept: who carries it out makes them anew."""

    def __init__(self, paths: Paths, config: Config, state: State | None, brief: bool = False) -> None:
        self._brief = brief
        self._paths, self._config = paths, config
        self._rows = {row.name: row for row in state.all()} if state else {}
        self._open = set(state.open_names()) if state else set()
        self._view = View(self._rows)

    def findings(self, wanted: Iterable[Asked]) -> Iterator[Finding]:
        """In the order of ``wanted``. Raises nothing of what is wrong with one jail."""
        for spec, password in wanted:
            try:
                found = self._finding(spec, password)
            except JailkitError as error:
                found = self._refused(spec, error)
            yield replace(found, asked=(spec, password), plan=None if self._brief else found.plan)

    def _refused(self, spec: JailSpec, error: JailkitError) -> Finding:
        """Of a jail that cannot be judged: a suspension is carried out all the same (suspension.py)."""
        row = self._rows.get(spec.user)
        made = suspension.plan(self._paths, row, spec, error)
        if made is None or row is None:
            return Finding(spec.user, "refused", error=error)
        rows = tuple(Difference(*each) for each in changes(JailSpec.model_validate(row.spec), spec))
        return Finding(spec.user, "change", rows, made)

    def _finding(self, spec: JailSpec, password: Hash | None) -> Finding:
        row = self._rows.get(spec.user)
        if spec.user in self._open:
            return Finding(spec.user, "resume")
        if row is None and self._brief:
            return Finding(spec.user, "add")
        if row is not None and (other := row.spec.get("manifest")) not in (None, spec.manifest):
            raise JailkitError(
                "conflict.manifest", f"{spec.user} is a jail of manifest {other}, not of {spec.manifest}",
                f"take it out of that one: jailctl set {spec.user} manifest=, then apply again",
            )  # fmt: skip
        template, image = self._template(spec)
        look, able, memo = self._view.look, self._view.able, self._view.memo
        facts = inspect.for_add(self._paths, self._config, row, spec, template, image, password, look, able, memo)
        made = plan.plan_change(spec, template.spec, self._config, facts, password, force=True)
        if row is None:
            return Finding(spec.user, "add", tuple(_all(spec, password)), made)
        if not made.operations and not (facts.home and facts.home.owner):
            return Finding(spec.user, "same", plan=made)
        rows = tuple(self._differences(spec, facts, row))
        if facts.home and facts.home.owner:
            error = JailkitError(
                "conflict.home-owner", f"the home {facts.home.path} belongs to {facts.home.owner}",
                f"chown {spec.user} {facts.home.path}, if nothing in it is that one's",
            )  # fmt: skip
            return Finding(spec.user, "refused", rows, made, error)
        return Finding(spec.user, "change", rows, made)

    def _differences(self, want: JailSpec, facts: Facts, row: Row) -> Iterator[Difference]:
        applied = JailSpec.model_validate(row.spec)
        asked = changes(applied, want)
        for name, old, new in asked:
            yield Difference(name, old, new)
        yield from _spec_file(applied, want, facts)
        yield from _account(facts)
        yield from self._key_file(applied, want)
        yield from _home(facts)
        if facts.suspended != want.suspended and applied.suspended == want.suspended:
            yield Difference("recipe.disabled", facts.suspended or "(not told)", want.suspended, True)
        if facts.password is False:
            yield Difference("password", None, None)
        if facts.files != "same":
            yield from self._files(applied, want, row, bool(asked))
        if facts.quota is not None and not facts.quota.held:
            quota, told = facts.quota, {name for name, _, _ in asked} & {"plan", "limits.disk", "limits.inodes"}
            drift = not told and not self._plan_changed(want)
            for name in ("disk", "inodes"):
                old, new = getattr(quota, f"old_{name}"), getattr(quota, name)
                if old != new:
                    yield Difference(f"quota.{name}", old or None, new or None, drift)

    def _plan_changed(self, want: JailSpec) -> bool:
        """Whether the file of its plan is another one than its recipe was made from."""
        try:
            have = recipes.load(self._paths, want.user)
        except JailkitError:
            return False
        return bool(have.plan) and have.stamp != recipes.stamp(self._paths, have.plan)

    def _key_file(self, applied: JailSpec, want: JailSpec) -> Iterator[Difference]:
        """What sshd reads, against what was applied: a change of the keys is one of the spec."""
        have = files.read(self._paths.key_file(want.user))
        if have == (keys.file_text(applied.keys) if applied.keys else None):
            return
        lines = have.decode(errors="replace").splitlines() if have is not None else []
        yield Difference("key-file", [line for line in lines if line != MARK], want.keys, True)

    def _files(self, applied: JailSpec, want: JailSpec, row: Row, asked: bool) -> Iterator[Difference]:
        """Recipe and files: against those of what was applied, where that can still be made."""
        try:
            have = recipes.load(self._paths, want.user)
        except JailkitError as error:
            yield Difference("recipe", "missing" if error.code == "missing.jail" else "damaged", "present", True)
            return
        before, after = self._wanted(applied, row), self._wanted(want, row)
        if before is None or after is None:
            return
        if have.world != before.world:  # an update, and it has not been started since
            if have.world != after.world or not asked:
                yield Difference("image", have.world[:12], after.world[:12])
            return
        planned = bool(before.plan) and have.stamp != before.stamp  # its plan has changed since
        for key, value in vars(have).items():
            if key not in ("disabled", "stamp") and value != getattr(before, key):
                yield from _recipe(key, value, getattr(after, key), not planned)

    def _template(self, spec: JailSpec) -> tuple[Template, str | None]:
        return self._view.template(self._paths, resolve.settled(self._paths, self._config, spec).template or "")

    def _wanted(self, spec: JailSpec, row: Row) -> recipes.Recipe | None:
        spec = resolve.settled(self._paths, self._config, spec)
        template, image = self._template(spec)
        if image is None:
            return None
        ids = (row.uid, row.gid, row.base)
        return resolve.wanted(self._paths, template, spec, ids, row.home, image, self._view.look)


def _all(spec: JailSpec, password: Hash | None) -> Iterator[Difference]:
    """Of a new jail all that is said of it."""
    for name, old, new in changes(JailSpec(user=spec.user), spec):
        yield Difference(name, old, new)
    if password is not None:
        yield Difference("password", None, None)


def _recipe(key: str, have: Any, want: Any, drift: bool) -> Iterator[Difference]:
    """Limits and files one by one."""
    if key not in ("limits", "files"):
        yield Difference(f"recipe.{key}", have, want, drift)
        return
    for name in sorted(have.keys() | want.keys()):
        old, new = have.get(name), want.get(name)
        if old != new and key == "limits":
            yield Difference(f"recipe.limits.{name}", old, new, drift)
        elif old != new:
            was, asked = (None if data is None else data.decode(errors="replace") for data in (old, new))
            yield Difference(f"etc/{name}", was, asked, drift)


def _spec_file(applied: JailSpec, want: JailSpec, facts: Facts) -> Iterator[Difference]:
    """An edit of the file that was never applied."""
    if facts.spec is None:
        yield Difference("spec-file", "missing", "present", True)
        return
    if not facts.marked:
        yield Difference("spec-file.mark", None, MARK, True)
    file = JailSpec.model_validate(facts.spec)
    asked = {name: value for name, value, _ in changes(want, file)}
    for name, _, edited in changes(applied, file):
        if name in asked:
            yield Difference(f"spec-file.{name}", edited, asked[name], True)


def _account(facts: Facts) -> Iterator[Difference]:
    account = facts.account
    if account is None or facts.confined:
        return
    if account.shell != facts.door_path:
        yield Difference("account.shell", account.shell, facts.door_path, True)
    chroot = facts.managed is not None and facts.managed.level == "chroot"
    have = [name for name, member in ((GROUP, account.member), (CHROOT_GROUP, account.chroot)) if member]
    want = [GROUP, CHROOT_GROUP] if chroot else [GROUP]
    if have != want:
        yield Difference("account.groups", have, want, True)


def _home(facts: Facts) -> Iterator[Difference]:
    home, managed = facts.home, facts.managed
    if home is None or managed is None or managed.existing:
        return
    if not home.kind:
        yield Difference("home", "missing", home.path, True)
    elif home.owner or change.own_home(facts):
        owner = f"{home.owner} ({home.uid})" if home.owner else home.uid
        yield Difference("home.owner", owner, 0 if managed.level == "chroot" else managed.uid, True)
