"""``jailctl image tag IMAGE NAME``"""

from __future__ import annotations

import click

from ..output import Settings, emit, escape, say
from ..verb import verb
from . import common

_EXAMPLES = """
jailctl image tag shell shell:before-upgrade       a name for what shell is now
jailctl image tag 1b91f997b7eb python:stable       then: jailctl add-user bob --template python:stable
"""


@verb(
    "Let NAME (TEMPLATE:TAG, or TEMPLATE itself) mean an image: jails of that name start from it from now on.",
    _EXAMPLES,
)
@click.argument("image", shell_complete=common.complete_image)
@click.argument("name", shell_complete=common.complete_image)
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def command(settings: Settings, image: str, name: str, dry_run: bool) -> None:
    from ...image import store, tags
    from ...names import image_reference
    from ...provision import images

    paths = common.ready(settings)
    digest = store.find(paths, image)
    before = tags.current(paths, image_reference(name))
    if before != digest:
        images.retag(paths, name, digest, "tag", dry_run)
    changed = before != digest
    if settings.json:
        emit({"tag": name, "digest": digest, "before": before, "changed": changed and not dry_run, "dry_run": dry_run})
    elif not changed:
        say(settings, f"No changes: {escape(name)} is {digest[:12]}.")
    else:
        say(settings, f"{escape(name)}: {'would be' if dry_run else 'is'} {digest[:12]}{_was(before)}")
        if not dry_run:
            common.say_running(settings, paths, name)


def _was(before: str | None) -> str:
    return f", was {before[:12]}" if before else ""
