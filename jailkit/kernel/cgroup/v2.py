"""The limits on cgroup v2: Documentation/admin-guide/cgroup-v2.rst."""

from __future__ import annotations

import os

from ..libc import put
from . import CONTROLLERS, MOUNT, OWN, Amounts

_PERIOD = 100_000


def held() -> set[str]:
    """Swap can be limited where the kernel counts it, which only a group that is not the root one shows: with
    ``swapaccount=0``, gone since 6.1, it has no such file."""
    with open(f"{MOUNT}/cgroup.controllers", encoding="ascii") as file:
        known = file.read().split()
    return {limit for controller in known for limit in CONTROLLERS.get(controller, ())}


def places(name: str) -> list[str]:
    return [f"{MOUNT}/{OWN}/{name}"]


def make(name: str, controllers: list[str], account: bool) -> list[str]:
    """Have ``controllers`` in the group; from above downwards, as each level gives to the one below it. account: and
    memory, which then counts the most at once, as far as it can be had; CPU time is counted without."""
    for controller in dict.fromkeys((*controllers, *(("memory",) if account else ()))):
        try:
            for top in (MOUNT, f"{MOUNT}/{OWN}"):
                put(f"{top}/cgroup.subtree_control", f"+{controller}")
        except OSError:
            if controller in controllers:
                raise
    return []


def limit(name: str, amounts: Amounts) -> list[str]:
    group = f"{MOUNT}/{OWN}/{name}"
    for file, value in (
        ("pids.max", amounts.processes), ("memory.max", amounts.memory), ("memory.swap.max", amounts.swap),
    ):  # fmt: skip
        _put(f"{group}/{file}", "max" if value is None else str(value), value is not None)
    quota = "max" if amounts.cpu is None else str(max(1000, amounts.cpu * _PERIOD // 1_000_000))
    _put(f"{group}/cpu.max", f"{quota} {_PERIOD}", amounts.cpu is not None)
    _put(f"{group}/cpu.weight", str(amounts.weight or 100), amounts.weight is not None)
    _throttle(f"{group}/io.max", amounts)
    return []


def _put(path: str, text: str, needed: bool) -> None:
    """A controller that no limit ever asked for has no files."""
    if needed or os.path.exists(path):
        put(path, text)


def _throttle(path: str, amounts: Amounts) -> None:
    if not os.path.exists(path) and "io" not in amounts.controllers():
        return
    names = {"rbps": amounts.read, "wbps": amounts.write, "riops": amounts.read_ops, "wiops": amounts.write_ops}
    with open(path, encoding="ascii") as now:
        before = [line.split()[0] for line in now]
    for device in before:
        if device not in amounts.devices:
            put(path, f"{device} rbps=max wbps=max riops=max wiops=max")
    for device in amounts.devices:
        put(path, " ".join([device, *(f"{key}={value or 'max'}" for key, value in names.items())]))


def events(name: str, amounts: Amounts) -> list[str]:
    wanted = (("pids.events", amounts.processes), ("memory.events", amounts.memory))
    return [f"{MOUNT}/{OWN}/{name}/{file}" for file, value in wanted if value is not None]
