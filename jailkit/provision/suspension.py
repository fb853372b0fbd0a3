"""Suspending a jail whatever state its template, its image or its spec file are in: a bill that is not paid must shut
the door, and can wait for nothing."""

from __future__ import annotations

from ..errors import JailkitError
from ..paths import Paths
from ..spec.jail import JailSpec, changes, differences
from . import change, inspect
from .plan import Plan
from .state import Row


def plan(paths: Paths, row: Row | None, want: JailSpec, problem: JailkitError) -> Plan | None:
    """The steps where a whole plan could not be made because of ``problem``; None where ``want`` is more than a
    suspension of what is there."""
    if row is None or row.phase != "present" or want.suspended is None:
        return None
    have = JailSpec.model_validate(row.spec)
    if {field for field, _, _ in changes(have, want)} - {"suspended"}:
        return None
    facts = inspect.for_suspension(paths, row, want)
    rows = differences(have, want)
    steps = change.shut(want, have, facts) + change.spec_file(want, facts, rows, have.data())
    return Plan(row.name, "change", tuple(steps), (f"nothing else was looked at: {problem.message}",), level=row.level)
