"""``jailctl image import FILE [NAME]``"""

from __future__ import annotations

import click

from ..output import Settings, emit, escape, say
from ..progress import Progress
from ..verb import verb
from . import common

_EXAMPLES = """
jailctl image import shell.tar                  as TEMPLATE:imported, no jail is moved to it
jailctl image import shell.tar shell            jails of template shell start from it from now on
"""


@verb(
    "Take an image from a file that `jailctl image export` wrote. Nothing in it is trusted: every digest, mode and "
    "path is checked before the image has a name.",
    _EXAMPLES,
)
@click.argument("file", type=click.Path())
@click.argument("name", required=False, shell_complete=common.complete_image)
def command(settings: Settings, file: str, name: str | None) -> None:
    import os

    from ...image import store
    from ...image.foreign import archive
    from ...names import image_reference
    from ...provision import images

    if name is not None:
        image_reference(name)
    paths = common.ready(settings)
    with Progress(settings, f"reading {file}"):
        digest, changed = archive.import_(paths, os.path.abspath(file))
    name = name or f"{store.template(paths, digest).spec.name}:imported"
    before = images.retag(paths, name, digest, "import")
    if settings.json:
        emit({"digest": digest, "tag": name, "before": before, "changed": changed or before != digest})
    elif before == digest:
        say(settings, f"No changes: {escape(name)} is {digest[:12]}.")
    else:
        say(settings, f"{escape(name)}: image {digest[:12]}{'' if changed else ', which was there already'}")
        common.say_running(settings, paths, name)
