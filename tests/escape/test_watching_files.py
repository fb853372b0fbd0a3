"""Being told what others do with files: fanotify for the whole machine, inotify for what one can name.

Attack A050. What a jail shares with others, the read-only /usr and the image, tells by inotify that *somebody* opened
one of those files, as it does to every user of a host; no name of anybody's own files is in them.
"""

from __future__ import annotations

import secrets

import pytest

from .cells import FIRST, PLAIN, SECOND, Cell, Cells
from .numbers import numbers

pytestmark = pytest.mark.host
PLACES = ["/", "/home", "/tmp", "/var/tmp", "/run", "/run/lock", "/dev/shm", "/dev/pts", "/etc", "/usr", "/usr/bin",
          "/var", "/proc", "/opt", "/srv"]  # fmt: skip


def seen(watcher: Cell, doer: Cell, paths: list[str], makes: list[str]) -> set[str]:
    watcher.send({"verb": "watch", "args": {"paths": paths, "seconds": 0.6}})
    assert "watching" in watcher.errors(5)
    for path in makes:
        doer.ask("write", path=path, data="x", create=True)
        doer.ask("make", kind="unlink", path=path)
    return set(watcher.receive()["is"]["names"])


def test_a050_inotify(cells: Cells) -> None:
    name = f"of-somebody-{secrets.token_hex(8)}"
    assert name in seen(cells.plain, cells.root, PLACES, [f"/var/tmp/{name}"])
    makes = [f"{place}/{name}" for place in ("/tmp", "/var/tmp", "/run/lock", "/dev/shm", f"/home/{SECOND}")]
    assert name not in seen(cells.first, cells.second, PLACES, makes)
    makes = [f"{place}/{name}" for place in ("/tmp", "/var/tmp", f"/home/{PLAIN}")]
    assert name not in seen(cells.first, cells.plain, PLACES, makes)
    with cells.enter(FIRST) as another:
        assert name in seen(another, cells.first, PLACES, [f"/tmp/{name}"])


def test_a050_places_of_others(cells: Cells) -> None:
    paths = [f"/home/{SECOND}", f"/home/{PLAIN}", cells.canary.path, "/var/lib/jailctl", "/run/jailctl", "/root/x"]
    assert set(cells.root.ask("watch", paths=paths[:5], seconds=0)["errno"]) == set()
    said = cells.first.ask("watch", paths=paths, seconds=0)["errno"]
    assert set(said) == set(paths) and set(said.values()) <= {"ENOENT", "EACCES"}


def test_a050_fanotify(cells: Cells) -> None:
    """Also the kind that Linux 5.13 gives to everybody (FAN_REPORT_FID): marks on a mount are not in it, but still."""
    n = numbers()
    assert cells.root.calls([n["fanotify_init"], 0x4, 0]) == [""]
    assert cells.plain.calls([n["fanotify_init"], 0x200, 0]) == [""]
    for flags in (0, 0x4, 0x8, 0x200, 0xE00):
        assert cells.first.calls([n["fanotify_init"], flags, 0]) == ["EPERM"]
