"""What a jail with an "overlay" root has changed in it: made with the jail, looked at, dropped, made an image of.

On the disk: ``jails/<name>/layer/{upper,work}``, of overlayfs. Ids are the jail's own: her uid for what is hers, the
first of the jail's range for root's. The directory is root's and 0700, so nobody of the host reaches a file in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from ..errors import JailkitError
from ..image import compare, contents, layer, points, scratch, store, tags, upper
from ..image.compare import Change
from ..image.template import Template
from ..image.world import canonical_digest
from ..jail import recipe as recipes
from ..jail import runtime
from ..jail import stop as jail_stop
from ..jail.recipe import Recipe
from ..kernel import disk, quota
from ..kernel.beneath import remove_tree
from ..names import image_reference
from ..paths import Paths
from .lock import locked

Log = Callable[[str], None]


@dataclass(frozen=True)
class Diff:
    """changes: sorted by path; of a directory that is gone, itself only. left_out: what she made that no image has, a
    line each."""

    changes: tuple[Change, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Commit:
    """digest: the image made, which ``tag`` names now; before: what it named. changes: names that differ from the image
    below. left_out: what was dropped, a line each."""

    tag: str
    digest: str
    before: str | None
    changes: int
    left_out: tuple[str, ...]


def make(paths: Paths, name: str, base: int) -> None:
    """Make the layer of a jail that has none yet. It has its name when it is whole."""
    if not os.path.lexists(paths.layer(name)):
        os.rename(_fresh(paths, name, base), paths.layer(name))
        disk.sync_names(paths.jail(name))


def beside(paths: Paths, name: str, token: str) -> str:
    """Where what is to be the layer of a jail is made."""
    return f"{paths.layer(name)}.{token}"


@contextlib.contextmanager
def fresh(paths: Paths, name: str, base: int, token: str) -> Iterator[int]:
    """An empty layer :func:`beside` the one that is there, which counts for nobody until it takes its place: a
    descriptor of its upper directory."""
    made = _fresh(paths, name, base, token, counts=False)
    fd = os.open(f"{made}/upper", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _fresh(paths: Paths, name: str, base: int, token: str = "new", counts: bool = True) -> str:
    made = beside(paths, name, token)
    remove_tree(made)  # of a run that was killed
    quota.directory(made, base if counts else 0)
    for part, owner, mode in (("upper", base, 0o755), ("work", 0, 0o700)):
        os.mkdir(f"{made}/{part}", 0o700)
        os.chown(f"{made}/{part}", owner, owner)
        os.chmod(f"{made}/{part}", mode)
    disk.sync_names(made)
    return made


def diff(paths: Paths, name: str) -> Diff:
    """What differs between the root of ``name`` and the image below it. Reads all that she wrote; while the jail runs,
    as it is at some moment. Raise ``missing.*``, ``conflict.root``, ``busy.layer``, ``invalid.image``."""
    recipe = _overlaid(paths, name)
    below = store.rows(paths, recipes.image(paths, recipe))
    found = upper.read(f"{paths.layer(name)}/upper", contents.Counted(), recipe.base)
    return Diff(tuple(_changes(below, found.rows)), tuple(f"{path}: {what}" for path, what in found.dropped))


def _changes(below: list[layer.Row], above: list[layer.Row]) -> list[Change]:
    found = compare.rows(below, layer.merge([below, above]))
    gone = {change.path for change in found if change.kind == "removed"}
    return [change for change in found if change.kind != "removed" or os.path.dirname(change.path) not in gone]


def reset(paths: Paths, name: str, end: bool = False, dry_run: bool = False) -> int:
    """Drop what ``name`` has changed in her root; return how many names of it were (would be) removed. end: end the
    jail first if it runs. Killed at any point, she has all of it or nothing. Raise ``missing.jail``,
    ``conflict.root``, ``busy.*``, OSError."""
    recipe = _overlaid(paths, name, missing=True)
    if dry_run:
        return _count(paths, recipe)
    with locked(paths, name), _cold(paths, recipe, end):
        count = _count(paths, recipe)
        made = _fresh(paths, name, recipe.base)
        disk.take_place(made, paths.layer(name))
        remove_tree(made)
    return count


def commit(
    paths: Paths, name: str, reference: str, end: bool = False, dry_run: bool = False, log: Log = lambda line: None
) -> Commit:
    """Make an image of the root of ``name`` as it is, and let ``reference`` (TEMPLATE:TAG) name it. All in it becomes
    root's, modes are normalised, what no image has is left out. Its settings are those of the image below.

    end: end the jail first if it runs. dry_run: say what it would be. Raise ``usage.commit``, ``missing.*``,
    ``conflict.root``, ``busy.*``, ``invalid.image`` (a mount point is no directory any more), OSError."""
    template, _, tag = image_reference(reference).partition(":")
    if not tag:
        text = f"{reference} without a tag is what every jail of it starts from"
        raise JailkitError("usage.commit", text, f"jailctl commit {name} {reference}:TAG; then jailctl image tag")
    recipe = _overlaid(paths, name)
    if dry_run:
        rows, made, done = _committed(paths, recipe, template, contents.Counted())
        digest = canonical_digest(store.body_of(made, rows))
        return replace(done, tag=reference, digest=digest, before=tags.current(paths, reference))
    store.ready(paths)
    with (
        locked(paths, name), _cold(paths, recipe, end), contents.in_use(paths), scratch.directory(paths) as place,
    ):  # fmt: skip
        log("reading what was changed")
        kept = contents.Store(paths, place)
        rows, made, done = _committed(paths, recipe, template, kept)
        log("writing the image")
        digest, _ = store.publish(paths, made, rows, kept, place)
        return replace(done, tag=reference, digest=digest, before=tags.move(paths, reference, digest, "commit"))


def _committed(
    paths: Paths, recipe: Recipe, template: str, kept: layer.Contents
) -> tuple[list[layer.Row], Template, Commit]:
    """The rows of the whole root, the image's template under the name ``template``, and what is to be said of it."""
    digest = recipes.image(paths, recipe)
    below = store.rows(paths, digest)
    found = upper.read(f"{paths.layer(recipe.user)}/upper", kept, recipe.base)
    made, rows = store.renamed(store.template(paths, digest), template), layer.merge([below, found.rows])
    points.check(made.spec, made.jail_names, rows)
    return rows, made, Commit("", "", None, len(_changes(below, found.rows)), tuple(found.warnings()))


