"""Which control groups a throw-away host gets: a child of our own group in every hierarchy, v1 and v2 alike, so that
limits set on the test run hold for it too."""

from __future__ import annotations

import os
import time

from . import boot

PREFIX = "jailkit-test-"
YOUNG = 60
"""Seconds in which a group without processes may be one that is just being made."""


def plan(number: int) -> dict[str, str]:
    """Directory to make by controllers ("memory", "name=systemd", "v2"). Sweeps what killed runs left."""
    mounts = hierarchies()
    own: dict[str, str] = {}
    with open("/proc/self/cgroup") as file:
        for line in file:
            _id, controllers, path = line.rstrip("\n").split(":", 2)
            if (place := mounts.get(controllers or "v2")) is not None:
                own[controllers or "v2"] = os.path.normpath(f"{place}/{path}")
    for directory in own.values():
        sweep(directory)
    name = f"{PREFIX}{os.getpid()}-{start_time(os.getpid())}-{number}"
    return {controllers: f"{directory}/{name}" for controllers, directory in own.items()}


def hierarchies() -> dict[str, str]:
    """Mount point by controllers, as /proc/self/cgroup spells them."""
    found: dict[str, str] = {}
    with open("/proc/self/cgroup") as file:
        wanted = [line.split(":", 2)[1] for line in file]
    with open("/proc/self/mounts") as file:
        for _device, place, kind, options, *_rest in map(str.split, file):
            if kind == "cgroup2":
                found["v2"] = place
            elif kind == "cgroup":
                for controllers in wanted:
                    if controllers and set(controllers.split(",")) <= set(options.split(",")):
                        found[controllers] = place
    return found


def sweep(directory: str) -> None:
    for name in os.listdir(directory):
        if name.startswith(PREFIX):
            pid, started = name.removeprefix(PREFIX).split("-")[:2]
            if start_time(int(pid)) != int(started) and is_left_over(f"{directory}/{name}"):
                boot.remove_cgroup(f"{directory}/{name}", tries=1)


def is_left_over(directory: str) -> bool:
    """Old and empty: a test run in another pid namespace may have made it, whose pid means nothing here."""
    try:
        if time.time() - os.stat(directory).st_ctime < YOUNG:
            return False
        for here, _names, _files in os.walk(directory):
            with open(f"{here}/cgroup.procs") as procs:
                if procs.read(1):
                    return False
    except FileNotFoundError:
        return False
    return True


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat; -1 if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return -1
