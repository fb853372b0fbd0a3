"""``jailctl image prune``"""

from __future__ import annotations

import click

from ..output import Settings, counted, emit, say
from ..progress import Progress
from ..verb import verb
from . import common

_EXAMPLES = """
jailctl image prune --dry-run     what would go, and what that frees
jailctl image prune --all         with it, what rollbacks would go back to, and the whole build cache
"""


@verb(
    "Remove images that no tag means and no jail runs in or is pinned to, layers of the build cache that were not "
    "used for two weeks, and contents that are in none of them any more. What a rollback would go back to stays.",
    _EXAMPLES,
)
@click.option("--all", "everything", is_flag=True, help="Also what rollbacks would go back to, and all cached layers.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed.")
def command(settings: Settings, everything: bool, dry_run: bool) -> None:
    from ...provision import images

    paths = common.ready(settings)
    with Progress(settings, "removing images"):
        done = images.prune(paths, everything, dry_run)
    if settings.json:
        emit({**done.data(), "dry_run": dry_run})
        return
    for digest in done.images:
        say(settings, f"{digest[:12]}: {'would be removed' if dry_run else 'removed'}")
    parts = ((len(done.images), "image"), (done.layers, "cached layer"), (done.contents, "file"))
    what = f"{', '.join(counted(number, noun) for number, noun in parts)}: {common.size(done.freed)}"
    if not (done.images or done.layers or done.contents):
        say(settings, "No changes: everything is in use.")
    else:
        say(settings, f"{'Would free' if dry_run else 'Freed'} {what}")
