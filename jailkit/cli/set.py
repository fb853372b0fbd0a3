"""``jailctl set NAME... KEY=VALUE...``"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..errors import JailkitError
from . import many
from .output import Settings
from .verb import verb

if TYPE_CHECKING:
    from ..provision.host import Host
    from ..spec.jail import JailSpec

_EXAMPLES = """
jailctl set alice linger=600 limits.memory=1G     what is left out stays
jailctl set alice limits.memory=                  what the plan or the template says, again
jailctl set 'web-*' network=host                  all whose names begin so; quoted for the shell
jailctl set --plan silver plan=gold --jobs 2
jailctl set alice --add-key laptop.pub
jailctl set --all --remove-key SHA256:mVPw...     fingerprints: jailctl show NAME
"""
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@verb(
    "Change what jails should be. Keys: template (of the same level), plan, hostname, shell, home, network, linger, "
    "and limits.X for each limit; 'unlimited' lifts a limit of the plan, an empty value goes back to the default. A "
    "jail that runs keeps its root, shell and network until it stops; limits and keys act at once. What somebody has "
    "edited in the spec file is carried out with it.",
    _EXAMPLES,
)
@many.choice("NAME... KEY=VALUE...")
@click.option(
    "--add-key",
    "add",
    metavar="FILE",
    multiple=True,
    help="Public keys that may log in, too; - is standard input. Repeatable.",
)
@click.option(
    "--remove-key", "remove", metavar="FINGERPRINT", multiple=True, help="Of keys that may log in no more. Repeatable."
)
@click.option("--force", is_flag=True, help="End sessions where the home is to be moved.")
@click.option("--dry-run", is_flag=True, help="Show the steps and why; change nothing.")
def command(
    settings: Settings, words: tuple[str, ...], plan: str | None, template: str | None, every: bool, jobs: int,
    add: tuple[str, ...], remove: tuple[str, ...], force: bool, dry_run: bool,
) -> int:  # fmt: skip
    from ..spec import settings as words_of
    from . import provisioning
    from .add_user import read_keys

    values = words_of.settings([word for word in words if "=" in word], "", reset=True)
    added = read_keys(add)
    for fingerprint in remove:
        if not _FINGERPRINT.fullmatch(fingerprint):
            raise JailkitError("usage.fingerprint", f"{fingerprint!r} is no fingerprint", "ssh-keygen -l -f FILE")
    if not values and not added and not remove:
        raise JailkitError("usage.set", "nothing is to be set", "jailctl set NAME KEY=VALUE")
    names = many.chosen(settings, [word for word in words if "=" not in word], plan, template, every)

    def work(host: Host, name: str, step: many.Step) -> many.Entry:
        with provisioning.turn(host, name, dry_run):
            spec = words_of.changed(host.declared(name), values)
            spec = spec.model_copy(update={"keys": _keys(spec, added, remove)})
            return provisioning.carried_out(host, host.plan(spec, force=force), dry_run, step)

    def show(entry: many.Entry) -> None:
        provisioning.show_entry(settings, entry, len(names) > 1, "changed")

    return many.each(settings, names, work, show, "changing", jobs)


def _keys(spec: JailSpec, added: Sequence[str], removed: Sequence[str]) -> list[str]:
    from ..provision.keys import fingerprint

    left = [line for line in spec.keys if fingerprint(line) not in removed]
    blobs = {line.split(" ")[1] for line in left}
    return left + [line for line in added if line.split(" ")[1] not in blobs]
