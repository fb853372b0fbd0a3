"""``jailctl commit NAME TEMPLATE:TAG``"""

from __future__ import annotations

import click

from .output import Settings, counted, emit, escape, note, say
from .progress import Progress
from .verb import complete_jail, verb

_EXAMPLES = """
jailctl commit alice web:alice                      an image of her root as it is; her jail must not run
jailctl add-user bob --template web:alice           bob begins where she is now
jailctl image tag web:alice web                     or so does everybody
"""


@verb(
    'Make an image of the root of a jail with root = "overlay", as it is now, and name it TEMPLATE:TAG. All in it '
    "becomes root's and readable or not, as it was; set-id bits, devices, sockets and extended attributes are left "
    "out, which is said. Her home is not in it.",
    _EXAMPLES,
)
@click.argument("name", shell_complete=complete_jail)
@click.argument("tag", metavar="TEMPLATE:TAG")
@click.option("--stop", "end", is_flag=True, help="End the jail first if it runs.")
@click.option("--dry-run", is_flag=True, help="Say what it would be; change nothing.")
def command(settings: Settings, name: str, tag: str, end: bool, dry_run: bool) -> None:
    from ..names import user_name
    from ..paths import Paths
    from ..provision import layers

    with Progress(settings, f"making an image of {name}") as progress:
        made = layers.commit(Paths(settings.root), user_name(name), tag, end, dry_run, progress.step)
    if settings.json:
        emit({"name": name, "tag": made.tag, "digest": made.digest, "before": made.before,
              "changed": made.digest != made.before and not dry_run, "changes": made.changes, "dry_run": dry_run,
              "left_out": list(made.left_out)})  # fmt: skip
        return
    for line in made.left_out:
        note(settings, f"jailctl: note: left out: {escape(line)}")
    if made.digest == made.before:
        say(settings, f"No changes: {escape(made.tag)} is {made.digest[:12]}, the root of {escape(name)} as it is.")
        return
    changes = f"{counted(made.changes, 'name')} changed"
    would = "would be " if dry_run else ""
    say(settings, f"{escape(made.tag)}: {would}image {made.digest[:12]} of {escape(name)}, {changes}")
