"""``jailctl image show IMAGE``"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from ..output import Settings, emit, pairs, say, table
from ..verb import verb
from . import common

if TYPE_CHECKING:
    from ...image.layer import Row

_EXAMPLES = """
jailctl image show shell
jailctl image show 1b91f997b7eb --json | jq .image.history
jailctl image show shell --files            every name in it, with mode, size and digest
"""


@verb("One image, by tag or digest: what it is made of, who uses it, and what its tags have meant before.", _EXAMPLES)
@click.argument("image", shell_complete=common.complete_image)
@click.option("--files", is_flag=True, help="List every name in it.")
def command(settings: Settings, image: str, files: bool) -> None:
    from ...image import layer, store, tags
    from ...paths import Paths
    from ...provision import images

    paths = Paths(settings.root)
    digest = store.find(paths, image)
    found = images.one(paths, digest)
    manifest = store.manifest(paths, digest)
    rows, settings_of = [layer.from_data(data) for data in manifest["entries"]], manifest["template"]
    history = {tag: [move.data() for move in reversed(tags.history(paths, tag))] for tag in found.tags}
    log = f"{paths.logs}/{found.template}.log"
    if settings.json:
        facts = {**found.data(), "used": found.used, "settings": settings_of, "history": history}
        emit({"image": facts, "root": paths.image_root(digest), "files": [row.data() for row in rows] if files else []})
        return
    if settings.quiet:
        return
    pairs([
        ("image", digest),
        ("template", found.template),
        ("source", settings_of.get("source", "")),
        ("tags", ", ".join(found.tags) or "none"),
        ("before", ", ".join(f"a rollback of {tag} goes here" for tag in found.before)),
        ("running", len(found.running) or ""),
        ("pinned by", ", ".join(found.pinned)),
        ("made", common.day(found.made)),
        ("holds", f"{len(rows)} names, {found.files} files, {common.size(found.size)}"),
        ("root", paths.image_root(digest)),
        ("log", log if os.path.exists(log) else ""),
    ])  # fmt: skip
    for tag, moves in history.items():
        say(settings, f"\nHistory of {tag}")
        table(("when", "image", "why"), [(common.day(move["at"]), move["digest"][:12], move["why"]) for move in moves])
    if files:
        say(settings)
        table(("mode", "size", "sha256", "path"), [_line(row) for row in rows])


def _line(row: Row) -> tuple[str, int | str, str, str]:
    if row.kind == "link":
        return "link", "", "", f"{row.path} -> {row.target}"
    return f"{row.mode:04o}", row.size if row.kind == "file" else "", row.sha256[:12], row.path
