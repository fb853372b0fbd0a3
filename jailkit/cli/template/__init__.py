"""``jailctl template ...``: the recipes of jails."""

from __future__ import annotations

from ..group import Group, Table

VERBS: Table = {
    "list": ("template.list", "All templates, the administrator's own and the shipped, one line each."),
}
_EXAMPLES = """
jailctl template list
"""

command = Group(
    "template", VERBS, help="Recipes of jails: what is there, what they hold, a new one.", examples=_EXAMPLES
)
