"""Whether a template could be built here: all that can be found out by looking, so without building it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InvalidFile, InvalidFiles, JailkitError
from ..paths import Paths
from . import build
from .template import Template, load_template, render_samples


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. file: or folder; where: the key or file in it, or ""."""

    file: str
    where: str
    what: str

    def data(self) -> dict[str, Any]:
        return vars(self)

    def __str__(self) -> str:
        return f"{self.file}: at '{self.where}': {self.what}" if self.where else f"{self.file}: {self.what}"


def check(paths: Paths, name: str, host_root: str = "/") -> list[Fault]:
    """All that is wrong with template ``name``: its files and those that it includes, each rendered with sample values;
    what it takes from this host. Raise ``missing.template``, ``unsafe.path``."""
    try:
        template = load_template(paths, name)
    except InvalidFile as error:
        return _faults(error)
    try:
        render_samples(template)
        found = []
    except InvalidFile as error:
        found = _faults(error)
    file = f"{template.own_folder}/template.toml"
    found += [Fault(file, where, what) for where, what in _places(template)]
    try:
        build.inputs(paths, template, host_root)
        wrong = build.source_of(template.spec.source).problems(template.spec, template.directory, host_root)
    except JailkitError as error:
        wrong = [("source", line) for line in error.message.splitlines()]
    return found + [Fault(file, where, what) for where, what in wrong]


def _faults(error: InvalidFile) -> list[Fault]:
    failures = error.failures if isinstance(error, InvalidFiles) else [error]
    return [Fault(failure.file, where, what) for failure in failures for where, what in failure.errors]


def _places(template: Template) -> list[tuple[str, str]]:
    """Files that would lie below a link, replace a directory that jails need, or never be seen."""
    links = template.spec.image.links
    needed = {*template.spec.image.directories, *template.spec.image.closed, *template.spec.binds}
    found = []
    for path in sorted(template.files):
        target = "/" + path.removesuffix(".j2")
        above = next((link for link in links if target.startswith(f"{link}/")), "")
        if above:
            found.append((f"files/{path}", f"lies below {above}, which is a link"))
        shown = next((bind for bind in template.spec.binds if target.startswith(f"{bind}/")), "")
        if shown:
            found.append((f"files/{path}", f"is never seen, as the host's {shown} is mounted over it"))
        if target in needed:
            found.append((f"files/{path}", "is a file where the template has a directory"))
    return found
