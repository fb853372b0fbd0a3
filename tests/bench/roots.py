"""What starting a jail costs by the kind of its root, in one run: read-only, overlay (kept), ephemeral.

    sudo /var/tmp/jailkit-tests/venv/bin/python -m tests.bench.roots [--count 60] [--json]

The starts take turns on a throw-away host, the order changing each round. Absolute times on a shared machine mean
little: read the ratios. "writes": the same after the overlay has 1,000 files of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics

from tests.host import Host
from tests.writable import HERS, template

ROOTS = ("readonly", "overlay", "ephemeral")

STARTS = """
import json, sys, time
sys.path.insert(0, "/opt/jailctl/lib")
from jailkit.jail.start import start
from jailkit.jail.stop import stop
from jailkit.jail.recipe import load
from jailkit.paths import Paths
count, names = json.load(sys.stdin)
paths, times = Paths(), {name: [] for name in names}
for number in range(count + 3):
    for name in (names[number % len(names):] + names[:number % len(names)]):
        begin = time.perf_counter()
        start(paths, name)
        took = time.perf_counter() - begin
        stop(paths, load(paths, name).uid, name)
        if number >= 3:
            times[name].append(took)
json.dump(times, sys.stdout)
"""


def starts(host: Host, count: int) -> dict[str, float]:
    """Median of each in milliseconds."""
    done = host.run(
        ["/usr/bin/python3", "-I", "-c", STARTS], input=json.dumps([count, list(ROOTS)]), timeout=900, check=True
    )
    return {name: statistics.median(values) * 1000 for name, values in json.loads(done.stdout).items()}


def table(title: str, times: dict[str, float]) -> None:
    print(f"\n{title}")
    for name, value in times.items():
        print(f"  {name:<10} {value:7.2f} ms  {value / times['readonly']:5.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="starts of each kind")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with Host() as host:
        host.jailctl("setup", timeout=120)
        for root in ROOTS:
            template(host, f"root-{root}", root)
            host.jailctl("add-user", root, "--template", f"root-{root}", "--key", host.key(root) + ".pub")
        empty = starts(host, args.count)
        table("start of a jail", empty)
        fill = f"for i in $(seq 1000); do echo $i > {HERS}/$i; done"
        host.jailctl("exec", "overlay", "--", "sh", "-c", fill, timeout=120)
        host.jailctl("stop", "overlay")
        full = starts(host, args.count)
        table("start of a jail, the overlay with 1,000 files", full)
    if args.json:
        print(json.dumps({"empty": empty, "writes": full}, indent=1))


if __name__ == "__main__":
    main()
