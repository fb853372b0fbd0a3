"""Ids that are given once and never again: uids of new accounts and the jails' own ranges.

A uid that is given a second time would own what the first one left anywhere (systemd#15802, shadow#79)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from ..errors import JailkitError
from ..jail.recipe import RANGE
from ..spec.config import Config

_LAST = 2**32 - 2 - RANGE


def limits(config: Config, login_defs: str) -> tuple[int, int]:
    """Lowest and highest uid of a new account: the options, else UID_MIN and UID_MAX of login.defs(5)'s text, else
    that file's own defaults."""
    low, high = _of_login_defs(login_defs)
    return config.uid_min or low, config.uid_max or high


@functools.lru_cache(maxsize=4)
def _of_login_defs(login_defs: str) -> tuple[int, int]:
    found = {"UID_MIN": 1000, "UID_MAX": 60000}
    for line in login_defs.splitlines():
        words = line.split("#")[0].split()
        if len(words) == 2 and words[0] in found and words[1].isdigit():
            found[words[0]] = int(words[1])
    return found["UID_MIN"], found["UID_MAX"]


def next_uid(low: int, high: int, given: int, used: Iterable[int], taken: Callable[[int], bool]) -> int:
    """The next uid in ``low..high``: above every one that was ever given and every one in use; where the range has no
    room above those in use, the lowest that was never given.

    given: the highest ever given, or 0. used: uids that exist. taken: asks whether somebody has it, as a uid or
    as a gid. Raise ``host.ids-exhausted``."""
    inside = [uid for uid in used if low <= uid <= high]
    first = max([low, given + 1, *(uid + 1 for uid in inside)])
    for start in (first, max(low, given + 1)):
        for uid in range(start, high + 1):
            if not taken(uid):
                return uid
    raise JailkitError(
        "host.ids-exhausted", f"no uid is left between {low} and {high}", "raise UID_MAX in /etc/login.defs"
    )


def next_base(start: int, given: int | None, foreign: list[tuple[int, int]]) -> int:
    """First id of the next range of a jail's own: above every range ever given, away from ``foreign`` ranges (start,
    count), which are those of /etc/subuid and /etc/subgid. Raise ``host.ids-exhausted``."""
    base = start if given is None else max(start, given + RANGE)
    for low, count in sorted(foreign):
        if base < low + count and low < base + RANGE:
            base = low + count
    if base > _LAST:
        raise JailkitError("host.ids-exhausted", "no range of ids is left", "lower range_start in jailctl.toml")
    return base


def subordinate(text: str) -> list[tuple[int, int]]:
    """Ranges (start, count) of subuid(5)'s text; lines that are none are left out, as shadow does."""
    ranges = []
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
            ranges.append((int(fields[1]), int(fields[2])))
    return ranges
