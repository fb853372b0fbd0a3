"""The disks that a path lies on."""

from __future__ import annotations

import os

from .beneath import mount_id


def disks(path: str) -> list[str]:
    """MAJOR:MINOR of the whole disks (partitions cannot be slowed by themselves) of the file system that ``path``, or
    what is there of it, lies on. [] where that is on no disk of this host: memory, a network, another kind of
    volume."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    found = os.stat(path).st_dev
    if os.major(found) == 0:  # btrfs and others, which have devices below that stat(2) does not say
        kind, source = _mounted(path)
        if not source.startswith("/dev/") or not os.path.exists(source):
            return []
        found = os.stat(source).st_rdev
        if kind == "btrfs":
            return sorted({_whole(device) for device in _btrfs(_name(found))})
    number = _name(found)
    return [_whole(number)] if os.path.isdir(f"/sys/dev/block/{number}") else []


def _name(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"


def _mounted(path: str) -> tuple[str, str]:
    """Kind and source of the mount that ``path`` is in, by its id (proc_pid_fdinfo(5), proc_pid_mountinfo(5))."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mount = str(mount_id(fd))
    finally:
        os.close(fd)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            if line.split(" ", 1)[0] == mount:
                kind, source = line.rpartition(" - ")[2].split()[:2]
                return kind, source
    return "", ""


def _btrfs(device: str) -> list[str]:
    """All devices of the btrfs that ``device`` is one of."""
    top = "/sys/fs/btrfs"
    for name in os.listdir(top) if os.path.isdir(top) else []:
        folder = f"{top}/{name}/devices"
        if os.path.isdir(folder):
            found = [_read(f"{folder}/{entry}/dev") for entry in os.listdir(folder)]
            if device in found:
                return found
    return [device]


def _whole(device: str) -> str:
    """The disk that a partition is of."""
    place = os.path.realpath(f"/sys/dev/block/{device}")
    return _read(f"{os.path.dirname(place)}/dev") if os.path.exists(f"{place}/partition") else device


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()
