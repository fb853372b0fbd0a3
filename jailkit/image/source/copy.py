"""``source = "copy"``: host files as an image of their own, with all that they need to run.

:func:`rows` reads what to take from ELF files, first lines of scripts, dpkg's lists and the loader's configuration;
nothing is executed. See copied/closure.py for what comes along.

:func:`inputs` cannot know what a closure will read. It has the installed packages with their versions, the files that
the template names, links of update-alternatives(1), the loader's configuration and directories outside of packages, and
locales. It does not see what is changed by hand, or by a program other than dpkg, in directories of packages
(/usr/lib, /usr/bin) while nothing names it: ``jailctl image build --no-cache`` looks at that."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from ...errors import InvalidFile, JailkitError
from ...spec.source import CopySource
from ...spec.template import TemplateSpec
from .. import layer
from ..layer import Row
from . import Build
from .copied import packages
from .copied.closure import PATH, Closure, Origin
from .copied.hosttree import HostTree, Refused
from .copied.loader import ld_so_conf
from .host import merged_links

_LOCAL = ("/usr/local/lib/python3*", "/usr/local/lib/*/perl", "/usr/local/share/perl")
_LOCALES = ("/usr/lib/locale", "/etc/default/locale", "/etc/locale.conf")
_VERSION = 1  # raised when rows() takes other files of the same host: layers in the cache are older then
_CHANGED = "what is installed changed while files were copied"


def inputs(spec: TemplateSpec, directory: str, host_root: str) -> Any:
    """What decides the layer, as far as it can be told in some tenths of a second. Raise JailkitError."""
    copying = _table(spec)
    with HostTree(host_root) as tree:
        try:
            directories, configuration = ld_so_conf(tree)
            named = [path for pattern in (*copying.globs, *copying.extra) for path in _matching(tree, pattern)]
            named += [path for name in copying.programs for path in _places(name)]
            named += [path for pattern in _LOCAL for path in tree.glob(pattern)]
            return {
                "version": _VERSION,
                "copy": copying.model_dump(),
                "packages": packages.digest(tree),
                "files": _stamps(tree, [*named, *configuration, *_LOCALES]),
                "libraries": _stamps(tree, [path for path in directories if not path.startswith(("/lib", "/usr/lib"))]),
                "links": _alternatives(tree),
            }
        except Refused as refused:
            raise JailkitError("unsafe.host-file", f"what template {spec.name} copies {refused}") from None


def _table(spec: TemplateSpec) -> CopySource:
    if spec.copying is None:
        raise JailkitError("invalid.template", f"template {spec.name} has no table [copy]")
    return spec.copying


def _matching(tree: HostTree, pattern: str) -> list[str]:
    try:
        return tree.glob(pattern)
    except Refused:  # which rows() says, with all else that is wrong
        return [pattern]


def _places(name: str) -> list[str]:
    return [name] if name.startswith("/") else [f"{directory}/{name}" for directory in PATH]


def _stamps(tree: HostTree, paths: list[str]) -> dict[str, list[Any]]:
    """[where it leads, size, mtime in ns] by path, with all below directories; what is not there is left out."""
    stamps: dict[str, list[Any]] = {}
    named = set(paths)
    pending = sorted(named)
    while pending:
        path = pending.pop()
        if path in stamps:
            continue
        try:
            found = tree.resolve(path)
            stamps[path] = [found.path, found.status.st_size, found.status.st_mtime_ns]
            # a link inside is what it is: where it leads, no more, so circles end
            if stat.S_ISDIR(found.status.st_mode) and (path in named or path == found.path):
                pending += [f"{found.path}/{name}" for name in tree.names(found.path)]
        except FileNotFoundError:
            continue
        except Refused as refused:
            stamps[path] = [str(refused)]
    return stamps


def _alternatives(tree: HostTree) -> dict[str, str]:
    found = {}
    for path in tree.glob("/etc/alternatives/*"):
        status = tree.status(path)
        if status is not None and stat.S_ISLNK(status.st_mode):
            found[path] = tree.target(path)
    return found


def problems(spec: TemplateSpec, directory: str, host_root: str) -> list[tuple[str, str]]:
    """What is named and not there, or needs what is not there. Raise ``unsafe.host-file``, OSError."""
    with HostTree(host_root) as tree:
        try:
            return collect(tree, _table(spec), lambda line: None).problems
        except Refused as refused:
            raise JailkitError("unsafe.host-file", f"what template {spec.name} copies {refused}") from None


def rows(build: Build) -> Iterator[Row]:
    """The layer. Raise ``host.copy`` with all that is missing at once, ``busy.host``, OSError."""
    before = inputs(build.spec, build.directory, build.host_root)
    with HostTree(build.host_root) as tree:
        try:
            closure = collect(tree, _table(build.spec), build.log)
            cache = closure.ld_so_cache()
            if closure.problems:
                raise InvalidFile("host.copy", f"template {build.spec.name}", closure.problems, _HINT)
            yield from _rows(tree, closure, build)
        except Refused as refused:
            raise JailkitError("unsafe.host-file", f"what template {build.spec.name} copies {refused}") from None
    if cache:
        yield layer.file("/etc/ld.so.cache", cache, 0o644, build.contents)
    for link in merged_links(build.host_root):
        yield layer.link(link.path, link.target)
        yield layer.directory(f"/{link.target}")
    if inputs(build.spec, build.directory, build.host_root) != before:
        raise JailkitError("busy.host", f"{_CHANGED}: the image would be of two states", "try again")


_HINT = "install the packages that have it, or name what may be missing in [copy] optional"


def _rows(tree: HostTree, closure: Closure, build: Build) -> Iterator[Row]:
    for path, mode in closure.directories.items():
        yield layer.directory(path, mode)
    for path, target in closure.links.items():
        yield layer.link(path, target)
    size = 0
    for path in sorted(closure.files):
        with tree.open(path) as source:
            row = layer.file(path, source, os.fstat(source.fileno()).st_mode, build.contents)
        size += row.size
        yield row
    build.log(f"copied {len(closure.files)} files, {size / 1e6:.1f} MB")


def collect(tree: HostTree, copying: CopySource, log: Callable[[str], None]) -> Closure:
    """What the image is to hold; problems are in it. Raise Refused, OSError."""
    closure = Closure(tree, copying.optional, log)
    for name in copying.programs:
        closure.add_program(name, Origin("copy.programs", name))
    for key, patterns in (("copy.globs", copying.globs), ("copy.extra", copying.extra)):
        for pattern in patterns:
            _matches(closure, pattern, Origin(key, pattern))
    if copying.packages:
        _packages(closure, copying.packages)
    closure.finish()
    return closure


def _matches(closure: Closure, pattern: str, origin: Origin) -> None:
    """A pattern's matches. A single file must be there and complete; so must all that ``extra`` matches."""
    try:
        paths = closure.tree.glob(pattern)
    except Refused as refused:
        closure.wrong(origin, pattern, f"{pattern} {refused}")
        return
    if not paths:
        closure.wrong(origin, pattern, f"{pattern} matches nothing on this host")
    for path in paths:
        closure.add_tree(path, origin)


def _packages(closure: Closure, names: list[str]) -> None:
    database = packages.Database(closure.tree)
    for name in names:
        origin = Origin("copy.packages", name)
        files = database.files(name)
        if files is None:
            closure.wrong(origin, name, f"{name} is not installed on this host")
        else:
            closure.add_package(files, origin)
    for link in database.alternatives():
        if closure.has(link):
            closure.add(link, Origin("copy.packages", link, required=False))
