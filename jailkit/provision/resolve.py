"""From spec and template to the recipe that a cold start reads, and to the jail's own files."""

from __future__ import annotations

import os

from ..errors import JailkitError
from ..image import render, store, tags
from ..image.template import Template, jail_entries, load_template
from ..jail import recipe as recipes
from ..jail.recipe import Recipe
from ..kernel import disk
from ..paths import Paths
from ..spec.config import Config
from ..spec.fields import linger_seconds
from ..spec.jail import JailSpec
from . import files, layers, limits
from .lookup import LIVE, Lookup
from .state import Row

SETTING_UP = "being set up"
REMOVING = "being removed"
MOVING = "being moved"
RESTORING = "being restored"
UNDER_WAY = (SETTING_UP, REMOVING, MOVING, RESTORING)
SUSPENDED = "suspended: "
"""In the recipe of a jail that nobody may log in to, before what the user is told."""
NOTICE = "suspended"
"""File of the jail, with what the user is told: the hook looks for it before all else."""
_RELAY = "nameserver 127.0.0.1"
_FROM_ELSEWHERE = ("import", "commit", "tag")


def template(paths: Paths, reference: str) -> tuple[Template, str | None]:
    """The template that a jail of ``reference`` is made from, and the digest of its image: as it was when that was
    built, so that settings and root belong together; or as its folder is now, and None, where there is no image yet.

    A folder that is there and broken is an error all the same, and one that is gone, unless the image never came from
    it: whoever edited or moved it wants to know. Raise ``missing.template``, ``invalid.template``, ``missing.image``.
    """
    try:
        found: Template | None = load_template(paths, reference.partition(":")[0])
    except JailkitError as error:
        moves = tags.history(paths, reference)
        if error.code != "missing.template" or not moves or moves[-1].why not in _FROM_ELSEWHERE:
            raise
        found = None
    image = tags.current(paths, reference)
    if image is not None:
        return store.template(paths, image), image
    if found is None or ":" in reference:
        raise JailkitError("missing.image", f"there is no image {reference}", "jailctl image list shows all")
    return found, None


def settled(paths: Paths, config: Config, spec: JailSpec) -> JailSpec:
    """``spec`` with its template named: its own, else its plan's, else the host's default. Raise ``missing.plan``,
    ``invalid.plan``."""
    if spec.template is not None:
        return spec
    plan = limits.plan_of(paths, spec)
    named = plan.template if plan is not None and plan.template is not None else config.template
    return spec.model_copy(update={"template": named})


def home_of(spec: JailSpec, config: Config) -> str:
    """The home that a new account of ``spec`` gets."""
    return spec.home or f"{config.home_base}/{spec.user}"


def recipe(
    paths: Paths, spec: JailSpec, template: Template, ids: tuple[int, int, int], home: str, world: str
) -> Recipe:
    """What the template says, over it what the plan says, and over it what the spec says (settled). ids: uid, gid,
    base. world: of the image. Raise ``missing.plan``, ``invalid.plan``."""
    default, stamp = template.spec, recipes.stamp(paths, spec.plan or "")  # first: the plan may change while it is read
    plan = limits.plan_of(paths, spec)
    have = limits.settings(default, plan, spec)
    bounds = limits.numbers(limits.levels(default, plan, spec), spec.expires)
    assert spec.template is not None
    return Recipe(
        user=spec.user, uid=ids[0], gid=ids[1], base=ids[2], home=home, hostname=spec.host_name,
        template=spec.template, world=world, level=default.level, mode=default.root, writable=list(default.writable),
        connectors=list(default.connectors), shell=have["shell"].value, network=have["network"].value,
        linger=linger_seconds(have["linger"].value), plan=spec.plan or "", stamp=stamp,
        limits=bounds.limits, hours=bounds.hours, sources=bounds.sources,
        services=list(default.services), path=default.path, sftp=default.sftp, binds=list(default.binds),
        files={}, tmp_bytes=default.tmp_bytes, disabled="",
    )  # fmt: skip


def suspension(spec: JailSpec) -> str:
    """What the recipe of a finished jail says in ``disabled``."""
    return "" if spec.suspended is None else f"{SUSPENDED}{spec.suspended}"


def jail_files(template: Template, made: Recipe, gecos: str, group: str, resolv_conf: str) -> dict[str, bytes]:
    """The jail's own ``/etc`` files by name. resolv_conf: the host's; see :func:`dns_lines`."""
    user: dict[str, object] = {
        "name": made.user, "uid": made.uid, "gid": made.gid, "group": group, "gecos": _plain(gecos), "home": made.home,
        "shell": made.shell,
    }  # fmt: skip
    jail: dict[str, object] = {"hostname": made.hostname, "network": made.network}
    return jail_entries(template, user, jail, dns_lines(made, resolv_conf))


def dns_lines(made: Recipe, resolv_conf: str) -> list[str]:
    """The lines of resolv.conf(5) that mean something for the jail: with the host's network the host's; with the
    connector ``dns`` the relay's address in place of the servers'; else none."""
    found = render.dns_lines(resolv_conf)
    if made.network == "host":
        return found
    if "dns" not in made.connectors:
        return []
    return [_RELAY, *(line for line in found if not line.startswith(("nameserver ", "sortlist ")))]


def _plain(gecos: str) -> str:
    # a user may set it to anything, and a directory service hold any bytes
    return "".join(char if char.isprintable() and char != ":" else " " for char in gecos)[:200]


