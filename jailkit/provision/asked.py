"""What was asked of a host, and the plan that answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..spec.jail import JailSpec
from . import keys, plan
from .operations import Operation, WriteArchive, from_data
from .request import Request
from .state import OpenPlan


@dataclass(frozen=True)
class Add:
    """change: a jail that is there becomes what the spec says; force: see Host.plan."""

    spec: JailSpec
    password: str | None
    hashed: str | None
    change: bool = False
    force: bool = False


@dataclass(frozen=True)
class Remove:
    keep_home: bool
    archive: str | None
    whole: bool = False


@dataclass(frozen=True)
class Plan(plan.Plan):
    """A plan and what was asked for: it is judged again, with the facts of that moment, when it is applied.

    results: what its steps have to say when it was (a backup: file, bytes, sha256 ...)."""

    request: Add | Remove | Request | None = None
    results: dict[str, Any] = field(default_factory=dict)


def answer(made: plan.Plan, request: Add | Remove) -> Plan:
    return Plan(made.name, made.kind, made.operations, made.warnings, level=made.level, request=request)


def with_keys(spec: JailSpec, lines: Sequence[str]) -> JailSpec:
    given = [*spec.keys, *lines]
    return spec.model_copy(update={"keys": keys.parse("\n".join(given), "the given keys")}) if given else spec


def key(operation: Operation) -> str:
    """What makes two steps the same: kind and public description. Hashes and ids may differ between two readings."""
    return f"{operation.kind} {operation.describe()}"


def archive_of(opened: OpenPlan) -> str | None:
    """The file that an interrupted removal writes."""
    steps = (from_data(data) for data, _, _ in opened.steps)
    return next((step.file for step in steps if isinstance(step, WriteArchive)), None)


def resumed(opened: OpenPlan, request: Add | Remove | Request, back: bool) -> Plan:
    """The steps that an interrupted plan has left, as a plan. back: they are those that undo it."""
    wanted = "todo" if back else "done"
    steps = [from_data(data) for data, state, _ in opened.steps if state != wanted]
    kind = "undo" if back else opened.kind
    warning = (
        f"an earlier '{opened.kind}' of {opened.name} was interrupted; it is {'undone' if back else 'finished'} first"
    )
    return Plan(opened.name, kind, tuple(reversed(steps) if back else steps), (warning,), True, request=request)
