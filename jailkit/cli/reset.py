"""``jailctl reset NAME``"""

from __future__ import annotations

import sys

import click

from ..errors import EXIT_INTERRUPT, JailkitError
from .output import Settings, counted, emit, escape, note, say
from .progress import Progress
from .verb import complete_jail, verb

_EXAMPLES = """
jailctl reset alice                 asks first; the jail must not run
jailctl reset alice --yes --stop    at once: her sessions end
jailctl reset alice --dry-run       how much there is; jailctl diff alice says what
"""


@verb(
    'Drop all that a jail with root = "overlay" has changed in its root: it is the image\'s again. Her home is not '
    "touched. It cannot be undone; to keep it as an image: jailctl commit.",
    _EXAMPLES,
)
@click.argument("name", shell_complete=complete_jail)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--stop", "end", is_flag=True, help="End the jail first if it runs.")
@click.option("--dry-run", is_flag=True, help="Say how much would be dropped; change nothing.")
def command(settings: Settings, name: str, yes: bool, end: bool, dry_run: bool) -> int:
    from ..names import user_name
    from ..paths import Paths
    from ..provision import layers

    paths = Paths(settings.root)
    count = layers.reset(paths, user_name(name), dry_run=True)
    if not dry_run:
        if count and not yes and not _sure(name, count):
            note(settings, "Nothing was dropped.")
            return EXIT_INTERRUPT
        with Progress(settings, f"dropping what {name} has changed"):
            count = layers.reset(paths, name, end)
    if settings.json:
        emit({"name": name, "dropped": count, "changed": count > 0 and not dry_run, "dry_run": dry_run})
    elif not count:
        say(settings, f"No changes: {escape(name)} has nothing to drop; the root is the image's.")
    else:
        what = "would be dropped" if dry_run else "dropped; the root is the image's again"
        say(settings, f"{escape(name)}: {counted(count, 'name')} {what}")
    return 0


def _sure(name: str, count: int) -> bool:
    if not sys.stdin.isatty():
        raise JailkitError("usage.confirm", "this drops what she has changed for good", "say --yes if that is meant")
    question = f"Drop {counted(count, 'name')} that {escape(name)} has changed in her root, for good?"
    return click.confirm(question, err=True)
