"""``jailctl reset NAME``"""

from __future__ import annotations

import sys

import click

from ..errors import JailkitError
from .output import Settings, emit, escape, say
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
def command(settings: Settings, name: str, yes: bool, end: bool, dry_run: bool) -> None:
    from ..names import user_name
    from ..paths import Paths
    from ..provision import layers

    paths = Paths(settings.root)
    count = layers.reset(paths, user_name(name), dry_run=True)
    if not dry_run:
        if not yes:
            _ask(name, count)
        with Progress(settings, f"dropping what {name} has changed"):
            count = layers.reset(paths, name, end)
    if settings.json:
        emit({"name": name, "dropped": count, "changed": count > 0 and not dry_run, "dry_run": dry_run})
    elif dry_run:
        say(settings, f"{escape(name)}: {_names(count)} would be dropped")
    else:
        say(settings, f"{escape(name)}: {_names(count)} dropped; the root is the image's again")


def _ask(name: str, count: int) -> None:
    if not sys.stdin.isatty():
        raise JailkitError("usage.confirm", "this drops what she has changed for good", "say --yes if that is meant")
    click.confirm(f"Drop what {escape(name)} has changed in her root ({_names(count)}) for good?", abort=True, err=True)


def _names(count: int) -> str:
    return f"{count} name{'' if count == 1 else 's'}"
