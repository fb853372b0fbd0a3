"""Runs inside the throw-away host, as root: what an idle running jail costs. Arguments: network, count, image root,
image digest.

The jails are made of recipes alone (no accounts: the kernel does not ask for one), started, looked at and stopped.
MemAvailable falls by all that the kernel keeps for them too; it is read with caches dropped, so run nothing beside it.
Where something does run, what is charged to the host's own control group says more: it leaves out little (the kernel
charges most of what it keeps for a process, a mount or a namespace).
"""

from __future__ import annotations

import json
import os
import sys
import time

sys.path.insert(0, "/opt/jailctl/lib")

from jailkit.jail import recipe, start, stop
from jailkit.paths import Paths

FIRST = 400_000


def available() -> int:
    """KiB, once it stays within 64 KiB for a second: freed memory comes back late (RCU)."""
    last = 0
    for _ in range(20):
        os.sync()
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3\n")
        time.sleep(1)
        with open("/proc/meminfo") as file:
            now = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
        if abs(now - last) < 64:
            break
        last = now
    return now


def charged() -> int:
    """KiB of this host's control group; 0 where there is none."""
    for path in ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory.current"):
        if os.path.exists(path):
            with open(path) as file:
                return int(file.read()) // 1024
    return 0


def pss(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def main() -> None:
    network, count, digest = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    paths = Paths()
    names = [f"dense{number}" for number in range(count)]
    for number, name in enumerate(names):
        uid, home = FIRST + number, f"/srv/{name}"
        for path, mode in ((home, 0o700), (paths.jail(name), 0o755)):
            os.makedirs(path, mode, exist_ok=True)
        os.chown(home, uid, uid)
        made = recipe.Recipe(
            user=name, uid=uid, gid=uid, base=1_000_000_000 + number * recipe.RANGE, home=home, hostname=name,
            template="shell", image=digest, network=network, world=recipe.world(paths, digest),
            files={file: b"%s\n" % name.encode() for file in ("passwd", "group", "hostname", "hosts")},
        )  # fmt: skip
        recipe.save(paths, made)
    start.start(paths, names[0], forever=True)  # what the first of all costs is not one jail's
    before, owed = available(), charged()
    begin = time.perf_counter()
    records = [start.start(paths, name, forever=True) for name in names[1:]]
    seconds = time.perf_counter() - begin
    after, owing = available(), charged()
    result = {
        "network": network, "jails": len(records), "kib_each": (before - after) / len(records),
        "charged_kib_each": (owing - owed) / len(records),
        "keeper_pss_kib": sorted(pss(record.pid) for record in records)[len(records) // 2],
        "start_ms": seconds / len(records) * 1000,
    }  # fmt: skip
    for number, name in enumerate(names):
        stop.stop(paths, FIRST + number, name)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
