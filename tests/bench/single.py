"""For provision.py, run in a host: adds users one at a time through the library; prints the seconds of each. Arguments:
beginning of their names, how many."""

import json
import sys
import time

from jailkit.paths import Paths
from jailkit.provision.host import Host
from jailkit.spec.settings import jail_spec

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHMBg5VHNv9s8cVqEI bench"
host = Host(Paths())
seconds = []
for number in range(int(sys.argv[2])):
    begin = time.perf_counter()
    host.apply(host.plan_add(jail_spec(f"{sys.argv[1]}{number}", template="shell"), [KEY]))
    seconds.append(time.perf_counter() - begin)
print(json.dumps(seconds))
