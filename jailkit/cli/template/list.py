"""``jailctl template list``"""

from __future__ import annotations

from ..output import Settings, emit, say, table
from ..verb import verb

_EXAMPLES = """
jailctl template list
jailctl template list --json | jq -r '.templates[].name'
"""
_COLUMNS = ("name", "source", "level", "kept", "description")


@verb(
    "All templates, one line each. Kept: the administrator's own, in /etc/jailctl/templates, or shipped; an own one "
    "comes before a shipped one of its name.",
    _EXAMPLES,
    needs_root=False,
)
def command(settings: Settings) -> None:
    from ...errors import JailkitError
    from ...paths import Paths
    from ...spec import include

    paths = Paths(settings.root)
    rows = []
    for name in include.names(paths):
        own = include.directory(paths, name).startswith(f"{paths.templates}/")
        row = {
            "name": name,
            "kept": "own" if own else "shipped",
            "source": "",
            "level": "",
            "description": "",
            "problem": "",
        }
        try:
            spec = include.resolve(paths, name).spec
            row |= {"source": spec.source, "level": spec.level, "description": spec.description}
        except JailkitError as error:
            row["problem"] = error.message
        rows.append(row)
    if settings.json:
        emit({"templates": rows})
    elif not rows:
        say(settings, "There are no templates: run ./install again.")
    elif not settings.quiet:
        shown = [
            {**row, "description": row["description"] or f"not valid: jailctl template check {row['name']}"}
            for row in rows
        ]
        table(_COLUMNS, [[row[column] for column in _COLUMNS] for row in shown])
