"""For images.py, run in a host: adds users of a template through the library, and prints the seconds that each took:
"all", "jail", what a jail costs without its account and home, and "many", what each of some hundreds in one call costs,
with both."""

import json
import sys
import time
from collections import defaultdict

from jailkit.paths import Paths
from jailkit.provision.host import Host
from jailkit.spec.settings import jail_spec

ACCOUNT = ("create-account", "make-home")
MANY = 512
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHMBg5VHNv9s8cVqEI bench"


def main() -> None:
    template, count = sys.argv[1], int(sys.argv[2])
    host = Host(Paths())
    host.apply(host.plan_add(jail_spec("more0", template=template), [KEY]))  # builds the image, if need be
    times: dict[str, list[float]] = defaultdict(list)
    for number in range(1, count + 1):
        marks: dict[int, list[float]] = defaultdict(list)
        begin = time.perf_counter()
        plan = host.plan_add(jail_spec(f"more{number}", template=template), [KEY])
        host.apply(plan, boundary=lambda step, label, marks=marks: marks[step].append(time.perf_counter()))  # type: ignore[misc]
        whole = time.perf_counter() - begin
        spent = sum(marks[at][-1] - marks[at][0] for at, step in enumerate(plan.operations) if step.kind in ACCOUNT)
        times["all"].append(whole)
        times["jail"].append(whole - spent)
    specs = [jail_spec(f"many{number}", template=template).model_copy(update={"keys": [KEY]}) for number in range(MANY)]
    begin = time.perf_counter()
    results = list(host.add_many([(spec, None) for spec in specs]))
    many = (time.perf_counter() - begin) / MANY
    assert {result.outcome for result in results} == {"added"}, [result.error for result in results]
    print(json.dumps({**times, "many": many}))


main()
