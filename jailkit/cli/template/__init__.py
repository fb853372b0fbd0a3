"""``jailctl template ...``: the recipes of jails."""

from __future__ import annotations

from ..group import Group, Table

VERBS: Table = {
    "list": ("template.list", "All templates, the administrator's own and the shipped, one line each."),
    "show": ("template.show", "One template; with --resolved the whole, and where each value comes from."),
    "check": ("template.check", "Say all that is wrong with templates, at once."),
    "new": ("template.new", "Begin a template of your own, empty or from another."),
    "schema": ("template.schema", "Print the JSON Schema of template.toml, for editors."),
}
_EXAMPLES = """
jailctl template list
jailctl template new mine --from shell          then edit, check, and:
jailctl add-user bob --template mine
"""

command = Group(
    "template", VERBS, help="Recipes of jails: what is there, what they hold, a new one.", examples=_EXAMPLES
)
