"""Runs inside the throw-away host, as root: how long it takes to get into a jail, and out again.

Reads a JSON object on standard input (see login.py), writes one. All contenders take turns, so that a slow moment of
the
machine meets all of them; the caller reports ratios and differences of medians.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def spawn(argv: list[str]) -> float:
    """Seconds from before the spawn to after the wait. Fails unless the program succeeds."""
    begin = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, {"PATH": "/usr/bin:/bin"})
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - begin
    if status != 0:
        raise SystemExit(f"{' '.join(argv)}: status {os.waitstatus_to_exitcode(status)}")
    return took


def rounds(contenders: dict[str, list[str]], count: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(count + 3):  # three to warm up
        for name, argv in contenders.items():
            took = spawn(argv)
            if number >= 3:
                times[name].append(took)
    return times


def as_user(uid: int, gid: int, work: dict[str, list[str]], count: int) -> dict[str, list[float]]:
    """The rounds in a child that is the user: what a login does when sshd is done with it."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups([gid])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        os.write(write, json.dumps(rounds(work, count)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    result = json.loads(data)
    assert isinstance(result, dict)
    return result


def main() -> None:
    task = json.load(sys.stdin)
    hook = {"PAM_USER": task["user"], "PAM_SERVICE": "su", "PAM_TTY": "", "PAM_RHOST": ""}
    subprocess.run([task["hook"]], env={**hook, "PAM_TYPE": "open_session"}, check=True)
    try:
        results = as_user(task["uid"], task["gid"], task["as_user"], task["count"])
        results |= {f"{name}": values for name, values in rounds(task["as_root"], task["count"]).items()}
        if task["jk"]:
            jk = task["jk"]
            results |= as_user(jk["uid"], jk["gid"], jk["work"], task["count"])
    finally:
        subprocess.run([task["hook"]], env={**hook, "PAM_TYPE": "close_session"}, check=True)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
