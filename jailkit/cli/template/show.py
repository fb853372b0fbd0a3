"""``jailctl template show NAME``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..output import Settings, emit, escape, pairs, say
from ..verb import complete_template, verb

if TYPE_CHECKING:
    from ...image.template import Template
    from ...paths import Paths

_EXAMPLES = """
jailctl template show shell
jailctl template show shell --resolved          the whole, with all that it includes
jailctl template show shell --json | jq .spec.image
"""


@verb("One template: what it is made of and how its jails are.", _EXAMPLES, needs_root=False)
@click.argument("name", shell_complete=complete_template)
@click.option("--resolved", is_flag=True, help="Print the merged TOML, with where each value and file comes from.")
def command(settings: Settings, name: str, resolved: bool) -> None:
    from ...image.template import load_template
    from ...paths import Paths
    from ...spec.resolved import text

    paths = Paths(settings.root)
    template = load_template(paths, name)
    if settings.json:
        emit(_data(paths, template))
    elif settings.quiet:
        return
    elif resolved:
        say(settings, escape(text(template.spec, template.origins), keep="\n").rstrip("\n"))
        say(settings, "\n# Files:" + "".join(f"\n#   {row['path']}  from {row['from']}" for row in _files(template)))
    else:
        _print(settings, paths, template)


def _kept(paths: Paths, template: Template) -> str:
    return "own" if template.own_folder.startswith(f"{paths.templates}/") else "shipped"


def _files(template: Template) -> list[dict[str, str]]:
    names = [*(f"files/{path}" for path in template.files), *(f"jail/etc/{path}" for path in template.jail_files)]
    return [{"path": path, "from": template.origins.get(path, "")} for path in sorted(names)]


def _data(paths: Paths, template: Template) -> dict[str, Any]:
    origins = {path: name for path, name in template.origins.items() if not path.startswith(("files/", "jail/"))}
    return {
        "name": template.spec.name,
        "kept": _kept(paths, template),
        "directory": template.own_folder,
        "made_of": [{"name": name, "directory": folder} for name, folder in template.folders.items()],
        "spec": template.spec.model_dump(mode="json", by_alias=True),
        "origins": [{"key": path, "from": name} for path, name in origins.items()],
        "files": _files(template),
    }


def _print(settings: Settings, paths: Paths, template: Template) -> None:
    spec = template.spec
    linger = "never by itself" if spec.linger == "forever" else f"{spec.linger} s after the last session"
    pairs([
        ("name", spec.name),
        ("description", spec.description),
        ("kept", f"{_kept(paths, template)}, in {template.own_folder}"),
        ("includes", ", ".join(spec.includes)),
        ("programs", _source(template)),
        ("level", spec.level),
        ("root", spec.root + (f": {', '.join(spec.writable)}" if spec.writable else "")),
        ("shell", spec.shell),
        ("PATH", spec.path),
        ("network", spec.network),
        ("ends", linger),
        ("scratch", spec.tmp),
        ("admits", ", ".join(spec.services)),
        ("connectors", ", ".join(spec.connectors)),
        ("runs at build", len(spec.run) or None),
        ("smoke tests", len(spec.smoke) or None),
    ])  # fmt: skip
    files = _files(template)
    if files:
        say(settings, "\nFiles")
        pairs([("  " + row["path"], row["from"]) for row in files])


def _source(template: Template) -> str:
    spec = template.spec
    return {
        "host": f"the host's own, by {', '.join(spec.binds)}",
        "copy": "copied from the host",
        "debian": "a Debian of its own",
        "tar": f"from {spec.tar.file}" if spec.tar else "",
    }[spec.source]
