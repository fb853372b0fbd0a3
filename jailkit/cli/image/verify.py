"""``jailctl image verify``"""

from __future__ import annotations

import click

from ...errors import EXITS
from ..output import Settings, counted, emit, escape, say
from ..progress import Progress
from ..verb import verb
from . import common

_EXAMPLES = """
jailctl image verify               all of them
jailctl image verify shell
"""


@verb(
    "Compare every byte, mode, owner and link of images with their manifests, and the manifests with the digests that "
    "name them. Exit status 5 if something differs.",
    _EXAMPLES,
)
@click.argument("names", metavar="[IMAGE...]", nargs=-1, shell_complete=common.complete_image)
def command(settings: Settings, names: tuple[str, ...]) -> int:
    from ...errors import JailkitError
    from ...image import store

    paths = common.ready(settings)
    digests = [store.find(paths, name) for name in names] or store.digests(paths)
    results = []
    with Progress(settings, "reading images") as progress:
        for digest in dict.fromkeys(digests):
            progress.step(f"reading image {digest[:12]}")
            try:
                wrong = [{"path": path, "what": what} for path, what in store.verify(paths, digest)]
            except JailkitError as error:
                wrong = [{"path": "manifest.json", "what": error.message}]
            results.append({"digest": digest, "ok": not wrong, "problems": wrong})
            progress.clear()
            say(settings, f"{digest[:12]}: {'as built' if not wrong else counted(len(wrong), 'problem')}")
            for row in wrong[:20]:
                say(settings, f"  {escape(row['path'])}: {escape(row['what'])}")
    if settings.json:
        emit({"images": results})
    return 0 if all(result["ok"] for result in results) else EXITS["invalid"][0]
