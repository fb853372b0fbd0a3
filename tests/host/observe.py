"""The host-side view of a process: what the kernel says in /proc/PID, read from outside by root.

The pids are those of the pid namespace that the tests run in, so a process of a jail is seen as root of the machine
sees it, however it looks from inside.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import Any

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


@dataclass(frozen=True)
class Seen:
    """One process at one moment.

    root, cwd: ``(device, inode)``; cwd_path: as /proc/PID/cwd reads, seen from the process's own mount namespace
    namespaces: inode by name; caps: CapInh, CapPrm, CapEff, CapBnd, CapAmb as numbers
    uids, gids: real, effective, saved, file-system; groups: supplementary
    fds: what each descriptor reads as ("/dev/pts/0", "pipe:[123]"); fd_kinds: its file type from stat.S_IFMT
    """

    pid: int
    name: str
    argv: tuple[str, ...]
    parent: int
    root: tuple[int, int]
    cwd: tuple[int, int]
    cwd_path: str
    namespaces: dict[str, int]
    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    caps: dict[str, int]
    no_new_privs: bool
    seccomp: int
    seccomp_filters: int
    inner_pids: tuple[int, ...]
    cgroups: dict[str, str] = field(repr=False)
    fds: dict[int, str] = field(repr=False)
    fd_kinds: dict[int, int] = field(repr=False)
    environ: dict[str, str] = field(repr=False)
    umask: int = 0
    start_time: int = 0

    @property
    def inner_pid(self) -> int:
        """Its number in the pid namespace that it is in."""
        return self.inner_pids[-1]


def seen(pid: int) -> Seen:
    """Raises FileNotFoundError or ProcessLookupError if it is gone, or a zombie."""
    base = f"/proc/{pid}"
    status = read_status(base)
    fds, kinds = read_fds(base)
    root, cwd = os.stat(f"{base}/root"), os.stat(f"{base}/cwd")
    with open(f"{base}/stat") as stat_file:
        fields = stat_file.read().rpartition(")")[2].split()
    return Seen(
        pid=pid,
        name=status["Name"],
        argv=tuple(read_list(f"{base}/cmdline")),
        parent=int(status["PPid"]),
        root=(root.st_dev, root.st_ino),
        cwd=(cwd.st_dev, cwd.st_ino),
        cwd_path=os.readlink(f"{base}/cwd"),
        namespaces={name: os.stat(f"{base}/ns/{name}").st_ino for name in NAMESPACES},
        uids=numbers(status["Uid"]),
        gids=numbers(status["Gid"]),
        groups=numbers(status["Groups"]),
        caps={name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
        no_new_privs=status["NoNewPrivs"] == "1",
        seccomp=int(status["Seccomp"]),
        seccomp_filters=int(status.get("Seccomp_filters", "0")),
        inner_pids=numbers(status["NSpid"]),
        cgroups=read_cgroups(base),
        fds=fds,
        fd_kinds=kinds,
        environ=dict(entry.partition("=")[::2] for entry in read_list(f"{base}/environ")),
        umask=int(status["Umask"], 8),
        start_time=int(fields[19]),
    )


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split())


def read_status(base: str) -> dict[str, str]:
    with open(f"{base}/status", errors="backslashreplace") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}


def read_list(path: str) -> list[str]:
    with open(path, "rb") as file:
        return [part.decode(errors="backslashreplace") for part in file.read().split(b"\0") if part]


def read_cgroups(base: str) -> dict[str, str]:
    with open(f"{base}/cgroup") as file:
        return {
            controllers or "v2": path for _, controllers, path in (line.rstrip("\n").split(":", 2) for line in file)
        }


def read_fds(base: str) -> tuple[dict[int, str], dict[int, int]]:
    names: dict[int, str] = {}
    kinds: dict[int, int] = {}
    for entry in os.listdir(f"{base}/fd"):
        try:
            names[int(entry)] = os.readlink(f"{base}/fd/{entry}")
            kinds[int(entry)] = stat.S_IFMT(os.stat(f"{base}/fd/{entry}").st_mode)
        except FileNotFoundError:  # closed between the listing and the look
            names.pop(int(entry), None)
    return names, kinds


def below(init: int) -> list[Seen]:
    """``init`` and all that descends from it, so also what runs in the jails; ``init`` first, then by pid."""
    parents = {
        pid: parent
        for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
        if (parent := parent_of(pid)) is not None
    }
    found: list[Seen] = []
    for pid in sorted(parents):
        above: int | None = pid
        while above is not None and above != init:
            above = parents.get(above)
        if above == init:
            try:
                found.append(seen(pid))
            except (FileNotFoundError, ProcessLookupError, KeyError):
                continue  # it ended while we looked
            except PermissionError:  # as below /proc for one that ends between a link's lookup and its following
                if parent_of(pid) is not None:
                    raise
    return sorted(found, key=lambda process: (process.pid != init, process.pid))


def parent_of(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def as_table(processes: list[Seen]) -> list[dict[str, Any]]:
    """For a failure message: who runs what."""
    return [
        {"pid": process.pid, "parent": process.parent, "uid": process.uids[0], "argv": " ".join(process.argv)}
        for process in processes
    ]
