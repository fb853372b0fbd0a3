"""``jailctl plan set NAME KEY=VALUE...``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ...errors import JailkitError
from .. import applying, differing
from ..output import Settings, complain, counted, emit, escape, problem, say
from ..progress import Bar
from ..verb import complete_plan, verb

if TYPE_CHECKING:
    from ...provision.host import Host
    from ...provision.manifests import PlanChange
    from ...spec.plan import PlanSpec

_EXAMPLES = """
jailctl plan set small limits.memory=512M limits.processes=100 description='Small site'
jailctl plan set small limits.memory=                 no limit of the plan's any more
jailctl plan set small limits.cpu=2 --dry-run         what would change, and for how many jails
"""


@verb(
    "Make a plan, or change one and all jails that have it: running ones at once, the others at their next start. "
    "Keys: description, template, shell, network, linger, and limits.X for each limit; an empty value takes it out.",
    _EXAMPLES,
)
@click.argument("name", shell_complete=complete_plan)
@click.argument("words", metavar="KEY=VALUE...", nargs=-1)
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="How much is done at once.")
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
def command(settings: Settings, name: str, words: tuple[str, ...], jobs: int, dry_run: bool) -> int:
    from ...paths import Paths
    from ...provision import manifests, plans
    from ...provision.host import Host
    from ...spec.plan import PlanSpec

    host = Host(Paths(settings.root))
    try:
        have = plans.find(host.paths, name)
        if not words and have is not None:
            raise JailkitError("usage.set", "nothing is to be set", f"jailctl plan set {name} KEY=VALUE")
        want = plans.changed(have or PlanSpec(name=name), words)
        rows = tuple(manifests.plan_differences(have, want)) if have else ()
        change = manifests.PlanChange(name, "add" if have is None else "change" if rows else "same", rows)
        if dry_run:
            return _dry_run(settings, host, change)
        return _carry_out(settings, host, change, want, jobs)
    finally:
        host.close()


def _dry_run(settings: Settings, host: Host, change: PlanChange) -> int:
    state = host.known_state
    jails = state.names(change.name) if state and change.kind == "change" else []
    if settings.json:
        _emit(change, [{"name": name, "outcome": "same", "error": None} for name in jails], True)
        return 0
    if change.kind == "same":
        say(settings, f"No changes: plan {escape(change.name)} is as it should be.")
        return 0
    say(settings, f"plan {escape(change.name)}{': new' if change.kind == 'add' else ''}")
    differing.differences(settings, change.differences)
    say(settings, f"\n{counted(len(jails), 'jail')} would change with it. Nothing was changed.")
    return 0


def _carry_out(settings: Settings, host: Host, change: PlanChange, want: PlanSpec, jobs: int) -> int:
    from ...provision import plans

    results = []
    with Bar(settings, f"changing plan {change.name}", "jails") as bar:
        for one in plans.put(host, want, jobs, bar.advance):
            results.append(one)
            if one.error is not None and not settings.json:
                bar.clear()
                complain(one.error.message, one.error.hint, one.name)
    failures = [one.error for one in results if one.error is not None]
    if settings.json:
        rows = [{"name": r.name, "outcome": r.outcome, "error": problem(r.error) if r.error else None} for r in results]
        _emit(change, rows, False)
    elif change.kind == "same" and all(one.outcome == "same" for one in results):
        say(settings, f"No changes: plan {escape(change.name)} is as it should be.")
    else:
        done = sum(one.outcome == "changed" for one in results)
        say(settings, f"Plan {escape(change.name)} is {'made' if change.kind == 'add' else 'changed'}.")
        differing.differences(settings, change.differences)
        if results:
            say(settings, f"{counted(done, 'jail')} changed with it, {len(failures)} failed.")
    return applying.exit_number(failures)


def _emit(change: PlanChange, jails: list[dict[str, Any]], dry_run: bool) -> None:
    rows = [row.data() for row in change.differences]
    emit({"name": change.name, "kind": change.kind, "differences": rows, "jails": jails, "dry_run": dry_run})
