"""``jailctl apply -f FILE``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import JailkitError
from .output import Settings, emit, note
from .verb import verb

if TYPE_CHECKING:
    from ..provision.host import Host
    from ..provision.manifests import Wanted

_EXAMPLES = """
jailctl apply -f customers.yaml --dry-run        what would change, jail by jail, field by field
jailctl apply -f customers.yaml                  and do it; a second time: no changes
jailctl apply -f customers.d --prune --yes       a folder; what is in it no more is removed
generate-customers | jailctl apply -f -          from standard input
jailctl apply -f customers.yaml --json | jq -c 'select(.outcome == "failed")'
jailctl apply --schema > manifest.schema.json    for an editor
"""


@verb(
    "Make this host as manifests say: plans and jails added and changed, and what has drifted from them (a shell "
    "changed by hand, an edited key file, the owner of a home) put right. What is so already is not touched. A jail "
    "that fails stops no other. Killed or stopped at any point, the same command goes on.",
    _EXAMPLES,
    usage_hint="jailctl apply -f FILE; docs/manifests.md",
)
@click.option(
    "-f", "--file", "sources", multiple=True, metavar="FILE", type=click.Path(allow_dash=True),
    help="Manifest (.yaml, .yml, .toml, .json), a folder of them, or - for standard input. May be given several times.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing. As: jailctl diff -f FILE.")
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="How much is done at once.")
@click.option(
    "--policy", type=click.Choice(["mend", "report"]), default="mend", show_default=True,
    help="What becomes of jails that have drifted on this host: put right, or reported as a conflict and left alone.",
)  # fmt: skip
@click.option("--prune", is_flag=True, help="Remove jails and plans that came from these manifests and left them.")
@click.option("--keep-home", is_flag=True, help="With --prune: homes stay, closed to everybody but root.")
@click.option("--yes", is_flag=True, help="With --prune: remove without asking.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of manifests, for editors, and end.")
def command(
    settings: Settings, sources: tuple[str, ...], dry_run: bool, jobs: int, policy: str, prune: bool, keep_home: bool,
    yes: bool, schema: bool,
) -> int:  # fmt: skip
    if schema:
        from ..spec.schema import manifest_schema

        emit(manifest_schema())
        return 0
    if not sources:
        raise click.UsageError("-f FILE is missing")
    if keep_home and not prune:
        raise click.UsageError("--keep-home means something with --prune only")
    from ..library import require_gates
    from ..login.gates import not_set_up
    from ..paths import Paths
    from ..provision import manifests
    from ..provision.host import Host
    from . import applying, differing

    host = Host(Paths(settings.root))
    try:
        want = manifests.wanted(differing.read(settings, host.paths, sources).manifests.values())
        if dry_run:
            return differing.show(settings, host, want, prune, policy, jobs)
        if prune:
            _confirm(settings, host, want, yes, "-" in sources, keep_home)
        require_gates(host, want.jails.values())
        options = manifests.Options(jobs, "report" if policy == "report" else "mend", prune, keep_home)
        status = applying.run(settings, host, want, options)
        if missing := not_set_up(host.paths):
            note(settings, f"jailctl: note: {missing}")
        return status
    finally:
        host.close()


def _confirm(settings: Settings, host: Host, want: Wanted, yes: bool, stdin_read: bool, keep_home: bool) -> None:
    """Ask, where somebody is there to answer; without a question nothing is removed unasked for."""
    import sys

    from ..provision import manifests
    from .output import counted, escape

    names = manifests.gone(host, want)
    if yes or not names:
        return
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    what = f"{counted(len(names), 'jail')} would be removed, {'homes kept' if keep_home else 'with all homes'}: {shown}"
    if settings.json or stdin_read or not sys.stdin.isatty():
        raise JailkitError("usage.confirm", what, "add --yes, or leave --prune out")
    click.confirm(f"{escape(what)}. Go on?", abort=True, err=True)
