"""For images.py, run in a host: ``make N`` writes the state and the recipes of N dormant jails of template shell (no
accounts, no homes: an update does not look at them); ``time`` moves their tag back and forth and prints the times."""

import json
import os
import sys
import time

from jailkit.image import tags
from jailkit.jail import recipe
from jailkit.paths import Paths
from jailkit.provision import images
from jailkit.provision.state import Row, State
from jailkit.spec import include

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
    folder = include.shipped(PATHS) + "/shell/files/etc"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/changed", "w") as file:
        file.write(f"{time.time()}\n")
    begin = time.perf_counter()
    done = images.update(PATHS, "shell")
    update = time.perf_counter() - begin
    assert done.changed
    rollbacks, switches = [], []
    for _ in range(20):
        begin = time.perf_counter()
        images.rollback(PATHS, "shell")
        rollbacks.append(time.perf_counter() - begin)
    for digest in [done.digest, done.before] * 10:
        begin = time.perf_counter()
        tags.move(PATHS, "shell", str(digest), "update")
        switches.append(time.perf_counter() - begin)
    found = {"switch_ms": min(switches) * 1000, "rollback_ms": min(rollbacks) * 1000, "update_s": update}
    print(json.dumps(found))


make(int(sys.argv[2])) if sys.argv[1] == "make" else timed()
