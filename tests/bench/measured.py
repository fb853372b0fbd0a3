"""For provision.py, run in a host: runs the command in its arguments; prints its seconds, processor seconds and the
most memory (MiB, without what they share) that it had with all its processes."""

import json
import os
import subprocess
import sys
import threading
import time


def memory(pid: int) -> int:
    """KiB of the process and all below it, each page counted for those who share it."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total = next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return total + sum(memory(int(child)) for child in file.read().split())
    except (OSError, StopIteration):
        return 0


def main() -> None:
    most = 0
    begin = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:])
    ended = threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.2):
            most = max(most, memory(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    seconds = time.perf_counter() - begin
    ended.set()
    watcher.join()
    used = os.times()
    print(json.dumps({"seconds": seconds, "cpu": used.children_user + used.children_system, "mib": most / 1024}))
    sys.exit(status)


main()
