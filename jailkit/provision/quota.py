"""Limits of disk and inodes for what is a jail's own: home and writable layer, each counted for the first id of the
jail's own range, which nobody else ever gets (kernel/quota). On one file system they have the limit together; on two,
each has it. What lies in memory (/tmp, /run, an "ephemeral" root) has its own bound.

A home and a layer are made so that they count wherever the file system can count, limited or not: a limit that comes
later acts at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import JailkitError
from ..kernel import quota
from ..paths import Paths
from ..spec.fields import size_bytes
from ..spec.limits import Effective
from ..spec.template import TemplateSpec
from .state import Row


@dataclass(frozen=True)
class Limit:
    """disk: bytes; inodes: their number. 0: no limit."""

    disk: int = 0
    inodes: int = 0

    def __bool__(self) -> bool:
        return bool(self.disk or self.inodes)

    def __str__(self) -> str:
        parts = [f"{_size(self.disk)} of disk"] if self.disk else []
        return " and ".join([*parts, *([f"{self.inodes} inodes"] if self.inodes else [])]) or "no limit of disk"


@dataclass(frozen=True)
class Quota:
    """disk, inodes: limits that are asked for; old_disk, old_inodes: those that hold now; 0: none. held: what is asked
    for is so already. counted: the file system counts what is the jail's own. refused: why this host cannot hold what
    is asked for, or ""; hint: what to do."""

    disk: int = 0
    inodes: int = 0
    old_disk: int = 0
    old_inodes: int = 0
    held: bool = True
    counted: bool = False
    refused: str = ""
    hint: str = ""


def _size(number: int) -> str:
    for unit, letter in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if number % unit == 0:
            return f"{number // unit}{letter}"
    return f"{number} bytes"


def wanted(bounds: Mapping[str, Effective]) -> Limit:
    """Of all limits of a jail (limits.levels) those of disk and inodes."""
    disk, inodes = bounds["disk"].value, bounds["inodes"].value
    return Limit(size_bytes(disk) if disk else 0, inodes or 0)


def trees(paths: Paths, name: str, home: str) -> list[str]:
    """What there is on the disk that is the jail's own."""
    return [path for path in (home, paths.layer(name)) if _is_tree(path)]


def _is_tree(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def facts(
    paths: Paths, row: Row | None, home: str, name: str, template: TemplateSpec, bounds: Mapping[str, Effective],
    memo: dict[tuple[object, ...], Any] | None = None,
) -> Quota | None:  # fmt: skip
    """What the planner judges; None for a jail that has, and is to have, no limit. memo: see inspect.Memo. Raise
    OSError."""
    limit = wanted(bounds)
    if row is None and not limit:
        return None
    places = [home, *([paths.layer(name)] if template.root == "overlay" else [])]
    refused, hint = _refusal(places, limit) if limit else ("", "")
    if row is None:
        return Quota(limit.disk, limit.inodes, held=False, refused=refused, hint=hint)
    if not limit and memo is not None and all(_uncounted(place, memo) for place in places):
        return None
    now = [quota.usage(_there(place), row.base) for place in places]
    sizes = {(found.bytes_limit, found.inodes_limit) if found else (0, 0) for found in now}
    counted = all(quota.counts(place, row.base) for place in places if _is_tree(place))
    asked = (limit.disk & ~1023, limit.inodes)
    held = sizes == {asked} and (counted or not limit)
    if not limit and held:
        return None
    disk, inodes = max(sizes)
    return Quota(limit.disk, limit.inodes, disk, inodes, held, counted, refused, hint)


def _uncounted(place: str, memo: dict[tuple[object, ...], Any]) -> bool:
    """Whether the file system counts for nobody. On btrfs that is asked of each directory."""
    there = _there(place)
    key = ("quota", os.stat(there).st_dev)
    if key not in memo:
        memo[key] = not quota.support(there).kind
    return bool(memo[key])


def facts_of_removal(paths: Paths, row: Row) -> Quota | None:
    """What there is to be taken away; None where nobody counts. Raise OSError."""
    found = [
        quota.usage(place, row.base) for place in trees(paths, row.name, row.home) if quota.counts(place, row.base)
    ]
    most = max(((use.bytes_limit, use.inodes_limit) for use in found if use), default=None)
    return None if most is None else Quota(old_disk=most[0], old_inodes=most[1], counted=True)


def _there(path: str) -> str:
    """``path``, or the nearest directory above it that exists already."""
    while not _is_tree(path):
        path = os.path.dirname(path)
    return path


def _refusal(places: list[str], limit: Limit) -> tuple[str, str]:
    for place in places:
        found = quota.support(_there(place), own=_is_tree(place))
        if not found.kind:
            return found.reason, found.hint
        if limit.inodes and not found.inodes:
            return f"{place}: {found.no_inodes}", found.hint
    return "", ""


def put(paths: Paths, row: Row, limit: Limit, trees_to_adopt: list[str]) -> None:
    """Let ``limit`` hold for all that is the jail's own, and for a home that is yet to come. Raise ``host.quota``,
    ``busy.files``, OSError."""
    for place in trees_to_adopt:
        _adopt(place, row)
    for place in dict.fromkeys([_there(row.home), *trees(paths, row.name, row.home)]):
        try:
            if limit or quota.support(place).kind:
                quota.set_limits(place, row.base, limit.disk, limit.inodes)
        except quota.Refused as error:
            raise JailkitError("host.quota", str(error), error.hint) from None


def adopt(tree: str, row: Row) -> None:
    """Have ``tree`` count for the jail, where the file system can count. Raise ``busy.files``, OSError."""
    if quota.support(tree, own=True).kind:
        _adopt(tree, row)


def _adopt(tree: str, row: Row) -> None:
    try:
        quota.adopt(tree, row.base)
    except quota.Refused as error:
        raise JailkitError("host.quota", str(error), error.hint) from None
    except BlockingIOError:
        text = f"files of {row.name} are moved or held while they are counted"
        raise JailkitError("busy.files", text, f"jailctl stop {row.name}") from None


def uncounted(paths: Paths, row: Row) -> list[str]:
    """Trees of the jail that do not count for it."""
    return [place for place in trees(paths, row.name, row.home) if not quota.counts(place, row.base)]


def clear(paths: Paths, row: Row, keep: bool) -> None:
    """No limit any more. keep: the home stays, and counts for nobody. Raise OSError."""
    for place in trees(paths, row.name, row.home):
        quota.clear(place, row.base, keep and place == row.home)
