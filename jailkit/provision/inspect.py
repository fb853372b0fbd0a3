"""Reading the facts of one jail from the host. Changes nothing, and follows nothing of the tenant's."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..errors import JailkitError
from ..image import store
from ..image.template import Template
from ..jail import recipe as recipes
from ..jail import runtime
from ..jail.recipe import Recipe
from ..kernel import proc
from ..kernel.beneath import require_root_owned_chain
from ..paths import CHROOT_GROUP, Paths
from ..spec import load
from ..spec.config import Config
from ..spec.jail import JailSpec
from ..spec.limits import Effective
from ..spec.plan import PlanSpec
from . import accounts, files, homes, ids, keys, limits, mounts, passwords, quota, resolve
from .facts import Account, Facts, Home, Managed
from .lookup import LIVE, Lookup
from .operations.reserve import LOGIN_DEFS
from .state import Row

_SHOWN = 8
T = TypeVar("T")
Memo = dict[tuple[object, ...], Any]
"""Answers that hold for many jails: what it is, with what it depends on."""


def for_add(
    paths: Paths, config: Config, row: Row | None, spec: JailSpec, template: Template, image: str | None,
    password: str | None, look: Lookup = LIVE, able: set[str] | None = None, memo: Memo | None = None,
) -> Facts:  # fmt: skip
    """What ``plan_add`` judges. template, image: see resolve.template. look: how accounts are looked at. able: see
    limits.able; None: it is asked. memo: what was found for another jail a moment ago and holds for this one.

    Raise ``invalid.spec``, ``unsafe.*`` where a file of ours cannot be read."""
    name, asked, spec = spec.user, spec, resolve.settled(paths, config, spec)
    entry, memo = look.find(name), {} if memo is None else memo
    have, marked = _spec(paths, name, row)
    written = resolve.written(paths, name) if row is not None else None
    home = row.home if row else entry.home if spec.existing and entry else resolve.home_of(spec, config)
    target = _target(row, spec, config)
    place = target.path if target else home
    plan = limits.plan_of(paths, spec)
    bounds = limits.levels(template.spec, plan, spec)
    return Facts(
        name,
        account=_account(entry, row is None, look) if entry else None,
        group=entry is None and look.group_exists(name),
        managed=_managed(row, asked),
        spec=have,
        marked=marked,
        home=home_at(home, row, memo) if home.startswith("/") else Home(home, "other"),
        image=image,
        files=_files(paths, row, spec, template, image, look, written, memo),
        keys=_keys(paths, spec),
        reference=spec.template or "",
        unused=tuple(_unused(template, plan)),
        shell=template.spec.level == "chroot" or _shell(paths, template, plan, spec, image, memo),
        suspended=resolve.suspended(paths, name, written) if row is not None else None,
        target=target,
        mounts=tuple(mounts.below([home])) if target else (),
        running=row is not None and runtime.running(paths, row.uid) is not None,
        unheld=tuple(limits.unheld(paths, bounds, template.spec.level, place, limits.able() if able is None else able)),
        weak=tuple(limits.weak(bounds)),
        quota=_quota(paths, row, place, name, template, bounds, memo),
        password=None if password is None else passwords.matches(password, look.password_field(name) or ""),
        door=os.access(paths.door, os.X_OK),
        door_path=paths.door,
        uid_min=_uid_min(config) if row is None else 1000,
    )


def _quota(
    paths: Paths, row: Row | None, home: str, name: str, template: Template, bounds: Mapping[str, Effective],
    memo: dict[Any, Any],
) -> quota.Quota | None:  # fmt: skip
    return quota.facts(paths, row, home, name, template.spec, bounds, memo) if home.startswith("/") else None


def for_remove(paths: Paths, config: Config, row: Row | None, name: str, look: Lookup = LIVE) -> Facts:
    """What ``plan_remove`` judges."""
    entry = look.find(name)
    have, marked = _spec(paths, name)
    return Facts(
        name,
        account=_account(entry, False, look) if entry else None,
        managed=_managed(row),
        spec=have,
        marked=marked,
        home=home_at(row.home) if row else None,
        mounts=tuple(mounts.below([row.home, paths.jail(name)])) if row else (),
        running=row is not None and runtime.running(paths, row.uid) is not None,
        quota=quota.facts_of_removal(paths, row) if row else None,
        uid_min=_uid_min(config),
    )


def for_suspension(paths: Paths, row: Row, want: JailSpec) -> Facts:
    """The little that a suspension needs. A spec file that cannot be read counts as none."""
    try:
        have, marked = _spec(paths, row.name)
    except JailkitError:
        have, marked = None, False
    return Facts(
        row.name,
        managed=_managed(row, want),
        spec=have,
        marked=marked,
        suspended=resolve.suspended(paths, row.name),
        running=runtime.running(paths, row.uid) is not None,
    )


def _target(row: Row | None, spec: JailSpec, config: Config) -> Home | None:
    """Where the home of a jail that is there is to be, where that is elsewhere."""
    if row is None or spec.existing or row.spec.get("home") == spec.home:
        return None
    wanted = resolve.home_of(spec, config)
    return home_at(wanted) if wanted != row.home else None


def _managed(row: Row | None, spec: JailSpec | None = None) -> Managed | None:
    if row is None:
        return None
    applied = spec is None or row.spec == spec.data()
    return Managed(
        row.uid, row.gid, row.phase, row.existing, row.home, row.old_shell, row.was_member, applied, row.level, row.spec
    )


def _spec(paths: Paths, name: str, row: Row | None = None) -> tuple[dict[str, object] | None, bool]:
    try:
        return load.jail_data(paths, name, row.spec if row is not None else None)
    except JailkitError as error:
        if error.code == "missing.spec":
            return None, False
        raise


def _account(entry: accounts.Entry, foreign: bool, look: Lookup = LIVE) -> Account:
    """foreign: it is not ours yet, so what else has its uid, its home, its groups or processes matters."""
    others = [other for other in pwd.getpwall() if other.pw_name != entry.name] if foreign else []
    field = look.password_field(entry.name)
    kind = "unknown" if field is None else "empty" if not field else "locked" if field[0] in "*!" else "set"
    return Account(
        uid=entry.uid,
        gid=entry.gid,
        gecos=entry.gecos,
        home=entry.home,
        shell=entry.shell,
        local=entry.local,
        member=look.is_member(entry.name),
        chroot=look.is_member(entry.name, CHROOT_GROUP),
        groups=tuple(accounts.groups_of(entry.name, entry.gid)) if foreign else (),
        sharing=tuple(sorted(other.pw_name for other in others if other.pw_uid == entry.uid)),
        home_of=tuple(sorted(other.pw_name for other in others if _overlap(entry.home, other.pw_dir))[:_SHOWN]),
        processes=tuple(sorted(proc.of_uid(entry.uid))[:_SHOWN]) if foreign else (),
        password=kind,
    )


def _overlap(home: str, other: str) -> bool:
    """Whether one directory is the other or above it. Homes such as ``/`` and ``/nonexistent`` are nobody's."""
    mine, theirs = os.path.normpath(home), os.path.normpath(other or "/")
    if mine != theirs and not theirs.startswith(mine + "/"):
        return False
    return theirs != "/" and os.path.isdir(theirs)  # asked last: it may mount somebody's home


