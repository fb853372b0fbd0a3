"""Which templates the jails are made from, their own or their plans'."""

from __future__ import annotations

import os

from ..errors import JailkitError
from ..paths import Paths
from ..spec import load
from .state import State


def made_from(paths: Paths) -> list[tuple[str, str, int]]:
    """(template or tag, level, how many) of all jails, as they would start now; "" for those of a plan that cannot be
    read, which do not start. Raise ``invalid.config``, ``io.state``."""
    if not os.path.exists(paths.state_db):
        return []
    state = State(paths.state_db)
    try:
        rows = state.templates()
    finally:
        state.close()
    default = load.config(paths).template
    found: dict[tuple[str, str], int] = {}
    for template, plan, level, count in rows:
        key = (template or _of_plan(paths, plan, default), level)
        found[key] = found.get(key, 0) + count
    return [(template, level, count) for (template, level), count in sorted(found.items())]


def count(paths: Paths) -> dict[str, int]:
    """How many jails there are of each template (of each tag). Raise as :func:`made_from`."""
    found: dict[str, int] = {}
    for template, _, many in made_from(paths):
        found[template] = found.get(template, 0) + many
    return found


def _of_plan(paths: Paths, plan: str | None, default: str) -> str:
    if plan is None:
        return default
    try:
        return load.plan(paths, plan).template or default
    except JailkitError:
        return ""
