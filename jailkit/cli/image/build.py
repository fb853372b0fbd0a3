"""``jailctl image build TEMPLATE...``"""

from __future__ import annotations

import click

from ..output import Settings, emit, escape, say
from ..progress import Progress
from ..verb import complete_template, verb
from . import common

_EXAMPLES = """
jailctl image build shell              then: jailctl update shell
jailctl image build web --no-cache     no layer of an earlier build is used
"""


@verb(
    "Build images of templates. A template without an image starts with it; else no jail is moved to it: that is what "
    "`jailctl update` does. Layers whose inputs are as before come from the cache. What went on is kept in "
    "/var/lib/jailctl/logs.",
    _EXAMPLES,
)
@click.argument("templates", metavar="TEMPLATE...", nargs=-1, required=True, shell_complete=complete_template)
@click.option("--no-cache", is_flag=True, help="Build every layer anew.")
@click.option("-v", "--verbose", is_flag=True, help="Print what goes on, line by line.")
def command(settings: Settings, templates: tuple[str, ...], no_cache: bool, verbose: bool) -> None:
    from ...image import build, tags

    paths = common.ready(settings)
    built = []
    for name in templates:
        with Progress(settings, f"building {name}") as progress:
            made = build.build(paths, name, not no_cache, common.liner(settings, progress, verbose))
        before = tags.current(paths, name)
        if before is None:
            tags.move(paths, name, made.digest, "build", made.inputs)
        built.append({**made.data(), "current": before in (None, made.digest)})
        what = "built" if made.changed else "No changes: it was there"
        say(settings, f"{escape(name)}: image {made.digest[:12]}: {what}")
        for layer in made.layers:
            how = "cached" if layer.cached else f"{layer.seconds} s"
            say(settings, f"  {layer.name:<8} {layer.rows:>6} names  {how}")
        if before not in (None, made.digest):
            say(settings, f"Its jails start from {str(before)[:12]} still: jailctl update {escape(name)}")
    if settings.json:
        emit({"images": built})
