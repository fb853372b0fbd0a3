"""The limits of a jail: from the recipe to what holds them. Lies on the login path: imports nothing heavy.

Control groups hold what its processes use (slices.py), hook and watcher what concerns logins (login/door/admit.c,
ending.c), the door how many files are open. In a recipe ``hours`` are ``BEGIN-END``, minutes since Monday 0:00 without
the last one, and ``sources`` are ``ADDRESS/PREFIX``, the address in hexadecimal: so that nothing is parsed at a login.
"""

from __future__ import annotations

import os
import time

from ..errors import JailkitError
from ..kernel import caps, cgroup, proc
from ..kernel.cgroup import Amounts
from ..paths import Paths
from . import runtime, slices
from .recipe import Recipe

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    from typing import Any

ADMINISTRATOR = "jailctl"
"""The service of `jailctl enter` and `exec`, which limits of logins are not for."""


def amounts(paths: Paths, recipe: Recipe) -> Amounts:
    """What control groups have to hold. Raise ``host.limit`` where home or state are on no disk that can be slowed."""
    have = recipe.limits
    found = Amounts(
        memory=have.get("memory"), swap=have.get("swap"), cpu=have.get("cpu"), weight=have.get("cpu_weight"),
        processes=have.get("processes"), read=have.get("read"), write=have.get("write"), read_ops=have.get("read_ops"),
        write_ops=have.get("write_ops"),
    )  # fmt: skip
    if "io" in found.controllers():
        found.devices = devices(paths, recipe.home)
    return found


def devices(paths: Paths, home: str) -> list[str]:
    """The disks, MAJOR:MINOR, that hold the home and all that is the jail's own. Raise ``host.limit``."""
    from ..kernel import blockdev

    found: list[str] = []
    for path in (home, paths.jails):
        disks = blockdev.disks(path)
        if not disks:
            raise JailkitError(
                "host.limit", f"read and write cannot be limited: {path} is not on a disk of this host",
                f"findmnt -T {path}",
            )  # fmt: skip
        found += disks
    return sorted(set(found))


def of_logins(recipe: Recipe) -> dict[str, Any]:
    """Fields of the entry record that hook, watcher and door hold."""
    names = ("open_files", "sessions", "idle", "session", "expires")
    hours = [item.partition("-") for item in recipe.hours]
    sources = [item.partition("/") for item in recipe.sources]
    return {
        **{name: recipe.limits.get(name, 0) for name in names},
        "hours": tuple((int(begin), int(end)) for begin, _, end in hours),
        "sources": tuple((bytes.fromhex(address), int(prefix)) for address, _, prefix in sources),
    }


def refusal(recipe: Recipe, service: str, rhost: str) -> str:
    """The code by which a login is refused, or "": before a cold jail is started for it. The hook asks the same again,
    with the record (login/door/admit.c): it decides."""
    if service == ADMINISTRATOR:
        return ""
    if "expires" in recipe.limits and time.time() >= recipe.limits["expires"]:
        return "login.expired"
    now = time.localtime()
    minute = now.tm_wday * 1440 + now.tm_hour * 60 + now.tm_min
    fields = of_logins(recipe)
    if fields["hours"] and not any(begin <= minute < end for begin, end in fields["hours"]):
        return "login.hours"
    local = not rhost and service != "sshd"
    if fields["sources"] and not local and not _listed(fields["sources"], rhost):
        return "login.source"
    return ""


def _listed(sources: tuple[tuple[bytes, int], ...], rhost: str) -> bool:
    from _socket import AF_INET, AF_INET6, inet_pton  # the module socket costs 8 ms

    address = b""
    for family in (AF_INET, AF_INET6):
        try:
            address = inet_pton(family, rhost.partition("%")[0])
        except (OSError, ValueError):
            continue
        break
    if address[:12] == bytes(10) + b"\xff\xff":
        address = address[12:]
    for network, prefix in sources:
        rest = 8 * len(network) - prefix
        both = [int.from_bytes(one, "big") >> rest for one in (network, address)]
        if len(network) == len(address) and both[0] == both[1]:
            return True
    return False


def apply(paths: Paths, recipe: Recipe) -> list[str]:
    """Have a jail that runs hold the limits of ``recipe`` from now on; sentences of what does not hold before it starts
    anew. Nothing is done where it does not run. Raise ``host.limit``, ``host.systemd``, ``io.record``."""
    if not os.path.isdir(paths.run_jail(recipe.uid)):
        return []
    with runtime.Locked(paths, recipe.uid):
        record = runtime.running(paths, recipe.uid)
        if record is None or record.user != recipe.user:
            return []
        place, problems = slices.limit(recipe.uid, amounts(paths, recipe))
        if place.procs:
            cgroup.gather([os.path.dirname(path) for path in place.procs])
        record.cgroups, record.events = place.procs, place.events
        for name, value in of_logins(recipe).items():
            setattr(record, name, value)
        runtime.publish(paths, record)
        _open_files(recipe)
    _tell_watcher(paths, recipe.user)
    return problems


def _open_files(recipe: Recipe) -> None:
    """Lower it for processes that run; what they start inherits it, as later logins get it from the door. By a child
    with her ids, which needs no capability for that (prlimit(2)) and can change nobody else's."""
    most = recipe.limits.get("open_files")
    if most is None:
        return
    chroot = recipe.level == "chroot"
    pids = [pid for pid in proc.of_uid(recipe.uid) if chroot or proc.maps_itself(pid, recipe.uid)]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            caps.become(recipe.uid, recipe.gid)
            for pid in pids:
                _lower(pid, most)
            status = 0
        finally:
            os._exit(status)
    os.waitpid(child, 0)


def _lower(pid: int, most: int) -> None:
    import resource

    try:
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        if hard > most:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(soft, most), most))
    except (ProcessLookupError, PermissionError):
        pass  # it has ended, or has other ids


def _tell_watcher(paths: Paths, user: str) -> None:
    """By the hook, which knows how to find or to start it."""
    environment = {"PAM_TYPE": "limits", "PAM_USER": user, "PAM_SERVICE": ADMINISTRATOR}
    child = os.posix_spawn(paths.hook, [paths.hook], environment)
    os.waitpid(child, 0)
