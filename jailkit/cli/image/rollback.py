"""``jailctl image rollback TEMPLATE``"""

from __future__ import annotations

import click

from ..output import Settings, emit, escape, say
from ..verb import verb
from . import common

_EXAMPLES = """
jailctl image rollback shell                     the image before; once more: back again
jailctl image rollback shell --to 1b91f997b7eb   any image that is still there
"""


@verb(
    "Let a template's jails start from the image that they had before the last update. As with an update, a running "
    "jail keeps its root until it stops.",
    _EXAMPLES,
)
@click.argument("name", metavar="TEMPLATE", shell_complete=common.complete_image)
@click.option(
    "--to", metavar="IMAGE", shell_complete=common.complete_image, help="Which image; default: the one before."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def command(settings: Settings, name: str, to: str | None, dry_run: bool) -> None:
    from ...image import store
    from ...names import image_reference
    from ...provision import images

    paths = common.ready(settings)
    digest = store.find(paths, to) if to else None
    done = images.rollback(paths, image_reference(name), digest, dry_run)
    if settings.json:
        emit({**done.data(), "changed": done.changed and not dry_run, "dry_run": dry_run})
    elif not done.changed:
        say(settings, f"No changes: {escape(name)} is {done.digest[:12]}.")
    else:
        was = done.before[:12] if done.before else "nothing"
        say(settings, f"{escape(name)}: {'would go' if dry_run else 'is'} back to {done.digest[:12]}, was {was}")
        if not dry_run:
            common.say_running(settings, paths, name)
