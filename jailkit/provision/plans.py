"""Plans that jails are sold as, on the disk: ``/etc/jailctl/plans.d/<name>.toml``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from threading import Event
from typing import TYPE_CHECKING, Any

from ..errors import JailkitError
from ..kernel import disk
from ..names import plan_name
from ..paths import Paths
from ..spec import load
from ..spec.limits import Limits
from ..spec.plan import PlanSpec
from ..spec.settings import laid_over, settings
from ..spec.write import text
from . import files, layout
from .batch import Progress, Result
from .state import State

if TYPE_CHECKING:
    from .host import Host

SETTABLE = (
    "description", "template", "shell", "network", "linger", *(f"limits.{name}" for name in Limits.model_fields),
)  # fmt: skip
"""Keys that ``jailctl plan set`` takes."""


def names(paths: Paths) -> list[str]:
    """Names of all plans, sorted."""
    try:
        found = os.listdir(paths.plans)
    except FileNotFoundError:
        return []
    return sorted(name[:-5] for name in found if name.endswith(".toml") and name[0] != ".")


def get(paths: Paths, name: str) -> PlanSpec:
    """Raise ``missing.plan``, ``invalid.plan``, ``invalid.plan-name``, ``unsafe.path``."""
    try:
        return load.plan(paths, name)
    except JailkitError as error:
        if error.code == "missing.plan":
            error.hint = "jailctl plan list shows all"
        raise


def find(paths: Paths, name: str) -> PlanSpec | None:
    """As :func:`get`; None where there is none."""
    try:
        return get(paths, name)
    except JailkitError as error:
        if error.code != "missing.plan":
            raise
        return None


def _data(plan: PlanSpec) -> dict[str, Any]:
    return {"name": plan.name, **plan.model_dump(exclude_defaults=True)}


def write(paths: Paths, plan: PlanSpec) -> None:
    """Replace the file of ``plan``, or make it. Raise OSError."""
    layout.ensure(paths)
    path = paths.plan(plan.name)
    with disk.turn(f"{layout.locks(paths)}/plans"):
        old = (files.read(path) or b"").decode(errors="replace")
        new = text(_data(plan), old)
        if new != old:
            files.write(path, new.encode(), 0o644)


def changed(plan: PlanSpec, pairs: Iterable[str]) -> PlanSpec:
    """``plan`` with ``KEY=VALUE`` over it; an empty value goes back to the default. Raise ``usage.set``,
    ``invalid.plan``."""
    data = laid_over(_data(plan), settings(pairs, "", True, SETTABLE))
    return load.validate(PlanSpec, data, "command line", "invalid.plan")


def put(
    host: Host, plan: PlanSpec, jobs: int = 2, progress: Progress | None = None, stop: Event | None = None
) -> Iterator[Result]:
    """Write ``plan`` and bring its jails to it, those that run at once; a result for each. What it costs does not grow
    with the jails of other plans. Raise OSError, ``denied.root``."""
    write(host.paths, plan)
    yield from host.follow_many(host.state.names(plan.name), jobs, progress, stop)


def remove(paths: Paths, state: State, name: str, dry_run: bool = False) -> None:
    """Remove a plan that no jail refers to. dry_run: only judge. Raise ``missing.plan``, ``busy.plan-used``."""
    used = state.names(plan_name(name))
    if used:
        shown = ", ".join(used[:5]) + (f" and {len(used) - 5} more" if len(used) > 5 else "")
        raise JailkitError(
            "busy.plan-used", f"plan {name} is that of {shown}", f"jailctl set --plan {name} plan=OTHER"
        )
    if dry_run:
        get(paths, name)
        return
    layout.ensure(paths)
    with disk.turn(f"{layout.locks(paths)}/plans"):
        if not files.remove(paths.plan(name)):
            raise JailkitError("missing.plan", f"there is no plan {name}", "jailctl plan list shows all")
