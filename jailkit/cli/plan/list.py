"""``jailctl plan list``"""

from __future__ import annotations

from ..output import Settings, emit, say, table
from ..verb import verb

_EXAMPLES = """
jailctl plan list
jailctl plan list --json | jq -r '.plans[] | select(.jails == 0) | .name'
"""


@verb("All plans, one line each: how many jails have it, the manifest that it comes from, what it is.", _EXAMPLES)
def command(settings: Settings) -> None:
    from ...errors import JailkitError
    from ...paths import Paths
    from ...provision import plans
    from ...provision.host import Host

    host = Host(Paths(settings.root))
    rows = []
    try:
        state = host.known_state
        for name in plans.names(host.paths):
            row = {"name": name, "jails": len(state.names(name)) if state else 0, "manifest": None, "description": "",
                   "problem": ""}  # fmt: skip
            try:
                plan = plans.get(host.paths, name)
                row |= {"manifest": plan.manifest, "description": plan.description}
            except JailkitError as error:
                row["problem"] = error.message
            rows.append(row)
    finally:
        host.close()
    if settings.json:
        emit({"plans": rows})
    elif not rows:
        say(settings, "There are no plans: jailctl plan set NAME limits.memory=512M makes one.")
    elif not settings.quiet:
        shown = [
            (r["name"], r["jails"], r["manifest"], r["description"] or (r["problem"] and "not valid")) for r in rows
        ]
        table(("name", "jails", "manifest", "description"), shown)
