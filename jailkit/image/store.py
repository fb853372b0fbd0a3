"""The images on the disk: ``images/<digest>/`` with ``root/``, ``manifest.json`` and ``world``.

A root's files are names of shared contents (contents.py). Its directory is complete from the moment that it has its
name; until then it is a build's scratch directory (scratch.py). It is 0700, as an image has a /tmp, which would be
everybody's on the host to write."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

from ..errors import InvalidFile, JailkitError
from ..kernel import disk
from ..kernel.beneath import remove_tree
from ..paths import Paths
from ..spec import load
from ..spec.template import TemplateSpec
from . import contents, layer, points, tags
from .layer import EPOCH, Row
from .template import Template
from .verify import check_tree
from .world import canonical_digest, settings, world

FORMAT = 2


def places(paths: Paths) -> dict[str, int]:
    """The directories that hold images and what belongs to them, with their modes."""
    return {paths.images: 0o711, paths.tags: 0o755, paths.contents: 0o700, paths.cache: 0o700, paths.logs: 0o700,
            paths.histories: 0o700}  # fmt: skip


def ready(paths: Paths) -> None:
    """Make these directories. Raise OSError."""
    for path, mode in ((paths.var, 0o755), *places(paths).items()):
        os.makedirs(path, mode, exist_ok=True)
        if os.stat(path).st_mode & 0o7777 != mode:
            os.chmod(path, mode)


# -- writing


def jail_texts(template: Template) -> dict[str, str]:
    """The files that are rendered once a jail, for a manifest. Raise ``invalid.template`` for one that is not UTF-8."""
    found = {}
    for name, (data, _) in sorted(template.jail_files.items()):
        try:
            found[name] = data.decode()
        except UnicodeDecodeError as error:
            text = f"is not UTF-8 at byte {error.start}"
            raise InvalidFile("invalid.template", template.directory, [(f"jail/etc/{name}", text)]) from None
    return found


def body_of(template: Template, rows: list[Row]) -> dict[str, Any]:
    """The manifest without its digest: ``{"format", "template", "jail_files", "entries"}``."""
    entries = [row.data() for row in rows]
    return {"format": FORMAT, "template": settings(template.spec), "jail_files": jail_texts(template),
            "entries": entries}  # fmt: skip


def publish(paths: Paths, template: Template, rows: list[Row], kept: contents.Store, scratch: str) -> tuple[str, bool]:
    """Make an image of ``rows`` (merged, sorted) unless it is there. scratch: the build's directory.

    Return its digest, and whether it is new. Raise OSError, ``io.contents``."""
    body = body_of(template, rows)
    digest = canonical_digest(body)
    if os.path.isfile(paths.image_manifest(digest)):
        return digest, False
    made = f"{scratch}/image"
    os.mkdir(made, 0o700)
    kept.settle()  # first: of two builds that add the same contents, both are to link to those of the store
    place(f"{made}/root", rows, kept)
    text = json.dumps({**body, "digest": digest}, sort_keys=True, separators=(",", ":")) + "\n"
    _write(f"{made}/manifest.json", text)
    _write(f"{made}/world", world(body["template"], body["jail_files"]) + "\n")
    disk.sync_file_system(made)
    return digest, _name(paths, made, digest)


def _name(paths: Paths, made: str, digest: str) -> bool:
    target = paths.image(digest)
    if os.path.isdir(target) and not os.path.isfile(paths.image_manifest(digest)):
        remove_tree(target)  # never one of ours: those appear whole
    try:
        os.rename(made, target)
    except OSError:
        if os.path.isfile(paths.image_manifest(digest)):
            return False  # another build of the same input was first
        raise
    disk.sync_names(paths.images)
    return True


def place(root: str, rows: list[Row], kept: contents.Store) -> None:
    """Make the directory ``root`` hold ``rows``: merged and sorted, so that what is above comes before what is below.
    Directories get their modes and times last."""
    os.mkdir(root, 0o700)
    directories = []
    for row in rows:
        path = root + row.path
        if row.kind == "directory":
            os.mkdir(path, 0o700)
            directories.append((path, row.mode))
        elif row.kind == "link":
            os.symlink(row.target, path)
            os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
        else:
            kept.link(row, path)
    for path, mode in (*reversed(directories), (root, 0o755)):
        os.chmod(path, mode)  # not by mkdir's mode: the umask is the caller's
        os.utime(path, (EPOCH, EPOCH))


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)


# -- reading


def digests(paths: Paths) -> list[str]:
    """Digests of all images that are there."""
    try:
        return sorted(name for name in os.listdir(paths.images) if tags.is_digest(name))
    except FileNotFoundError:
        return []


def find(paths: Paths, text: str) -> str:
    """The digest that ``text`` means: a tag, a digest, or the first 6 or more digits of one. Raise ``missing.image``,
    ``conflict.image``."""
    if len(text) >= 6 and all(char in "0123456789abcdef" for char in text):
        found = [digest for digest in digests(paths) if digest.startswith(text)]
        if len(found) == 1:
            return found[0]
        if found:
            raise JailkitError("conflict.image", f"{text} begins {len(found)} digests", "give more of it")
    try:
        digest = tags.current(paths, text)
    except JailkitError:
        digest = None
    if digest is None:
        short = len(text) < 6 and all(char in "0123456789abcdef" for char in text)
        hint = "at least six digits of a digest are needed" if short else "jailctl image list shows all"
        raise JailkitError("missing.image", f"there is no image {text!r}", hint)
    return digest


def manifest(paths: Paths, digest: str) -> dict[str, Any]:
    """The manifest of an image, see :func:`body_of`. Raise ``missing.image``, ``invalid.image``."""
    path = paths.image_manifest(digest)
    try:
        with open(path, encoding="utf-8") as file:
            body = json.load(file)
    except FileNotFoundError:
        raise JailkitError("missing.image", f"there is no image {digest[:12]}", "jailctl image list") from None
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    plain = {key: value for key, value in body.items() if key != "digest"} if isinstance(body, dict) else {}
    if not plain or body.get("digest") != digest or canonical_digest(plain) != digest:
        raise _damaged(path, f"it is not the manifest of {digest[:12]}")
    found: dict[str, Any] = body
    return found


def _damaged(path: str, why: str) -> JailkitError:
    where = os.path.dirname(path)
    return JailkitError("invalid.image", f"{path} is damaged: {why}", f"mv {where} away; jailctl image build TEMPLATE")


def rows(paths: Paths, digest: str) -> list[Row]:
    """What the image holds, sorted by path. Raise as :func:`manifest`."""
    return [layer.from_data(data) for data in manifest(paths, digest)["entries"]]


def template(paths: Paths, digest: str) -> Template:
    """The template that the image was built from, as it was then, without ``files/``, which are in the image."""
    body = manifest(paths, digest)
    spec = load.validate(TemplateSpec, body["template"], paths.image_manifest(digest), "invalid.image")
    texts = {name: (text.encode(), False) for name, text in body["jail_files"].items()}
    return Template(spec, paths.image(digest), {}, texts)


def has_program(paths: Paths, digest: str, path: str) -> bool:
    """Whether ``path`` is a program in the image itself; host directories that are shown on it do not count."""
    found = points.find({row.path: row for row in rows(paths, digest)}, path)
    return found is not None and found.kind == "file" and bool(found.mode & 0o001)


def verify(paths: Paths, digest: str) -> list[tuple[str, str]]:
    """Compare every byte, mode, owner and link of an image with its manifest. Return (path, what is wrong), sorted."""
    body = manifest(paths, digest)
    wrong = check_tree(paths.image_root(digest), {row["path"]: row for row in body["entries"]})
    try:
        with open(paths.image_world(digest), encoding="ascii") as file:
            said = file.read().strip()
    except (OSError, ValueError):
        said = ""
    if said != world(body["template"], body["jail_files"]):
        wrong.insert(0, ("world", "is not that of the manifest"))
    return wrong


def renamed(made: Template, name: str) -> Template:
    """``made`` as the template of another name (a commit, an import)."""
    return replace(made, spec=made.spec.model_copy(update={"name": name}))
