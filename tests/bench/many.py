"""For images.py, run in a host: ``make N`` writes the state and the recipes of N dormant jails of template shell (no
accounts, no homes: an update does not look at them); ``time`` moves their tag back and forth and prints the times."""

import json
import os
import statistics
import sys
import time

from jailkit.image import tags
from jailkit.jail import recipe
from jailkit.paths import Paths
from jailkit.provision import images
from jailkit.provision.state import Row, State

PATHS = Paths()
FIRST = 400_000


def make(count: int) -> None:
    state = State(PATHS.state_db)
    world = recipe.world(PATHS, tags.current(PATHS, "shell") or "")
    for number in range(count):
        name, uid, base = f"many{number}", FIRST + number, 1_000_000_000 + 1024 * number
        if state.get(name) is not None:
            continue
        spec = {"user": name, "template": "shell"}
        row = Row(name, uid, uid, base, "present", False, "", False, f"/home/{name}", "", spec, 0)
        state.reserve(row, lambda _uid, _base, row=row: (row.uid, row.gid, row.base))
        os.makedirs(f"{PATHS.jail(name)}/etc", exist_ok=True)
        made = recipe.Recipe(
            user=name, uid=uid, gid=uid, base=base, home=f"/home/{name}", hostname=name, template="shell", world=world
        )
        with open(PATHS.recipe(name), "w") as file:
            file.write(recipe.text(made))
    state.close()


def timed() -> None:
    file = f"{PATHS.opt}/templates/shell/files/etc/profile"
    with open(file, "a") as profile:
        profile.write(f"# {time.time()}\n")
    begin = time.perf_counter()
    done = images.update(PATHS, "shell")
    update = time.perf_counter() - begin
    assert done.changed
    begin = time.perf_counter()
    images.rollback(PATHS, "shell")
    rollback = time.perf_counter() - begin
    switches = []
    for digest in [done.digest, done.before] * 10:
        begin = time.perf_counter()
        tags.move(PATHS, "shell", str(digest), "update")
        switches.append(time.perf_counter() - begin)
    print(json.dumps({"switch_ms": statistics.median(switches) * 1000, "update_s": update, "rollback_s": rollback}))


make(int(sys.argv[2])) if sys.argv[1] == "make" else timed()
