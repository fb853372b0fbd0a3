"""``jailctl image export IMAGE FILE``"""

from __future__ import annotations

import click

from ..output import Settings, emit, escape, say
from ..progress import Progress
from ..verb import verb
from . import common

_EXAMPLES = """
jailctl image export shell /root/shell.tar         then, on another host: jailctl image import shell.tar shell
"""


@verb(
    "Write an image to a new file: a tar of its manifest and its contents, the same bytes for the same image.",
    _EXAMPLES,
)
@click.argument("image", shell_complete=common.complete_image)
@click.argument("file", type=click.Path())
def command(settings: Settings, image: str, file: str) -> None:
    import os

    from ...image import store
    from ...image.foreign import archive
    from ...paths import Paths

    paths = Paths(settings.root)
    digest = store.find(paths, image)
    file = os.path.abspath(file)
    with Progress(settings, f"writing {digest[:12]}"):
        size = archive.export(paths, digest, file)
    if settings.json:
        emit({"digest": digest, "file": file, "bytes": size})
    else:
        say(settings, f"{escape(file)}: image {digest[:12]}, {common.size(size)}")
        say(settings, f"There: jailctl image import {escape(os.path.basename(file))} NAME")
