"""Images and the jails that use them: who keeps one from being pruned, updates, rollbacks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import JailkitError
from ..image import build, cache, contents, scratch, store, tags
from ..jail import recipe as recipes
from ..jail import runtime
from ..jail.record import read_record
from ..kernel.beneath import remove_tree
from ..paths import Paths
from ..spec import include
from .made_from import made_from

CACHE_DAYS = 14.0
"""Layers of the build cache that were used within that time survive a prune."""
_AT_ONCE = 64
"""How many images a prune locks at a time: each takes a descriptor."""


@dataclass(frozen=True)
class Image:
    """tags: that name it now. before: tags whose rollback it is. running: uids of jails that run in it. pinned: jails
    that start from it whatever its tag says. size: bytes of its files, as if they were not shared. made: seconds since
    the epoch."""

    digest: str
    template: str
    tags: tuple[str, ...]
    before: tuple[str, ...]
    running: tuple[int, ...]
    pinned: tuple[str, ...]
    files: int
    size: int
    made: int
    problem: str = ""

    @property
    def used(self) -> bool:
        return bool(self.tags or self.running or self.pinned)

    def data(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Pruned:
    """What a prune removes, or has removed. freed: bytes on the disk. layers: of the build cache."""

    images: tuple[str, ...]
    layers: int
    contents: int
    freed: int

    def data(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _References:
    """What keeps images: tags, rollbacks by tag, running jails by uid, pinned jails by name, each with its digest."""

    tags: dict[str, str]
    before: dict[str, str | None]
    running: dict[int, str]
    pinned: dict[str, str]

    def kept(self, everything: bool) -> set[str | None]:
        """Digests that a prune leaves alone."""
        before = [] if everything else self.before.values()
        return {*self.tags.values(), *before, *self.running.values(), *self.pinned.values()}


def _references(paths: Paths) -> _References:
    """Reads the recipe of every jail: to be asked once a command, not once an image."""
    named = tags.all_tags(paths)
    before = {reference: tags.before(paths, reference) for reference in named}
    return _References(named, before, _running(paths), _pinned(paths))


def all_images(paths: Paths) -> list[Image]:
    """Every image, the youngest first. Reads each manifest, the records of running jails and the recipes of all."""
    references = _references(paths)
    found = []
    for digest in store.digests(paths):
        with contextlib.suppress(FileNotFoundError):  # pruned since
            found.append(_image(paths, digest, references))
    return sorted(found, key=lambda image: (-image.made, image.digest))


def one(paths: Paths, digest: str) -> Image:
    """Raise ``missing.image``."""
    if digest not in store.digests(paths):
        raise JailkitError("missing.image", f"there is no image {digest[:12]}", "jailctl image list shows all")
    return _image(paths, digest, _references(paths))


def _running(paths: Paths) -> dict[int, str]:
    found = {}
    for entry in os.listdir(paths.run_jails) if os.path.isdir(paths.run_jails) else []:
        if entry.isdigit():
            try:
                record = read_record(paths.record(int(entry)))
            except (OSError, ValueError):
                continue
            if record is not None:
                found[int(entry)] = record.image
    return found


def _pinned(paths: Paths) -> dict[str, str]:
    found = {}
    for name in os.listdir(paths.jails) if os.path.isdir(paths.jails) else []:
        try:
            recipe = recipes.load(paths, name)
        except JailkitError:
            continue
        if recipe.image:
            found[name] = recipe.image
    return found


def _image(paths: Paths, digest: str, references: _References) -> Image:
    problem, template, sizes = "", "", []
    try:
        body = store.manifest(paths, digest)
        template = body["template"]["name"]
        sizes = [row["size"] for row in body["entries"] if row["kind"] == "file"]
    except JailkitError as error:
        problem = error.message
    return Image(
        digest, template,
        tuple(sorted(tag for tag, one in references.tags.items() if one == digest)),
        tuple(sorted(tag for tag, one in references.before.items() if one == digest)),
        tuple(sorted(uid for uid, one in references.running.items() if one == digest)),
        tuple(sorted(name for name, one in references.pinned.items() if one == digest)),
        len(sizes), sum(sizes), int(os.stat(paths.image(digest)).st_ctime), problem,
    )  # fmt: skip


@dataclass(frozen=True)
class Running:
    """A jail that runs in another image than it would start from now."""

    name: str
    uid: int
    image: str


def running_old(paths: Paths, references: Sequence[str]) -> list[Running]:
    """Running jails of ``references`` (tags) that run in an older image. Reads the records of running jails only."""
    found = []
    for uid, image in sorted(_running(paths).items()):
        record = runtime.running(paths, uid)
        if record is None:
            continue
        try:
            recipe = recipes.load(paths, record.user)
            if recipe.template in references and recipes.image(paths, recipe) != image:
                found.append(Running(record.user, uid, image))
        except JailkitError:
            continue
    return found


# -- prune


def prune(paths: Paths, everything: bool = False, dry_run: bool = False) -> Pruned:
    """Remove images that nothing uses, old layers of the build cache, and contents that are in no image any more.

    What a rollback would go to stays, and so do young layers, unless ``everything``. An image that a jail is just
    starting from stays as well. While a build is under way, contents are left for the next time. Raise OSError."""
    store.ready(paths)
    if not dry_run:
        scratch.clean(paths)
    kept = _references(paths).kept(everything)
    doomed = [digest for digest in store.digests(paths) if digest not in kept]
    removed = doomed if dry_run else _remove(paths, doomed, everything)
    with contents.alone(paths) as alone:
        if not alone:
            return Pruned(tuple(removed), 0, 0, 0)
        keep, layers = cache.needed(paths, 0 if everything else CACHE_DAYS, time.time())
        cached = sum(os.stat(path).st_size for path in layers)
        if not dry_run:
            for path in layers:
                os.unlink(path)
        gone = _links(paths, removed) if dry_run else Counter[str]()
        count, freed = contents.sweep(paths, keep, gone, dry_run)
    return Pruned(tuple(removed), len(layers), count, freed + cached)


def _links(paths: Paths, digests: Sequence[str]) -> Counter[str]:
    """How many names of each contents would go with the images."""
    found: Counter[str] = Counter()
    for digest in digests:
        try:
            found.update(contents.name_of(row) for row in store.rows(paths, digest) if row.kind == "file")
        except JailkitError:
            continue
    return found


def _remove(paths: Paths, doomed: Sequence[str], everything: bool) -> list[str]:
    """Take images away unless somebody holds them or has come to use them; return those that are gone.

    Who makes a reference holds the image meanwhile (tags.held; jail/images.py, until the jail's record says so). So
    once they are all locked, one more look at the references is true until they are removed."""
    removed: list[str] = []
    for at in range(0, len(doomed), _AT_ONCE):
        locks = {digest: _claim(paths, digest) for digest in doomed[at : at + _AT_ONCE]}
        try:
            kept = _references(paths).kept(everything)
            for digest, fd in locks.items():
                if fd >= 0 and digest not in kept:
                    gone = f"{paths.images}/{scratch.GONE}{digest}-{os.urandom(4).hex()}"
                    os.rename(paths.image(digest), gone)
                    remove_tree(gone)  # still locked, so that no other run cleans up what is being removed
                    removed.append(digest)
        finally:
            for fd in locks.values():
                if fd >= 0:
                    os.close(fd)
    return removed


def _claim(paths: Paths, digest: str) -> int:
    """A descriptor that locks the image for us alone; -1 if somebody holds it, or it is gone."""
    try:
        fd = os.open(paths.image(digest), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1  # by another prune
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.stat(paths.image(digest))):
            return fd  # and not one that another prune took away, and a build has made again, before it was locked
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return -1


# -- update and rollback


@dataclass(frozen=True)
class Update:
    """One template's update. changed: jails start from another image from now on."""

    template: str
    digest: str
    before: str | None
    changed: bool
    built: build.Built | None

    def data(self) -> dict[str, Any]:
        return {"template": self.template, "digest": self.digest, "before": self.before, "changed": self.changed}


Log = Callable[[str], None]


def update(paths: Paths, template: str, cache_too: bool = True, log: Log | None = None) -> Update:
    """Build the image of ``template``, try its smoke tests in a throw-away jail of it, and only then let the tag name
    it: all its dormant jails start from it from then on, in the time of one rename(2); a running jail keeps its root
    until it stops. Raise as build.build and build.smoke."""
    made = build.build(paths, template, cache_too, log)
    try:
        with tags.held(paths, made.digest):
            return _switched(paths, made, log)
    except JailkitError as error:
        if error.code != "missing.image":
            raise
    made = build.build(paths, template, cache_too, log)  # a prune came between; its layers are in the cache
    return _switched(paths, made, log)


def _switched(paths: Paths, made: build.Built, log: Log | None) -> Update:
    before = tags.current(paths, made.template)
    if made.digest != before:
        require_level(paths, made.template, made.digest)
        build.smoke(paths, made.digest, log)
    tags.move(paths, made.template, made.digest, "update", made.inputs)
    return Update(made.template, made.digest, before, made.digest != before, made)


def rollback(paths: Paths, reference: str, to: str | None = None, dry_run: bool = False) -> Update:
    """Let ``reference`` name the image that it named before, or ``to`` (a digest). Raise ``missing.image``,
    ``conflict.level``."""
    now = tags.current(paths, reference)
    if now is None:
        raise JailkitError("missing.image", f"there is no image {reference}", "jailctl image list shows all")
    target = to or tags.before(paths, reference)
    if target is None:
        raise JailkitError(
            "missing.image", f"{reference} has named no other image that is still there",
            f"jailctl image show {reference}; jailctl image rollback {reference} --to DIGEST",
        )  # fmt: skip
    retag(paths, reference, target, "rollback", dry_run, tags.inputs(paths, reference, target))
    return Update(reference, target, now, target != now, None)


def retag(paths: Paths, reference: str, digest: str, why: str, dry_run: bool = False, inputs: str = "") -> str | None:
    """Let ``reference`` name an image, unless jails are made from it that could not start from that one; return the
    digest that it named before. Raise as tags.move and :func:`require_level`."""
    require_level(paths, reference, digest)
    return tags.current(paths, reference) if dry_run else tags.move(paths, reference, digest, why, inputs)


def require_level(paths: Paths, reference: str, digest: str) -> None:
    """A jail stays in its level, as its home would be another one. Raise ``conflict.level`` where there are jails of
    ``reference`` and the image is for those of another level."""
    there = sorted({level for template, level, _ in made_from(paths) if template == reference})
    if not there:
        return
    level = store.template(paths, digest).spec.level
    if any(one != level for one in there):
        raise JailkitError(
            "conflict.level", f"image {digest[:12]} is of level {level}, jails of {reference} are of level {there[0]}",
            "a template of another name for jails of that level; a jail stays in its own",
        )  # fmt: skip


def templates(paths: Paths) -> tuple[list[str], list[str]]:
    """The templates that have an image; and names of images that came from elsewhere, such as an import, for which
    there is no template here: no update can build them."""
    mine: list[str] = []
    foreign: list[str] = []
    known = include.names(paths)
    for reference in tags.all_tags(paths):
        if ":" not in reference:
            moves = tags.history(paths, reference)
            built = reference in known or any(move.inputs for move in moves)
            (mine if built else foreign).append(reference)
    return mine, foreign
