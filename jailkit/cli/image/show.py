"""``jailctl image show IMAGE``"""

from __future__ import annotations

import os

import click

from ..output import Settings, emit, pairs, say, table
from ..verb import verb
from . import common

_EXAMPLES = """
jailctl image show shell
jailctl image show 1b91f997b7eb --json | jq .image.history
jailctl image show shell --files            every name in it, with mode, size and digest
"""


@verb("One image, by tag or digest: what it is made of, who uses it, and what its tags have meant before.", _EXAMPLES)
@click.argument("image", shell_complete=common.complete_image)
@click.option("--files", is_flag=True, help="List every name in it.")
def command(settings: Settings, image: str, files: bool) -> None:
    from ...image import store, tags
    from ...paths import Paths
    from ...provision import images

    paths = Paths(settings.root)
    digest = store.find(paths, image)
    found = images.one(paths, digest)
    rows = store.rows(paths, digest)
    history = {tag: [move.data() for move in reversed(tags.history(paths, tag))] for tag in found.tags}
    log = f"{paths.logs}/{found.template}.log"
    settings_of = store.manifest(paths, digest)["template"]
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
        table(
            ("mode", "size", "sha256", "path"),
            [
                (
                    f"{row.mode:04o}" if row.kind != "link" else "link", row.size if row.kind == "file" else "",
                    row.sha256[:12], f"{row.path} -> {row.target}" if row.kind == "link" else row.path,
                )
                for row in rows
            ],
        )  # fmt: skip
