"""Whether a copy is the same as what it was made from, as a process sees it that has only her ids and reads both."""

from __future__ import annotations

import hashlib
import os

from ...errors import JailkitError
from ...paths import Paths
from ..state import Row
from . import process, read
from .entry import Entry

_BLOCK = 1 << 20


def require(paths: Paths, row: Row, one: int, other: int) -> None:
    """Names, modes, owners, times, links, attributes and every byte of the trees behind two descriptors; what a backup
    leaves out does not count. Raise ``io.archive`` where they differ."""
    process.warm_up()
    with process.ends_of() as made:
        report, report_in = made.pipe()
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        made.own(null)
        # of its two places one is a jail's layer elsewhere
        terms = process.tenant(made, row, process.Parts(one, other), writes=False)
        reader = made.start(
            lambda: process.reported(lambda: {"sums": [_sum(row, tree) for tree in ("/home", "/layer")]}),
            (null, null, report_in), process.place(paths), terms,
        )  # fmt: skip
        made.close(report_in)
        answer = bytearray()
        process.serve({report: answer.extend}, [])
        sums = process.answered(answer, reader, "cannot compare the copy")["sums"]
    if sums[0] != sums[1]:
        raise JailkitError("io.archive", f"the copy of what is {row.name}'s differs from it", "check the disk")


def _sum(row: Row, tree: str) -> str:
    total = hashlib.sha256()

    def sink(entry: Entry, fd: int | None) -> None:
        entry.segments = None  # on another file system holes lie elsewhere, and attributes come in another order
        entry.attributes = dict(sorted(entry.attributes.items()))
        total.update(entry.pack())
        while fd is not None and (data := os.read(fd, _BLOCK)):
            total.update(data)

    read.Walk((row.uid, row.gid), sink, None).tree(tree, "home")
    return total.hexdigest()
