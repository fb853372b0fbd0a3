"""Limits of disk and inodes: which file systems can hold them, and whether those that were set hold."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..errors import JailkitError
from ..kernel import quota
from ..provision import limits, resolve
from ..provision import quota as quotas
from ..provision.state import Row, State
from ..spec import load
from ..spec.jail import JailSpec
from ..spec.template import TemplateSpec
from .check import OK, Check, Finding, Host, count, fail, ok, several, warn


def _file_systems(host: Host) -> list[Finding]:
    """Where nobody asks for a limit, none is missed."""
    found = []
    for path in (load.config(host.paths).home_base, host.paths.jails):
        if not os.path.isdir(path):
            continue
        can = quota.support(path)
        if not can.kind:
            found.append(Finding(OK, f"{can.reason}: limits of disk and inodes are refused", can.hint))
            continue
        what = "bytes and inodes" if can.inodes else f"bytes ({can.no_inodes})"
        shown = "df shows them" if can.shown else "df does not show them"
        found.append(Finding(OK, f"{path} ({can.file_system}) limits {what}; {shown}"))
    return found or ok("nothing is set up yet")


def _rows(host: Host) -> Iterator[Row]:
    if not os.path.exists(host.paths.state_db):
        return
    state = State(host.paths.state_db)
    try:
        yield from state.all()
    finally:
        state.close()


def _held(host: Host) -> list[Finding]:
    found, limited = [], 0
    templates: dict[str, TemplateSpec] = {}
    config = load.config(host.paths)
    for row in _rows(host):
        if row.phase != "present":
            continue
        try:
            spec = resolve.settled(host.paths, config, JailSpec.model_validate(row.spec))
            reference = spec.template or ""
            if reference not in templates:
                templates[reference] = resolve.template(host.paths, reference)[0].spec
            template = templates[reference]
            bounds = limits.levels(template, limits.plan_of(host.paths, spec), spec)
            facts = quotas.facts(host.paths, row, row.home, row.name, template, bounds)
        except JailkitError:
            continue  # that is another check's
        if facts is None:
            continue
        limited += 1
        if facts.refused:
            found.append(fail(f"{row.name}: its limit is not held: {facts.refused}", facts.hint))
        elif not facts.held:
            found.append(fail(f"{row.name}: its limit of disk or inodes is not set", f"jailctl add-user {row.name}"))
    return several(found, f"{count(limited, 'jail')} with a limit of disk or inodes")


def _inconsistent(host: Host) -> list[Finding]:
    """btrfs counts only from a rescan on."""
    found = []
    for path in (load.config(host.paths).home_base, host.paths.jails):
        if os.path.isdir(path) and quota.inconsistent(path):
            found.append(
                warn(f"btrfs at {path} has lost count of its quota groups", f"btrfs quota rescan -w {path}")
            )
    return several(found, "what is counted is right")


CHECKS = [
    Check("quota.file-systems", "where limits of disk and inodes can be held", _file_systems),
    Check("quota.held", "limits of disk and inodes are in force", _held),
    Check("quota.counted", "quotas count right", _inconsistent),
]
