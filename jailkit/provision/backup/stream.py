"""A backup as a stream, for tools that keep what has changed since the last one (borg, restic): not packed, as they
find what is the same in it only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..apply import told
from ..lock import locked
from ..lookup import LIVE
from . import manifest, process, snapshot
from .process import Shown, Written

if TYPE_CHECKING:
    from ..host import Host


def write(host: Host, name: str, output: int, live: bool) -> tuple[Written, str]:
    """Write a backup of the jail to the descriptor ``output``; return what was written, and how it was taken.

    Raise ``missing.jail``, ``busy.locked``, ``io.*``."""
    from .plans import present

    with locked(host.paths, name), told():
        row = present(host, name)
        beside = snapshot.beside(row.home, name, "stream")
        with snapshot.taken(host.paths, row, row.home, beside, live) as (parts, how):
            data = manifest.of(host.paths, row, how, parts.layer is not None, LIVE.password_field(name))
            return process.write(host.paths, row, parts, output, "", Shown("home", data)), how
