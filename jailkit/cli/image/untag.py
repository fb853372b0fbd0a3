"""``jailctl image untag NAME``"""

from __future__ import annotations

import click

from ...errors import JailkitError
from ..output import Settings, counted, emit, escape, say
from ..verb import verb
from . import common

_EXAMPLES = """
jailctl image untag shell:before-upgrade     then: jailctl image prune
"""


@verb(
    "Forget a name and its history. The image itself stays until `jailctl image prune`. Refused as long as a jail "
    "is made from it.",
    _EXAMPLES,
)
@click.argument("name", shell_complete=common.complete_image)
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def command(settings: Settings, name: str, dry_run: bool) -> None:
    from ...image import tags
    from ...names import image_reference
    from ...provision.made_from import count

    paths = common.ready(settings)
    digest = tags.current(paths, image_reference(name))
    if jails := count(paths).get(name, 0):
        raise JailkitError("busy.image", f"{counted(jails, 'jail')} made from {name}", "jailctl list")
    if not dry_run:
        tags.remove(paths, name)
    if settings.json:
        emit({"tag": name, "digest": digest, "changed": not dry_run, "dry_run": dry_run})
    else:
        say(settings, f"{escape(name)}: {'would be forgotten' if dry_run else 'forgotten'}")
