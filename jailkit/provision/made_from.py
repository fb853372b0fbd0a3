"""Which templates the jails are made from, their own or their plans'."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

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
    of = reference(paths, load.config(paths).template)
    found: dict[tuple[str, str], int] = {}
    for template, plan, level, count in rows:
        key = (of(template, plan), level)
        found[key] = found.get(key, 0) + count
    return [(template, level, count) for (template, level), count in sorted(found.items())]


def count(paths: Paths) -> dict[str, int]:
    """How many jails there are of each template (of each tag). Raise as :func:`made_from`."""
    found: dict[str, int] = {}
    for template, _, many in made_from(paths):
        found[template] = found.get(template, 0) + many
    return found


def reference(paths: Paths, default: str) -> Callable[[str | None, str | None], str]:
    """A function that says what a jail is made from whose spec names that template (or None) and that plan (or None);
    it reads each plan once. default: the host's own."""

    @functools.cache
    def of_plan(plan: str) -> str:
        try:
            return load.plan(paths, plan).template or default
        except JailkitError:
            return ""

    return lambda template, plan: template or (default if plan is None else of_plan(plan))
