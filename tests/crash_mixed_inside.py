"""Runs inside a throw-away host, by the product's own Python, for test_crash_mixed.py.

``make`` reads lines ``[[ARG, ...], SECONDS]``: does what jailctl does with the arguments, in a process of its own,
kills it after so many seconds, and says how that ended (``ended STATUS``, as waitpid(2) has it). Forked, as each start
of Python with all that is imported costs more than what is tried here. ``look`` prints what is left over, as JSON."""

from __future__ import annotations

import json
import os
import select
import sys
import traceback

from jailkit.cli import main
from jailkit.paths import Paths
from jailkit.provision.host import Host

PATHS = Paths()


def act(argv: list[str]) -> int:
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.setsid()
    try:
        return main.main(argv)
    except BaseException:  # noqa: BLE001 - the forked child must not run the maker's own code
        print(traceback.format_exc(), flush=True)
        return 99


def make() -> None:
    for line in sys.stdin:
        argv, seconds = json.loads(line)
        child = os.fork()
        if child == 0:
            os.dup2(1, 2)
            os._exit(act(argv))
        pidfd = os.pidfd_open(child)
        select.select([pidfd], [], [], seconds)
        os.kill(child, 9)
        os.close(pidfd)
        print("ended", os.waitpid(child, 0)[1], flush=True)


def look() -> None:
    host = Host(PATHS)
    rows = host.state.all()
    ranges = sorted((row.base, row.base + 1024, row.name) for row in rows)
    overlapping = [(one, two) for one, two in zip(ranges, ranges[1:], strict=False) if one[1] > two[0]]
    uids = [row.uid for row in rows]
    places = ("/home", "/root", "/root/backups", PATHS.keys, PATHS.specs, PATHS.jails, PATHS.images, PATHS.tags, "/etc")
    stray = [f"{place}/{name}" for place in places for name in os.listdir(place) if half(place, name)]
    stray += [f"/etc/{name}.lock" for name in ("passwd", "shadow", "group", "gshadow")
              if os.path.exists(f"/etc/{name}.lock")]  # fmt: skip
    known = {row.name for row in rows}
    stray += [f"{place}/{name}" for place in (PATHS.jails, "/home") for name in os.listdir(place)
              if name not in known and name != "other" and not name.startswith(".")]  # fmt: skip
    print(json.dumps({
        "open": host.state.open_names(), "stray": sorted(set(stray)), "overlapping": overlapping,
        "doubled": [uid for uid in uids if uids.count(uid) > 1],
    }))  # fmt: skip
    host.close()


def half(place: str, name: str) -> bool:
    """A temporary name, as one of ours."""
    if place == "/etc":
        return name.startswith((".passwd", ".shadow", ".group", ".gshadow")) or name.endswith("+")
    if place == "/root/backups":
        return not name.endswith(".tar.zst")
    return name.startswith(".") and name not in (".lock", ".bashrc", ".profile", ".ssh", ".cache")


make() if sys.argv[1] == "make" else look()