def wanted(
    paths: Paths, template: Template, spec: JailSpec, ids: tuple[int, int, int], home: str, image: str,
    look: Lookup = LIVE, world: str | None = None,
) -> Recipe:  # fmt: skip
    """The recipe as it should be now; reads the plan, the account, its group's name (by ``look``) and resolv.conf(5).
    spec: settled. world: of the image, where it is known. A jail file that is empty is left out: the image's
    placeholder is as empty."""
    made = recipe(paths, spec, template, ids, home, recipes.world(paths, image) if world is None else world)
    account = look.find(spec.user)
    group = look.group_name(ids[1]) or spec.user
    text = _read_text("/etc/resolv.conf") if made.network == "host" or "dns" in made.connectors else ""
    content = jail_files(template, made, account.gecos if account else "", group, text)
    made.files = {name: data for name, data in content.items() if data}
    return made


def compare(paths: Paths, made: Recipe, have: Recipe | None = None) -> str:
    """How what is on the disk (have, where it is read already) stands to what is wanted: "missing", "same" or "differ".
    ``disabled`` does not count."""
    try:
        have = have or recipes.load(paths, made.user)
    except JailkitError as error:
        return "missing" if error.code == "missing.jail" else "differ"
    # who rewrites a plan's file and changes nothing in it changes no jail: a start makes the recipe anew
    return "same" if have.but(disabled="", stamp=made.stamp) == made else "differ"


def write(paths: Paths, made: Recipe, sync: bool = True) -> None:
    """Write the jail's own files, the recipe last. Each is replaced as a whole, so it may be done again. sync: see
    files.write."""
    top = paths.jail(made.user)
    files.directory(top, 0o755)
    if not os.path.exists(paths.uid_mark(made.uid)):
        files.write(paths.uid_mark(made.uid), b"", 0o644, sync)  # empty, it takes no block
    if made.mode == "overlay":
        before = written(paths, made.user)
        if before is None or before.mode != "overlay":
            layers.make(paths, made.user, made.base)  # later, where it is missing, something is wrong: a start says so
    recipes.save(paths, made, sync)
    if sync:
        disk.sync_names(top)


def write_notice(paths: Paths, name: str, message: str | None, sync: bool = True) -> None:
    """What the hook shows to a user whose jail is suspended; None: it is not, and the hook goes on."""
    path = f"{paths.jail(name)}/{NOTICE}"
    if message is not None:
        files.write(path, f"{message}\n".encode(), 0o644, sync)
    elif os.path.lexists(path):
        files.remove(path)


def suspended(paths: Paths, name: str, have: Recipe | None = None) -> str | None:
    """What the user is told of a suspended jail; None: it is not suspended; "" where recipe (have, where it is read
    already) and hook disagree."""
    told = files.read(f"{paths.jail(name)}/{NOTICE}")
    reason = have.disabled if have is not None else disabled(paths, name)
    if told is None and not reason.startswith(SUSPENDED):
        return None
    message = reason.removeprefix(SUSPENDED)
    return message if reason.startswith(SUSPENDED) and told == f"{message}\n".encode() else ""


def suspend(paths: Paths, name: str, message: str | None) -> None:
    """Let nobody log in and have it said why, or (None) let the user in again. Each is one file of two; either alone
    refuses."""
    if message is not None:
        write_notice(paths, name, message)
    disable(paths, name, "" if message is None else f"{SUSPENDED}{message}")
    if message is None:
        write_notice(paths, name, None)


def refresh(paths: Paths, config: Config, row: Row) -> None:
    """Recipe and files of the jail of ``row`` for the image and the plan that are current. Raise ``missing.plan``,
    ``missing.image``, ``conflict.level``."""
    spec = settled(paths, config, JailSpec.model_validate(row.spec))
    have = recipes.load(paths, row.name)
    image = recipes.image(paths, have.but(template=spec.template))
    made = wanted(paths, store.template(paths, image), spec, (row.uid, row.gid, row.base), row.home, image)
    if made.level != row.level:
        raise JailkitError(
            "conflict.level", f"template {spec.template} is of level {made.level} now, the jail of {row.name} is not",
            f"give the template its level {row.level} back, or remove and add {row.name}",
        )  # fmt: skip
    write(paths, made.but(disabled=have.disabled))


def disable(paths: Paths, name: str, reason: str, sync: bool = True) -> None:
    """Set or lift ("") what keeps a cold jail from starting. A jail without a recipe that holds cannot start
    anyway. sync: see files.write."""
    try:
        made = recipes.load(paths, name)
    except JailkitError as error:
        if error.code in ("missing.jail", "invalid.recipe", "unsafe.path") and reason:
            return
        raise
    if made.disabled != reason:
        recipes.save(paths, made.but(disabled=reason), sync)
        if sync:
            disk.sync_names(paths.jail(name))


def kept_reason(paths: Paths, name: str, spec: JailSpec) -> str:
    """What a recipe that is written anew says in ``disabled``: as before; where there is none, what ``spec`` says."""
    have = written(paths, name)
    return have.disabled if have is not None else suspension(spec)


def written(paths: Paths, name: str) -> Recipe | None:
    """The recipe as it is on the disk; None where it is missing or damaged."""
    try:
        return recipes.load(paths, name)
    except JailkitError:
        return None


def disabled(paths: Paths, name: str) -> str:
    """Why the jail is disabled, or ""; a recipe that is missing or damaged says nothing."""
    have = written(paths, name)
    return have.disabled if have is not None else ""


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""
