"""``jailctl template new NAME``"""

from __future__ import annotations

import click

from ..output import Settings, emit, escape, note, say
from ..verb import complete_template, verb

_EXAMPLES = """
jailctl template new mine                       a commented file to begin with
jailctl template new mine --from web            a copy of web
jailctl template new mine --from web --dry-run
"""


@verb("Begin a template of your own, in /etc/jailctl/templates/NAME.", _EXAMPLES)
@click.argument("name")
@click.option("--from", "source", metavar="TEMPLATE", shell_complete=complete_template, help="Copy this template.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
def command(settings: Settings, name: str, source: str | None, dry_run: bool) -> None:
    from ...paths import Paths
    from ...provision import new_template

    paths = Paths(settings.root)
    folder = new_template.folder(paths, name)
    content = new_template.copy(paths, name, source) if source else new_template.skeleton(name)
    if not dry_run:
        new_template.write(paths, name, content)
    if settings.json:
        emit({"name": name, "directory": folder, "files": sorted(content), "from": source, "dry_run": dry_run})
        return
    say(settings, f"{'would write' if dry_run else 'written'}, in {escape(folder)}:")
    for path in sorted(content):
        say(settings, f"  {escape(path)}")
    if new_template.hides(paths, name):
        note(settings, f"jailctl: note: it comes before the shipped {name}; jails get it by: jailctl update {name}")
    if not dry_run:
        say(settings, f"next: edit {folder}/template.toml")
        say(settings, f"      jailctl template check {name}")
        say(settings, f"      jailctl add-user NAME --template {name}")
