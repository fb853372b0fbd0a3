"""The limits on cgroup v1, each controller a hierarchy of its own: Documentation/admin-guide/cgroup-v1/."""

from __future__ import annotations

import errno
import os

from ..libc import put
from . import MOUNT, OWN, Amounts

_NAMES = {"pids": "pids", "memory": "memory", "cpu": "cpu", "io": "blkio", "account": "cpuacct"}
_ACCOUNT = ("account", "memory")
"""Those that count what is used, limited or not."""
_PERIOD = 100_000
_THROTTLE = {
    "read": "blkio.throttle.read_bps_device", "write": "blkio.throttle.write_bps_device",
    "read_ops": "blkio.throttle.read_iops_device", "write_ops": "blkio.throttle.write_iops_device",
}  # fmt: skip


def _hierarchy(controller: str) -> str:
    """Its mount point, or "". Controllers that share one have links to it, as ``cpu`` to ``cpu,cpuacct``."""
    path = os.path.realpath(f"{MOUNT}/{_NAMES[controller]}")
    return path if os.path.exists(f"{path}/cgroup.procs") else ""


def held() -> set[str]:
    found = set()
    files = {
        "processes": ("pids", ""), "memory": ("memory", "memory.limit_in_bytes"),
        "swap": ("memory", "memory.memsw.limit_in_bytes"), "cpu": ("cpu", "cpu.cfs_quota_us"),
        "weight": ("cpu", "cpu.shares"), **{name: ("io", file) for name, file in _THROTTLE.items()},
    }  # fmt: skip
    for name, (controller, file) in files.items():
        top = _hierarchy(controller)
        if top and os.path.exists(f"{top}/{file}"):
            found.add(name)
    return found


def places(name: str) -> list[str]:
    tops = [_hierarchy(controller) for controller in _NAMES]
    return [f"{top}/{OWN}/{name}" for top in dict.fromkeys(tops) if top]


def make(name: str, controllers: list[str], account: bool) -> list[str]:
    """Beside that of pids, which there is already, the groups of ``controllers``, and those that an earlier limit
    made. account: and those that count what is used, limited or not, as far as they can be made."""
    for controller in dict.fromkeys((*controllers, *(_ACCOUNT if account else ()))):
        top = _hierarchy(controller)
        if controller == "pids" or not (top or controller in controllers):
            continue
        try:
            os.makedirs(f"{top}/{OWN}/{name}", 0o755, exist_ok=True)
        except OSError:
            if controller in controllers:
                raise
    return [path for path in places(name)[1:] if os.path.isdir(path)]


def _group(name: str, controller: str) -> str:
    """The directory, or "" where no limit ever asked for one."""
    path = f"{_hierarchy(controller)}/{OWN}/{name}"
    return path if os.path.isdir(path) else ""


def limit(name: str, amounts: Amounts) -> list[str]:
    problems: list[str] = []
    put(f"{_group(name, 'pids')}/pids.max", "max" if amounts.processes is None else str(amounts.processes))
    if group := _group(name, "memory"):
        problems += _memory(group, amounts)
    if group := _group(name, "cpu"):
        put(f"{group}/cpu.cfs_period_us", str(_PERIOD))
        # the kernel takes no less than 1 ms
        quota = -1 if amounts.cpu is None else max(1000, amounts.cpu * _PERIOD // 1_000_000)
        put(f"{group}/cpu.cfs_quota_us", str(quota))
        # 1024 shares are v2's weight 100; it takes 2 to 262144
        put(f"{group}/cpu.shares", str(1024 if amounts.weight is None else max(2, amounts.weight * 1024 // 100)))
    if group := _group(name, "io"):
        _throttle(group, amounts)
    return problems


def _memory(group: str, amounts: Amounts) -> list[str]:
    """memsw is memory and swap together, and never the smaller of the two: so it goes out of the way first."""
    both = f"{group}/memory.memsw.limit_in_bytes"
    if os.path.exists(both):
        put(both, "-1")
    problems = _bound(f"{group}/memory.limit_in_bytes", f"{group}/memory.usage_in_bytes", amounts.memory)
    if amounts.memory is not None and amounts.swap is not None:
        problems += _bound(both, f"{group}/memory.memsw.usage_in_bytes", amounts.memory + amounts.swap)
    return problems


def _bound(file: str, usage: str, size: int | None) -> list[str]:
    """v1 refuses a limit below what is in use and cannot be given back (EBUSY), where v2 ends processes: then what is
    in use is the limit, so that it grows no further."""
    if size is None:
        put(file, "-1")
        return []
    for attempt in range(20):
        try:
            put(file, str(size))
            return []
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            with open(usage, encoding="ascii") as used:
                now = int(used.read())
            try:
                put(file, str(now + (attempt << 20)))
            except OSError as again:
                if again.errno != errno.EBUSY:
                    raise
            else:
                return [f"memory: {now >> 20} MiB are in use and cannot be taken back; it grows no further"]
    raise OSError(errno.EBUSY, f"{file}: {os.strerror(errno.EBUSY)}")


def _throttle(group: str, amounts: Amounts) -> None:
    for name, file in _THROTTLE.items():
        value = getattr(amounts, name) or 0
        with open(f"{group}/{file}", encoding="ascii") as now:
            before = [line.split()[0] for line in now]
        for device in before:
            if device not in amounts.devices:
                put(f"{group}/{file}", f"{device} 0")  # 0 lifts it
        for device in amounts.devices:
            put(f"{group}/{file}", f"{device} {value}")


def events(name: str, amounts: Amounts) -> list[str]:
    found = []
    if amounts.processes is not None:
        found.append(f"{_group(name, 'pids')}/pids.events")
    if amounts.memory is not None:
        found.append(f"{_group(name, 'memory')}/memory.oom_control")
    return found
