"""What the verbs that make and remove jails share: progress, what a plan looks like, the ssh line, and what setup
needs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TYPE_CHECKING, Any

from ..errors import JailkitError
from ..login.steps import Provision
from ..login.verify import PREFIX
from ..paths import Paths
from ..provision import accounts, layout
from ..provision.host import Host
from ..spec.settings import jail_spec
from .output import Settings, emit, escape, note, paint, say
from .progress import Progress

if TYPE_CHECKING:
    from ..provision.host import Plan
    from ..provision.info import JailInfo


def apply(settings: Settings, host: Host, plan: Plan) -> JailInfo | None:
    """Apply ``plan``, saying what goes on where it takes long."""
    with Progress(settings, f"working on {plan.name}") as progress:
        return host.apply(plan, lambda number, total, what: progress.step(f"{number}/{total} {what}"))


def show_plan(settings: Settings, plan: Plan, dry_run: bool) -> None:
    """The steps in their order; with ``--dry-run`` why each is there."""
    show_steps(settings, plan_data(plan, dry_run))


def show_steps(settings: Settings, data: dict[str, Any]) -> None:
    """:func:`show_plan` of what :func:`plan_data` gave."""
    for warning in data["warnings"]:
        note(settings, f"jailctl: note: {escape(warning)}")
    if not data["operations"]:
        say(settings, f"No changes: {data['name']} is as it should be.")
    for number, operation in enumerate(data["operations"], 1):
        if data["dry_run"]:
            say(settings, f"{number:>3}  {escape(operation['what'])}")
            say(settings, f"     because {escape(operation['why'])}")
        else:
            say(settings, f"{paint('done', '32')}  {escape(operation['what'])}")
    if data["dry_run"] and data["operations"]:
        say(settings, "\nNothing was changed (--dry-run).")


def report(settings: Settings, plan: Plan, dry_run: bool, more: dict[str, Any]) -> bool:
    """What was done, or would be, as JSON with ``more``, or as steps; return whether a person is to be told how it is
    now."""
    if settings.json:
        emit({**plan_data(plan, dry_run), **more})
        return False
    show_plan(settings, plan, dry_run)
    return not dry_run


def turn(host: Host, name: str, dry_run: bool) -> AbstractContextManager[None]:
    """Host.turn, for a verb that lays something over what a jail is to be; a look waits for nobody."""
    return nullcontext() if dry_run else host.turn(name)


def carried_out(host: Host, plan: Plan, dry_run: bool, step: Callable[[str], None]) -> dict[str, Any]:
    """Apply ``plan`` unless it is only to be shown: one jail's entry of a verb on many (many.py)."""
    if not dry_run:
        host.apply(plan, lambda number, total, what: step(f"{number}/{total} {what}"))
    return plan_data(plan, dry_run)


def show_entry(settings: Settings, entry: dict[str, Any], several: bool, done: str) -> None:
    """What came of one jail. done: how it is now, as "suspended". Of one alone the steps are shown; of several a line
    each, and the steps only with ``--dry-run``."""
    name = escape(entry["name"])
    if several and not entry["operations"]:
        say(settings, f"{name}: no changes")
    elif several and not entry["dry_run"]:
        for warning in entry["warnings"]:
            note(settings, f"jailctl: {name}: note: {escape(warning)}")
        say(settings, f"{name}: {done}")
    else:
        if several:
            say(settings, f"{name}:")
        show_steps(settings, entry)
        if not several and entry["changed"]:
            say(settings, f"\n{name}: {done}.")


def plan_data(plan: Plan, dry_run: bool) -> dict[str, Any]:
    """The part of the JSON that add-user and remove-user have in common."""
    return {
        "name": plan.name,
        "changed": bool(plan.operations) and not dry_run,
        "dry_run": dry_run,
        "operations": [operation.public() for operation in plan.operations],
        "warnings": list(plan.warnings),
    }


def ssh_line(name: str, level: str = "namespaces") -> str:
    """What the user types on her own machine, by the host's name and the port of its sshd."""
    from ..login import sshd_daemon

    try:
        port = sshd_daemon.address()[1]
    except JailkitError:
        port = 22
    program, option = ("sftp", "-P") if level == "chroot" else ("ssh", "-p")
    return f"{program} {f'{option} {port} ' if port != 22 else ''}{name}@{os.uname().nodename}"


# -- for setup


def for_setup(paths: Paths) -> Provision:
    """The part of provision/ that setup uses."""
    host = Host(paths)

    def add(name: str, key: str, template: str) -> None:
        host.apply(host.plan_add(jail_spec(name, template=template), [key]))

    def remove(name: str) -> None:
        try:
            host.apply(host.plan_remove(name))
        except JailkitError as error:
            if error.code != "missing.jail":
                raise

    def forget() -> str:
        host.close()
        return _forget(paths)

    return Provision(
        group=lambda: accounts.ensure_groups(paths),
        directories=lambda: layout.ensure(paths),
        modes=layout.modes(paths),
        jails=lambda: _ask(paths, "SELECT name FROM jails ORDER BY name"),
        add=add,
        remove=remove,
        forget=forget,
    )


def _forget(paths: Paths) -> str:
    """Remove the state, unless it knows of ids that were given to anybody but our own test users."""
    if os.path.lexists(f"{paths.var}/accounts.lock"):
        os.unlink(f"{paths.var}/accounts.lock")
    if any(not name.startswith(PREFIX) for name in _ask(paths, "SELECT name FROM given")):
        used = f", {paths.usage_db} (what jails have used)" if os.path.exists(paths.usage_db) else ""
        return f"{paths.state_db} (which ids were ever given: none is given twice){used}"
    for path in (f"{base}{end}" for base in (paths.state_db, paths.usage_db) for end in ("", "-wal", "-shm")):
        if os.path.lexists(path):
            os.unlink(path)
    return ""


def _ask(paths: Paths, query: str) -> list[str]:
    """The first column of a query on the state, [] where there is none. Host would make it, and its directories."""
    if not os.path.exists(paths.state_db):
        return []
    try:
        with closing(sqlite3.connect(f"file:{paths.state_db}?mode=ro", uri=True)) as database:
            return [str(row[0]) for row in database.execute(query)]
    except sqlite3.Error as error:
        raise JailkitError("io.state", f"{paths.state_db}: {error}", "jailctl doctor") from None
