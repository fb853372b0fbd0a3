"""``jailctl plan show NAME``"""

from __future__ import annotations

import click

from ..output import Settings, emit, escape, pairs, say
from ..verb import complete_plan, verb

_EXAMPLES = """
jailctl plan show small
jailctl plan show small --json | jq '.plan.limits'
"""
_SHOWN = 20


@verb("One plan: what it gives to its jails, and which those are.", _EXAMPLES)
@click.argument("name", shell_complete=complete_plan)
def command(settings: Settings, name: str) -> None:
    from ...paths import Paths
    from ...provision import plans
    from ...provision.host import Host

    host = Host(Paths(settings.root))
    try:
        plan = plans.get(host.paths, name)
        state = host.known_state
        jails = state.names(name) if state else []
    finally:
        host.close()
    if settings.json:
        emit({"plan": {"name": name, **plan.model_dump()}, "file": host.paths.plan(name), "jails": jails})
        return
    if settings.quiet:
        return
    limits = plan.limits.model_dump(exclude_none=True)
    pairs([
        ("name", name),
        ("description", plan.description),
        ("manifest", plan.manifest),
        ("template", plan.template),
        ("shell", plan.shell),
        ("network", plan.network),
        ("linger", plan.linger),
        ("file", host.paths.plan(name)),
    ])  # fmt: skip
    if limits:
        say(settings, "\nLimits")
        pairs([(f"  {key}", ", ".join(value) if isinstance(value, list) else value) for key, value in limits.items()])
    more = f" and {len(jails) - _SHOWN} more" if len(jails) > _SHOWN else ""
    say(settings, f"\nJails: {escape(', '.join(jails[:_SHOWN]))}{more}" if jails else "\nNo jail has it.")
