"""Whether a template could be built here: all that can be found out by looking, so without building it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InvalidFile, InvalidFiles, JailkitError
from ..paths import Paths
from . import build
from .template import Template, jail_entries, load_template, rendered_files

_USER: dict[str, object] = {
    "name": "sample", "uid": 1000, "gid": 1000, "group": "sample", "gecos": "A Sample", "home": "/home/sample",
    "shell": "/bin/sh",
}  # fmt: skip
_DNS = ["nameserver 192.0.2.1"]


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
    found: list[Fault] = []
    for network in ("none", "host"):
        for fault in _rendering(template, network):
            if fault not in found:
                found.append(fault)
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


def _rendering(template: Template, network: str) -> list[Fault]:
    found: list[Fault] = []
    jail: dict[str, object] = {"hostname": "sample", "network": network}
    try:
        rendered_files(template)
    except InvalidFile as error:
        found += _faults(error)
    try:
        jail_entries(template, {**_USER, "shell": template.spec.shell}, jail, _DNS if network == "host" else [])
    except InvalidFile as error:
        found += _faults(error)
    return found


def _places(template: Template) -> list[tuple[str, str]]:
    """Files that would lie below a link or replace a directory that jails need."""
    links = template.spec.image.links
    needed = {*template.spec.image.directories, *template.spec.image.closed, *template.spec.binds}
    found = []
    for path in sorted(template.files):
        target = "/" + path.removesuffix(".j2")
        above = next((link for link in links if target.startswith(f"{link}/")), "")
        if above:
            found.append((f"files/{path}", f"lies below {above}, which is a link"))
        if target in needed:
            found.append((f"files/{path}", "is a file where the template has a directory"))
    return found