def home_at(path: str, row: Row | None = None, memo: Memo | None = None) -> Home:
    """The directory where a home is, or is to be. row: of the jail that is there."""
    unsafe = _once(memo, ("chain", os.path.dirname(path)), lambda: _unsafe(os.path.dirname(path)))
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Home(path, unsafe=unsafe)
    kind = "directory" if stat.S_ISDIR(status.st_mode) else "link" if stat.S_ISLNK(status.st_mode) else "other"
    foreign = row is not None and not homes.is_own(status, row)
    owner = homes.owner(status.st_uid) if foreign else ""
    return Home(path, kind, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), unsafe, owner)


def _unsafe(directory: str) -> str:
    try:
        require_root_owned_chain(directory)
    except JailkitError as error:
        return error.message
    return ""


def _once(memo: Memo | None, key: tuple[object, ...], ask: Callable[[], T]) -> T:
    if memo is None:
        return ask()
    if key not in memo:
        memo[key] = ask()
    found: T = memo[key]
    return found


def _files(
    paths: Paths, row: Row | None, spec: JailSpec, template: Template, tagged: str | None, look: Lookup,
    written: Recipe | None, memo: Memo,
) -> str:  # fmt: skip
    if row is None or row.phase != "present":
        return "missing"
    if tagged is None:
        return "missing"
    world = _once(memo, ("world", tagged), lambda: recipes.world(paths, tagged))
    made = resolve.wanted(paths, template, spec, (row.uid, row.gid, row.base), row.home, tagged, look, world)
    return resolve.compare(paths, made, written)


def _keys(paths: Paths, spec: JailSpec) -> str:
    data = files.read(paths.key_file(spec.user))
    if data is None:
        return "missing" if spec.keys else "same"
    return "same" if spec.keys and data == keys.file_text(spec.keys) else "differ"


def _unused(template: Template, plan: PlanSpec | None) -> list[str]:
    """What a plan says for shells, where the jail has files only."""
    if template.spec.level != "chroot" or plan is None:
        return []
    return [name for name in ("shell", "network") if getattr(plan, name) is not None]


def _shell(
    paths: Paths, template: Template, plan: PlanSpec | None, spec: JailSpec, image: str | None, memo: Memo
) -> bool:
    shell = limits.settings(template.spec, plan, spec)["shell"].value
    return _once(memo, ("shell", id(template), shell), lambda: _is_program(paths, template, shell, image))


def _is_program(paths: Paths, template: Template, shell: str, image: str | None) -> bool:
    """Whether the login shell is a program that the jail will see: its path leads, links resolved, into a bind, or it
    is in the image. What is not built yet cannot be asked."""
    path = os.path.realpath(shell)
    if any(path.startswith(bind + "/") for bind in template.spec.binds):
        return os.path.isfile(path) and bool(os.stat(path).st_mode & 0o001)
    if image is None:
        return template.spec.source != "host"
    return store.has_program(paths, image, shell)


def _uid_min(config: Config) -> int:
    try:
        with open(LOGIN_DEFS, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except FileNotFoundError:
        text = ""
    return ids.limits(config, text)[0]
