"""The files of the host that setup writes, rendered from ``etc/*.j2``.

What is put in is a path or a group's name, of plain characters only: a blank, a quote or a ``%`` would mean something
to sshd (attacks A124), and nothing here has to quote.
"""

from __future__ import annotations

import os
import re

from ..errors import JailkitError
from ..jail import chroot
from ..paths import CHROOT_GROUP, GROUP, Paths

_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")


def shipped(paths: Paths, relative: str) -> str:
    """Where a file of ``etc/`` is: as installed, or beside the package in a source tree."""
    installed = f"{paths.opt}/etc/{relative}"
    if os.path.exists(installed):
        return installed
    tree = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return f"{tree}/etc/{relative}"


def render(paths: Paths, relative: str) -> str:
    """Text of the shipped template ``relative``. Raise ``invalid.root``, ``missing.file``,
    ``invalid.shipped-template``."""
    from ..image.render import render as jinja  # strict, sandboxed, without a loader

    values = {
        "group": GROUP, "chroot_group": CHROOT_GROUP, "files": chroot.FILES, "jails": paths.run_jails,
        "door": paths.door, "hook": paths.hook, "keys": paths.keys, "uids": paths.uids,
        "root": paths.root,
    }  # fmt: skip
    for value in values.values():
        if not _PLAIN.fullmatch(value):
            raise JailkitError(
                "invalid.root",
                f"{value!r} cannot stand in sshd's configuration",
                "use a --root of A-Z a-z 0-9 / . _ - only",
            )
    source = shipped(paths, relative)
    try:
        with open(source, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        raise JailkitError("missing.file", f"{source} is missing", "run ./install again") from None
    try:
        return jinja(text, values)
    except ValueError as error:
        raise JailkitError("invalid.shipped-template", f"{source}: {error}", "run ./install again") from None
