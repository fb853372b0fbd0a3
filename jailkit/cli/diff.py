"""``jailctl diff NAME``, ``jailctl diff -f FILE``"""

from __future__ import annotations

import click

from .image import common
from .output import Settings, emit, escape, note
from .progress import Progress
from .verb import complete_jail, verb

_EXAMPLES = """
jailctl diff alice
jailctl diff alice --json | jq -r '.changes[].path'
jailctl diff -f customers.yaml                   what jailctl apply would do, jail by jail, field by field
jailctl diff -f customers.yaml --prune --json | jq -c 'select(.kind == "remove")'
"""


@verb(
    'With NAME: what a jail with root = "overlay" has changed in its root: A, added; C, changed; D, removed (of a '
    "directory, with all below it). What no image could have, such as a socket, is named on standard error. "
    "With -f: how this host differs from manifests, as jailctl apply --dry-run shows it: + new, ~ changed, ! changed "
    "by hand on this host, "
    "- removed, x refused.",
    _EXAMPLES,
)
@click.argument("name", required=False, shell_complete=complete_jail)
@click.option(
    "-f", "--file", "sources", multiple=True, metavar="FILE", type=click.Path(allow_dash=True),
    help="Manifest, a folder of them, or - for standard input.",
)  # fmt: skip
@click.option("--prune", is_flag=True, help="With -f: also what apply --prune would remove.")
def command(settings: Settings, name: str | None, sources: tuple[str, ...], prune: bool) -> int:
    if (name is None) == (not sources) or (prune and not sources):
        raise click.UsageError("give the name of a jail, or -f FILE")
    if name is None:
        return _manifests(settings, sources, prune)
    _root(settings, name)
    return 0


def _manifests(settings: Settings, sources: tuple[str, ...], prune: bool) -> int:
    from ..paths import Paths
    from ..provision import manifests
    from ..provision.host import Host
    from . import differing

    host = Host(Paths(settings.root))
    try:
        want = manifests.wanted(differing.read(settings, host.paths, sources).manifests.values())
        return differing.show(settings, host, want, prune)
    finally:
        host.close()


def _root(settings: Settings, name: str) -> None:
    from ..names import user_name
    from ..paths import Paths
    from ..provision import layers

    with Progress(settings, f"reading what {name} has changed"):
        found = layers.diff(Paths(settings.root), user_name(name))
    if settings.json:
        changes = [change.data() for change in found.changes]
        emit({"name": name, "changes": changes, "left_out": list(found.left_out)})
        return
    common.say_changes(settings, found.changes)
    for line in found.left_out:
        note(settings, f"jailctl: note: in no image: {escape(line)}")
