"""Runs inside the throw-away host, as root: many jails at one relay, as far as the relay can tell: a socket each and a
process that is their keeper. Prints what it measured, as JSON. Argument: how many.
"""

from __future__ import annotations

import _socket
import json
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, "/opt/jailctl/lib")

from jailkit.jail import connect
from jailkit.paths import Paths

PLACE = "/run/many"


def main(count: int) -> None:
    paths = Paths()
    os.makedirs(PLACE)
    keeper = subprocess.Popen(["/bin/sleep", "600"])
    began = time.monotonic()
    for number in range(count):
        made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        made.bind(f"{PLACE}/{number}")
        pidfd = os.pidfd_open(keeper.pid)
        connect._to_relay(paths, f"jail many-{number} syslog", [pidfd, made.fileno()])
        made.close()
        os.close(pidfd)
    registered = time.monotonic() - began
    print(json.dumps({"registered": registered}), flush=True)
    for line in sys.stdin:
        logger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for number in range(count):
            logger.sendto(f"<13>{line.strip()}".encode(), f"{PLACE}/{number}")
        print("{}", flush=True)
    keeper.kill()


if __name__ == "__main__":
    main(int(sys.argv[1]))
