"""What a jail has used since the boot: a small file in its runtime directory, kept by the hook (login/door/meter.c: it
counts logins, and reads the control group before that goes with the jail) and by :func:`settle`. The jail's lock is
held for each change. provision/usage.py takes it up."""

from __future__ import annotations

import os
import struct

from ..paths import Paths
from . import slices

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC = b"JAILMET1"
_METER = struct.Struct("=8s5Q")


class Meter:
    """logins: sessions that were opened. cpu: microseconds. peak: bytes of memory at once, since it was last taken. All
    since the boot. group, seen: inode of the control group that was read last, and its CPU time then."""

    def __init__(self, logins: int = 0, group: int = 0, seen: int = 0, cpu: int = 0, peak: int = 0) -> None:
        self.logins, self.group, self.seen, self.cpu, self.peak = logins, group, seen, cpu, peak

    def pack(self) -> bytes:
        return _METER.pack(MAGIC, self.logins, self.group, self.seen, self.cpu, self.peak)


def read(paths: Paths, uid: int) -> Meter | None:
    """None: the jail has had no session since the boot, or the file is damaged, and begins anew."""
    try:
        fd = os.open(paths.meter(uid), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        data = os.read(fd, 4096)
    finally:
        os.close(fd)
    if len(data) != _METER.size or not data.startswith(MAGIC):
        return None
    return Meter(*_METER.unpack(data)[1:])


def settle(paths: Paths, uid: int, procs: Sequence[str] | None, taken: bool = False) -> Meter:
    """Read the control group of a jail into its file. procs: ``cgroups`` of its entry record; None: it does not run.
    taken: the caller takes up what is returned, so the peak begins anew. Raise OSError."""
    meter = read(paths, uid) or Meter()
    cpu, group, peak = (0, 0, 0) if procs is None else figures(uid, procs)
    if group:
        meter.cpu += cpu - meter.seen if group == meter.group and cpu >= meter.seen else cpu
        meter.group, meter.seen = group, cpu
    meter.peak = max(meter.peak, peak)
    kept = Meter(meter.logins, meter.group, meter.seen, meter.cpu, 0 if taken else meter.peak)
    fd = os.open(paths.meter(uid), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, kept.pack(), 0)
    finally:
        os.close(fd)
    return meter


def figures(uid: int, procs: Sequence[str]) -> tuple[int, int, int]:
    """CPU time in microseconds, inode of the control group that counts it (0: nobody counts), most memory at once in
    bytes (0: not known). Of the groups of v1, each file is in one; with systemd it is the user's slice."""
    cpu = group = peak = 0
    for path in [os.path.dirname(path) for path in procs] or [slices.of_user(uid)]:
        nanoseconds, used = _number(f"{path}/cpuacct.usage"), _number(f"{path}/cpu.stat", "usage_usec ")
        if nanoseconds is not None or used is not None:
            cpu, group = used if used is not None else (nanoseconds or 0) // 1000, os.stat(path).st_ino
        peak = _number(f"{path}/memory.peak") or _number(f"{path}/memory.max_usage_in_bytes") or peak
    return cpu, group, peak


def _number(path: str, key: str = "") -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            line = file.readline()
        return int(line.removeprefix(key))
    except (OSError, ValueError):
        return None
