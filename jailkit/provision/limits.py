"""Limits of a jail as they hold: from template, plan and jail to the numbers of its recipe, and what of them this host
cannot hold."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import JailkitError
from ..jail import slices
from ..jail.record import MAX_HOURS
from ..kernel import blockdev, cgroup
from ..paths import Paths
from ..spec import load
from ..spec.fields import size_bytes
from ..spec.jail import JailSpec
from ..spec.limits import Effective, effective
from ..spec.plan import PlanSpec
from ..spec.template import TemplateSpec

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"(?:(\w{3})(?:-(\w{3}))? )?(\d\d):(\d\d)-(\d\d):(\d\d)")
_DAY, _WEEK = 1440, 7 * 1440
_SIZES = ("memory", "swap", "read", "write")
_COUNTS = ("cpu_weight", "processes", "read_ops", "write_ops", "open_files", "sessions", "idle", "session")
_GROUPS = {"memory": "memory", "swap": "swap", "cpu": "cpu", "cpu_weight": "weight", "processes": "processes",
           "read": "read", "write": "write", "read_ops": "read_ops", "write_ops": "write_ops"}  # fmt: skip
"""Those that control groups hold, and their names in kernel/cgroup."""
_SETTINGS = ("shell", "network", "linger")


def levels(template: TemplateSpec, plan: PlanSpec | None, spec: JailSpec) -> dict[str, Effective]:
    """Each limit as it holds for the jail of ``spec``."""
    said = [(f"template {template.name}", template.limits)]
    if plan is not None:
        said.append((f"plan {plan.name}", plan.limits))
    return effective(*said, ("jail", spec.limits))


def settings(template: TemplateSpec, plan: PlanSpec | None, spec: JailSpec) -> dict[str, Effective]:
    """Shell, network and linger as they hold."""
    found = {}
    for name in _SETTINGS:
        found[name] = Effective(getattr(template, name), f"template {template.name}")
        if plan is not None and getattr(plan, name) is not None:
            found[name] = Effective(getattr(plan, name), f"plan {plan.name}")
        if getattr(spec, name) is not None:
            found[name] = Effective(getattr(spec, name), "jail")
    return found


def plan_of(paths: Paths, spec: JailSpec) -> PlanSpec | None:
    """The plan of ``spec``. Raise ``missing.plan``, ``invalid.plan``, ``unsafe.path``."""
    return load.plan(paths, spec.plan) if spec.plan is not None else None


@dataclass(frozen=True)
class Numbers:
    """Fields of the recipe; see jail/recipe.py."""

    limits: dict[str, int]
    hours: list[str]
    sources: list[str]


def numbers(have: Mapping[str, Effective], expires: str | None) -> Numbers:
    """``have`` and when logins end, for the recipe. Raise ``invalid.limit`` for more hours than a record can hold."""
    found: dict[str, int] = {}
    for name in (*_SIZES, *_COUNTS):
        if (value := have[name].value) is not None:
            found[name] = int(value) if not isinstance(value, str) or value == "0" else size_bytes(value)
    if have["cpu"].value is not None:
        found["cpu"] = round(have["cpu"].value * 1_000_000)
    if expires is not None:
        found["expires"] = int(datetime.strptime(expires, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    spans = hours(have["hours"].value or [])
    if len(spans) > MAX_HOURS:
        raise JailkitError(
            "invalid.limit", f"the hours are {len(spans)} spans of the week, of which {MAX_HOURS} can be kept",
            "say the same with fewer",
        )  # fmt: skip
    return Numbers(found, [f"{begin}-{end}" for begin, end in spans], [_source(s) for s in have["sources"].value or []])


def hours(items: list[str]) -> list[tuple[int, int]]:
    """Minutes since Monday 0:00, [begin, end[, in order, none touching the next. What goes past midnight belongs to the
    day on which it begins."""
    spans = []
    for item in items:
        found = _HOURS.fullmatch(item)
        assert found is not None
        first, last, *clock = found.groups()
        begin, end = (60 * int(clock[at]) + int(clock[at + 1]) for at in (0, 2))
        length = (end - begin) % _DAY or _DAY
        for day in _days(first, last):
            at = day * _DAY + begin
            spans.append((at, min(at + length, _WEEK)))
            if at + length > _WEEK:
                spans.append((0, at + length - _WEEK))
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _days(first: str | None, last: str | None) -> list[int]:
    """``fri-mon`` goes over the end of the week."""
    if first is None:
        return list(range(7))
    begin = _DAYS.index(first)
    length = (_DAYS.index(last) - begin) % 7 if last is not None else 0
    return [(begin + step) % 7 for step in range(length + 1)]


def _source(text: str) -> str:
    """Address in hexadecimal and prefix. IPv4 in IPv6's clothes is IPv4, as where logins come from."""
    network = ipaddress.ip_network(text)
    address, prefix = network.network_address, network.prefixlen
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None and prefix >= 96:
        address, prefix = address.ipv4_mapped, prefix - 96
    return f"{address.packed.hex()}/{prefix}"


def able() -> set[str]:
    """Limits that control groups of this host hold, by the names of kernel/cgroup."""
    found = cgroup.held()
    return found - {"swap"} if slices.systemd() and cgroup.version() == 1 else found


def unheld(paths: Paths, have: Mapping[str, Effective], level: str, home: str, able: set[str]) -> list[tuple[str, str]]:
    """What of ``have`` this host cannot hold for a jail of ``level``, with the reason. able: see :func:`able`."""
    asked = [name for name, one in have.items() if one.value is not None]
    found = []
    if level == "chroot" and "idle" in asked:
        found.append(("idle", "a jail with files only has no terminal; limits.session ends its sessions"))
    version = cgroup.version() if asked else 0
    for name in asked:
        if name in _GROUPS and _GROUPS[name] not in able:
            found.append((name, _missing(name, version)))
    if "swap" in asked and "swap" in able and version == 1 and "memory" not in asked:
        found.append(("swap", "cgroup v1 limits swap only together with memory: give limits.memory as well"))
    bounded = [name for name in asked if name in cgroup.CONTROLLERS["io"] and name in able]
    where = next((path for path in (home, paths.jails) if bounded and not blockdev.disks(path)), "")
    return found + [(name, f"{where} is not on a disk of this host") for name in bounded if where]


def _missing(name: str, version: int) -> str:
    controller = {"processes": "pids", "cpu": "cpu", "cpu_weight": "cpu", "memory": "memory", "swap": "memory (swap)"}
    what = controller.get(name, "io" if version == 2 else "blkio")
    return f"the kernel has no control group for it ({f'v{version}' if version else 'none'}: {what} is missing)"


def weak(have: Mapping[str, Effective]) -> list[str]:
    """Sentences about what this host holds in part only."""
    if cgroup.version() != 1 or not any(have[name].value is not None for name in ("write", "write_ops")):
        return []
    return ["cgroup v1 slows writes that go to the disk at once (O_DIRECT, fsync) only; cgroup v2 slows all"]


def shown(template: TemplateSpec, plan: PlanSpec | None, spec: JailSpec, reference: str) -> dict[str, dict[str, Any]]:
    """For `show --resolved`: each setting's value and where it comes from, by name (``limits.memory``)."""
    named = Effective(reference, "jail" if spec.template is not None else "default")
    if spec.template is None and plan is not None and plan.template is not None:
        named = Effective(reference, f"plan {plan.name}")
    rows = {"template": named, **settings(template, plan, spec)}
    rows |= {f"limits.{name}": one for name, one in levels(template, plan, spec).items()}
    return {name: {"value": one.value, "from": one.origin} for name, one in rows.items()}
