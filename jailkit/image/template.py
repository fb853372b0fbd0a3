"""A template on the disk: its spec, its ``files/`` (into the image) and ``jail/etc/`` (rendered once a jail), with
those of all that it includes: a file of the includer replaces one of the same path."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from ..errors import InvalidFile, InvalidFiles, JailkitError, together
from ..paths import Paths
from ..spec import include, load
from ..spec.template import TemplateSpec
from . import render

SUFFIX = ".j2"


Tree = dict[str, tuple[bytes, bool]]


@dataclass(frozen=True)
class Template:
    """files, jail_files: path below ``files/`` or ``jail/etc/``, with its content and whether it is executable;
    a name that ends in ``.j2`` is rendered, and loses that ending.

    directory: the folder that a relative name in the source's table starts from. origins: where what is said comes
    from, the name of a template or part by path: of settings as in :class:`include.Resolved`, of files as
    ``files/etc/profile`` and ``jail/etc/passwd.j2``. folders: of these templates and parts, by name."""

    spec: TemplateSpec
    directory: str
    files: Tree = field(repr=False)
    jail_files: Tree = field(repr=False)
    origins: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    folders: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def jail_names(self) -> list[str]:
        """Names below a jail's ``etc`` that are bound over the image's ``/etc``."""
        return sorted(_plain(name) for name in self.jail_files)

    @property
    def own_folder(self) -> str:
        """The template's own folder, which holds its template.toml."""
        return self.folders.get(self.spec.name, self.directory)

    def folder(self, path: str) -> str:
        """The folder of the template or part that ``path`` (``files/...``) lies in."""
        return self.folders.get(self.origins.get(path, ""), self.directory)


def load_template(paths: Paths, name: str) -> Template:
    """Raise ``missing.template``, ``invalid.template`` (every error of every file at once), ``unsafe.path``."""
    pieces, failures = include.walk(paths, name)
    resolved = None
    if not failures:
        try:
            resolved = include.whole(pieces)
        except InvalidFile as failure:
            failures.append(failure)
    trees: dict[str, Tree] = {"files": {}, "jail/etc": {}}
    origins = dict(resolved.origins) if resolved else {}
    for piece in pieces:
        try:
            for part, own in own_trees(piece.directory).items():
                _over(trees[part], own)
                origins.update({f"{part}/{path}": piece.name for path in own})
        except InvalidFile as failure:
            failures.append(failure)
    if failures or resolved is None:
        raise together(failures)
    folders = {piece.name: piece.directory for piece in pieces}
    return Template(resolved.spec, resolved.directory, trees["files"], trees["jail/etc"], origins, folders)


def own_trees(directory: str) -> dict[str, Tree]:
    """``files`` and ``jail/etc`` of one folder, without what it includes. Raise ``invalid.template``."""
    found: dict[str, Tree] = {}
    errors: list[tuple[str, str]] = []
    for part in ("files", "jail/etc"):
        try:
            found[part] = _read(directory, part)
        except InvalidFile as failure:
            errors += failure.errors
    errors += [
        (f"jail/etc/{name}", "jail/etc holds plain files only") for name in found.get("jail/etc", ()) if "/" in name
    ]
    if errors:
        raise InvalidFile("invalid.template", directory, errors)
    return found


def _over(whole: Tree, own: Tree) -> None:
    """Put ``own`` over ``whole``: a file also replaces one that would be a directory above it, and all below it."""
    plain = [_plain(path) for path in own]
    for path in list(whole):
        old = _plain(path)
        if any(new == old or new.startswith(f"{old}/") or old.startswith(f"{new}/") for new in plain):
            del whole[path]
    whole.update(own)


def _read(directory: str, part: str) -> Tree:
    found: Tree = {}
    errors: list[tuple[str, str]] = []
    top = f"{directory}/{part}"
    for base, names, files in os.walk(top, followlinks=False):
        names.sort()
        for name in [*names, *files]:
            path = f"{base}/{name}"
            relative = os.path.relpath(path, top)
            mode = os.lstat(path).st_mode
            if not name.isprintable() or not relative.isascii():
                errors.append((f"{part}/{relative!r}", "has a name that is not plain ASCII"))
            elif stat.S_ISLNK(mode):
                errors.append((f"{part}/{relative}", "is a symbolic link; use links in template.toml"))
            elif not stat.S_ISDIR(mode):
                try:
                    found[relative] = (load.read_trusted(path), bool(mode & 0o111))
                except JailkitError as error:
                    errors.append((f"{part}/{relative}", error.message))
    if errors:
        raise InvalidFile("invalid.template", directory, sorted(errors))
    return found


def rendered_files(template: Template) -> dict[str, tuple[bytes, bool]]:
    """``files/`` as they go into the image: by path without the leading ``/``, content and whether it is executable.
    Raise ``invalid.template``."""
    return _render(template, "files", template.files, render.image_context(template.spec))


def jail_entries(
    template: Template, user: dict[str, object], jail: dict[str, object], dns: list[str]
) -> dict[str, bytes]:
    """The jail's own ``/etc`` files, by name; see render.jail_context. Raise ``invalid.template``."""
    context = render.jail_context(template.spec, user, jail, dns)
    rendered = _render(template, "jail/etc", template.jail_files, context)
    return {name: data for name, (data, _) in rendered.items()}


_SAMPLE: dict[str, object] = {
    "name": "sample", "uid": 1000, "gid": 1000, "group": "sample", "gecos": "A Sample", "home": "/home/sample",
}  # fmt: skip


def render_samples(template: Template) -> None:
    """Render every file once, those of a jail for a made-up user without and with a network: what is wrong with them is
    said before an image is made, and not at somebody's first login. Raise ``invalid.template``, all errors at once."""
    user = {**_SAMPLE, "shell": template.spec.shell}
    failures: list[InvalidFile] = []
    for part in (
        lambda: rendered_files(template),
        lambda: jail_entries(template, user, {"hostname": "sample", "network": "none"}, []),
        lambda: jail_entries(template, user, {"hostname": "sample", "network": "host"}, ["nameserver 192.0.2.1"]),
    ):
        try:
            part()
        except InvalidFile as failure:
            failures += failure.failures if isinstance(failure, InvalidFiles) else [failure]
    errors: dict[str, dict[tuple[str, str], None]] = {}
    for each in failures:
        errors.setdefault(each.file, {}).update(dict.fromkeys(each.errors))
    if errors:
        raise together([InvalidFile("invalid.template", folder, list(found)) for folder, found in errors.items()])


def _render(template: Template, part: str, files: Tree, context: dict[str, object]) -> Tree:
    done: Tree = {}
    errors: dict[str, list[tuple[str, str]]] = {}
    for name, (data, executable) in sorted(files.items()):
        where = f"{part}/{name}"
        try:
            if name.endswith(SUFFIX):
                data = render.render(data.decode(), context).encode()
            if _plain(name) in done:
                raise ValueError("stands there twice, with and without .j2")
            done[_plain(name)] = (data, executable)
        except ValueError as error:
            errors.setdefault(template.folder(where), []).append((where, str(error)))
    if errors:
        raise together([InvalidFile("invalid.template", folder, found) for folder, found in errors.items()])
    return done


def _plain(name: str) -> str:
    return name.removesuffix(SUFFIX)
