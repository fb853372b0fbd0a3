"""``jailctl plan ...``: what jails are sold as."""

from __future__ import annotations

from ..group import Group, Table

VERBS: Table = {
    "list": ("plan.list", "All plans, one line each, with the number of their jails."),
    "show": ("plan.show", "One plan: what it gives, and which jails have it."),
    "set": ("plan.set", "Make a plan, or change it and the jails that have it."),
    "remove": ("plan.remove", "Remove a plan that no jail has."),
}
_EXAMPLES = """
jailctl plan set small limits.memory=512M limits.processes=100
jailctl add-user alice --set plan=small
jailctl plan set small limits.memory=1G         running jails at once, the others when they start next
"""

command = Group(
    "plan", VERBS, help="Plans: limits and settings under a name, as a provider sells them.", examples=_EXAMPLES
)
