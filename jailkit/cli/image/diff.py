"""``jailctl image diff A B``"""

from __future__ import annotations

import click

from ..output import Settings, emit
from ..verb import verb
from . import common

_EXAMPLES = """
jailctl image diff shell 1b91f997b7eb       what would change
jailctl image diff python web --json
"""


@verb(
    "What differs between two images, by tag or digest: A, added in the second; C, changed; D, not in the second. "
    "Settings of their templates are compared, too.",
    _EXAMPLES,
)
@click.argument("first", shell_complete=common.complete_image)
@click.argument("second", shell_complete=common.complete_image)
def command(settings: Settings, first: str, second: str) -> None:
    from ...image import compare, store
    from ...paths import Paths

    paths = Paths(settings.root)
    one, other = store.find(paths, first), store.find(paths, second)
    found = compare.images(store.manifest(paths, one), store.manifest(paths, other))
    if settings.json:
        emit({"first": one, "second": other, "differences": [change.data() for change in found]})
        return
    common.say_changes(settings, found)
