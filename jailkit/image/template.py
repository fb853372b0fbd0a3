"""A template on the disk: its spec, its ``files/`` (into the image) and ``jail/etc/`` (rendered once a jail)."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from ..errors import InvalidFile, JailkitError
from ..paths import Paths
from ..spec import load
from ..spec.template import TemplateSpec
from . import render

_SUFFIX = ".j2"


@dataclass(frozen=True)
class Template:
    """files, jail_files: path below ``files/`` or ``jail/etc/``, with its content and whether it is executable;
    a name that ends in ``.j2`` is rendered, and loses that ending."""

    spec: TemplateSpec
    directory: str
    files: dict[str, tuple[bytes, bool]] = field(repr=False)
    jail_files: dict[str, tuple[bytes, bool]] = field(repr=False)

    @property
    def jail_names(self) -> list[str]:
        """Names below a jail's ``etc`` that are bound over the image's ``/etc``."""
        return sorted(_plain(name) for name in self.jail_files)


def load_template(paths: Paths, name: str) -> Template:
    """Raise ``missing.template``, ``invalid.template`` (every error of every file at once), ``unsafe.path``."""
    spec = load.template_spec(paths, name)
    directory = load.template_directory(paths, name)
    files = _read(directory, "files")
    jail_files = _read(directory, "jail/etc")
    nested = [f"jail/etc/{name}" for name in jail_files if "/" in name]
    if nested:
        raise InvalidFile("invalid.template", nested[0], [("", "jail/etc holds plain files only")])
    return Template(spec, directory, files, jail_files)


def _read(directory: str, part: str) -> dict[str, tuple[bytes, bool]]:
    found: dict[str, tuple[bytes, bool]] = {}
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


def _render(
    template: Template, part: str, files: dict[str, tuple[bytes, bool]], context: dict[str, object]
) -> dict[str, tuple[bytes, bool]]:
    done: dict[str, tuple[bytes, bool]] = {}
    errors: list[tuple[str, str]] = []
    for name, (data, executable) in sorted(files.items()):
        try:
            if name.endswith(_SUFFIX):
                data = render.render(data.decode(), context).encode()
            if _plain(name) in done:
                raise ValueError("stands there twice, with and without .j2")
            done[_plain(name)] = (data, executable)
        except ValueError as error:
            errors.append((f"{part}/{name}", str(error)))
    if errors:
        raise InvalidFile("invalid.template", template.directory, errors)
    return done


def _plain(name: str) -> str:
    return name.removesuffix(_SUFFIX)