def _overlaid(paths: Paths, name: str, missing: bool = False) -> Recipe:
    """The recipe of a jail that has a layer, or (``missing``) should have one."""
    recipe = recipes.load(paths, name)
    there = os.path.isdir(f"{paths.layer(name)}/upper")
    if not there and recipe.mode == "overlay" and not missing:
        raise JailkitError("missing.layer", f"{paths.layer(name)} is missing", f"jailctl reset {name}: an empty one")
    if not there and recipe.mode != "overlay":
        what = "read-only" if recipe.mode == "readonly" else "ephemeral: what she changes in it goes when her jail ends"
        raise JailkitError(
            "conflict.root", f"the root of {name} is {what}", 'root = "overlay" in its template keeps it'
        )
    return recipe


@contextlib.contextmanager
def _cold(paths: Paths, recipe: Recipe, end: bool) -> Iterator[None]:
    """The jail does not run, and none of its logins starts it, until this ends."""
    if end:
        jail_stop.stop(paths, recipe.uid, recipe.user)
    runtime.prepare(paths, recipe.uid, recipe.gid, recipe.user)
    with runtime.Locked(paths, recipe.uid):
        if runtime.running(paths, recipe.uid) is not None:
            hint = f"jailctl stop {recipe.user}; or the same with --stop: her sessions end"
            raise JailkitError("busy.jail", f"the jail of {recipe.user} runs", hint)
        runtime.clear(paths, recipe.uid, recipe.user)
        yield


class _Unread:
    """Contents that nobody looks at."""

    def add(self, source: BinaryIO, executable: bool, private: bool) -> tuple[str, int]:
        return "", 0


def _count(paths: Paths, recipe: Recipe) -> int:
    """Names that she has in her layer. The directories that a start makes there are not hers."""
    if not os.path.isdir(f"{paths.layer(recipe.user)}/upper"):
        return 0
    found = upper.read(f"{paths.layer(recipe.user)}/upper", _Unread(), recipe.base)
    made = {"/".join(path.split("/")[:end]) for path in recipe.writable for end in range(2, 2 + path.count("/"))}
    names = {row.path for row in found.rows} | {path for path, _ in found.dropped}
    return len(names - made)
