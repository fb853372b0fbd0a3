"""``jailctl list``"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import Settings, emit, say, table
from .verb import verb

if TYPE_CHECKING:
    from ..provision.info import JailInfo

_EXAMPLES = """
jailctl list
jailctl list --json | jq -r '.jails[] | select(.state == "running") | .name'
"""
_COLUMNS = ("name", "state", "sessions", "uid", "template", "image", "network", "home")


@verb(
    "All jails, one line each. State: running; dormant (it starts at the next login); suspended; disabled; adding or "
    "removing (begun and not ended: run add-user or remove-user again); broken (jailctl show NAME says why). Image: "
    "what it runs in or would start from; old: it runs in an older one until it stops.",
    _EXAMPLES,
)
def command(settings: Settings) -> None:
    from ..paths import Paths
    from ..provision.host import Host

    host = Host(Paths(settings.root))
    try:
        jails = host.list()
    finally:
        host.close()
    if settings.json:
        emit({"jails": [jail.data() for jail in jails]})
    elif not jails:
        say(settings, "There are no jails. Make one: jailctl add-user NAME --key FILE")
    elif not settings.quiet:
        rows = [{**jail.data(), "image": _image(jail)} for jail in jails]
        table(_COLUMNS, [[row[column] for column in _COLUMNS] for row in rows])


def _image(jail: JailInfo) -> str:
    if jail.running_image not in (None, jail.image):
        return f"{jail.running_image[:12]} old" if jail.running_image else ""
    return jail.image[:12]
