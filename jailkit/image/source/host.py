"""Source "host": the host's own ``/usr``, shown read-only in each jail (``binds`` of the template) and never copied, so
that it follows the host's upgrades. The image itself holds the links that make it a whole system."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ...errors import JailkitError
from ...spec.template import TemplateSpec
from .. import layer
from ..layer import Row
from . import Build

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


def inputs(spec: TemplateSpec, directory: str, host_root: str) -> Any:
    return [[row.path, row.target] for row in merged_links(host_root)]


def problems(spec: TemplateSpec, directory: str, host_root: str) -> list[tuple[str, str]]:
    """Directories that are to be shown and the login shell, where the host has not got them."""
    if spec.level == "chroot":
        return []
    places = [os.path.join(host_root, path.lstrip("/")) for path in spec.binds]
    found = [
        (f"binds[{index}]", f"this host has no directory {spec.binds[index]}")
        for index, path in enumerate(places)
        if not os.path.isdir(path)
    ]
    shell = os.path.realpath(os.path.join(host_root, spec.shell.lstrip("/")))
    if any(shell.startswith(f"{path}/") for path in places) and not os.access(shell, os.X_OK):
        found.append(("shell", f"this host has no program {spec.shell}"))
    return found


def rows(build: Build) -> Iterable[Row]:
    return [*merged_links(build.host_root), *(layer.directory(path) for path in build.spec.binds)]


def merged_links(root: str = "/") -> list[Row]:
    """``/bin -> usr/bin`` and so on, as on the host. Raise ``host.usrmerge`` where they are directories."""
    found = []
    for name in _MERGED:
        path = os.path.join(root, name)
        if not os.path.lexists(path):
            continue
        target = os.readlink(path) if os.path.islink(path) else ""
        if target.strip("/") != f"usr/{name}":
            raise JailkitError(
                "host.usrmerge",
                f"/{name} is not a link to usr/{name}: this host's / and /usr are not merged",
                "apt install usrmerge, then try again",
            )
        found.append(layer.link(f"/{name}", f"usr/{name}"))
    return found
