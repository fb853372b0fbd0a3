"""Runs inside a throw-away host, by the product's own Python: what tests of batches do in the process of the library.
Started by test_batch.py, with provision_inside.py beside it (inside.py)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from jailkit.errors import JailkitError
from jailkit.provision import accounts
from jailkit.provision.host import Host
from jailkit.spec.settings import jail_spec
from tests import provision_inside as one

Target = tuple[int, str]


def add(names: list[str], boundary: Any = None, **options: Any) -> list[Any]:
    host = Host()
    try:
        requests = [(jail_spec(name, keys=options.get("keys")), options.get("password")) for name in names]
        return list(host.add_many(requests, options.get("jobs", 2), boundary=boundary))
    finally:
        host.close()


def remove(names: list[str], boundary: Any = None, **options: Any) -> list[Any]:
    host = Host()
    try:
        return list(host.remove_many(names, jobs=options.get("jobs", 2), boundary=boundary))
    finally:
        host.close()


def said(results: list[Any]) -> dict[str, Any]:
    return {
        "outcomes": dict(Counter(result.outcome for result in results)),
        "errors": {result.name: result.error.code for result in results if result.error},
    }


def checks() -> list[int]:
    return [subprocess.run([f"/usr/sbin/{tool}", "-q", "-r"], check=False).returncode for tool in ("pwck", "grpck")]


def many(count: int, bad: int, key: str) -> dict[str, Any]:
    """Add many with one in the middle that cannot be, twice; remove them."""
    names = [f"many{number:03}" for number in range(count)]
    os.mkdir(f"/home/{names[bad]}")
    found: dict[str, Any] = {
        "first": said(add(names, keys=[key])),
        "again": said(add(names, keys=[key])),
        "checks": checks(),
    }
    good = [name for name in names if name != names[bad]]
    found["wrong"] = [text for name in good[:: len(good) // 20] for text in one.whole(name, keys=[key])]
    os.rmdir(f"/home/{names[bad]}")
    found["left"] = one.left_over(names[bad])
    host = Host()
    jails = host.list()
    found["uids"], found["bases"] = len({jail.uid for jail in jails}), sorted(jail.base for jail in jails)
    host.close()
    found["gone"] = said(remove([*names, "nobody-here"]))
    found["left"] += [text for name in good for text in one.left_over(name)]
    return found


def alike(key: str) -> dict[str, Any]:
    """What a single addition and a batch leave of a jail, with what must differ taken out."""
    one.change(one.add_plan, "aaa", keys=[key], password="secret")
    add(["bbb", "ccc"], keys=[key], password="secret")
    found = {name: _left(name) for name in ("aaa", "bbb")}
    remove(["aaa", "bbb", "ccc"])
    return found


def _left(name: str) -> list[Any]:
    host = Host()
    row = host.state.get(name)
    host.close()
    assert row is not None
    changing = ((name, "NAME"), (str(row.uid), "UID"), (str(row.base), "BASE"))
    found: list[Any] = []
    for top in (
        one.PATHS.jail(name),
        one.PATHS.spec(name),
        one.PATHS.key_file(name),
        one.PATHS.uid_mark(row.uid),
        row.home,
    ):
        for path in sorted([top, *(f"{base}/{each}" for base, dirs, files in os.walk(top) for each in dirs + files)]):
            status = os.lstat(path)
            text = open(path, errors="replace").read() if os.path.isfile(path) else ""
            owners = [owner == row.uid for owner in (status.st_uid, status.st_gid)]
            found.append([path, status.st_mode, owners, status.st_nlink, text])
    found += [one.line(path, name)[:2] for path in ("/etc/group", "/etc/gshadow")]
    found += [one.line("/etc/passwd", name), one.line("/etc/shadow", name)[2:], accounts.is_member(name)]
    found.append([row.phase, row.existing, row.home, row.image, row.spec, row.level])
    whole = repr(found)
    for old, new in changing:
        whole = whole.replace(old, new)
    return [whole]


def killed(count: int, key: str, removal: bool) -> list[dict[str, Any]]:
    """Kill a batch at each of its boundaries; look; then let recovery, or the same call, end it."""
    names = [f"kill{number}" for number in range(count)]
    seen: list[Target] = []
    add(names, (lambda number, label: seen.append((number, label))) if not removal else None, keys=[key])
    remove(names, (lambda number, label: seen.append((number, label))) if removal else None)
    results = []
    for how, target in enumerate(seen):
        if removal:
            add(names, keys=[key])
        if not one.killed(target, lambda at: remove(names, at) if removal else add(names, at, keys=[key])):
            raise AssertionError(f"not killed at {target}")
        result: dict[str, Any] = {
            "at": target,
            "wrong": [text for name in names for text in one.account(name)["wrong"]],
        }
        if how % 2:
            host = Host()
            host.recover()
            result["wrong"] += [f"open: {name}" for name in host.state.open_names()]
            host.close()
        if removal:
            remove(names)
            result["wrong"] += [text for name in names for text in one.left_over(name)]
        else:
            ended = said(add(names, keys=[key]))
            result["wrong"] += list(ended["errors"].values())
            result["wrong"] += [text for name in names for text in one.whole(name, keys=[key])]
            remove(names)
        result["wrong"] += one.stray_names()
        results.append(result)
    return results


def full(count: int, place: str, sizes: list[int], key: str) -> list[dict[str, Any]]:
    """A small file system at ``place``; add; look; make room, look again, take all away."""
    names = [f"full{number:02}" for number in range(count)]
    results = []
    for size in sizes:
        with _mounted(place, size):
            found = said(add(names, keys=[key]))
            wrong = [text for name in names for text in one.account(name)["wrong"]]
            subprocess.run(["/bin/mount", "-o", "remount,size=64m", place], check=True)
            host = Host()
            host.recover()
            there = {jail.name for jail in host.list()}
            host.close()
            for name in names:
                wrong += one.whole(name, keys=[key]) if name in there else one.left_over(name)
            if len(there) != found["outcomes"].get("added", 0):
                wrong.append(f"{len(there)} are there")
            remove(sorted(there))
            results.append({"size": size, "wrong": wrong, "codes": sorted(set(found["errors"].values())), **found})
    return results


@contextlib.contextmanager
def _mounted(place: str, size: int) -> Iterator[None]:
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", f"size={size}k,mode=0755", "none", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", place], check=True)


def parallel(processes: int, each: int, rounds: int) -> dict[str, Any]:
    """Processes that add and remove names of their own and the same ones as all others; then all are added again."""
    shared = [f"same{number}" for number in range(3)]
    running = []
    for process in range(processes):
        pid = os.fork()
        if pid == 0:
            status = 9
            try:
                own = [f"p{process}n{number}" for number in range(each)]
                codes: set[str] = set()
                for _ in range(rounds):
                    codes |= set(said(add([*own, *shared]))["errors"].values())
                    codes |= set(said(remove([*shared, own[0]]))["errors"].values())
                # another one was first, each time
                status = 0 if codes <= {"missing.jail", "conflict.plan-aged"} else 8
                if status:
                    print(process, codes, file=sys.stderr)
            except JailkitError as error:
                print(process, error.code, error, file=sys.stderr)
            finally:
                os._exit(status)
        running.append(pid)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in running]
    names = [*(f"p{process}n{number}" for process in range(processes) for number in range(each)), *shared]
    ended = said(add(names))
    host = Host()
    jails = host.list()
    opened = host.state.open_names()
    host.close()
    wrong = [text for name in names for text in one.account(name)["wrong"]]
    found = {
        "statuses": statuses, "errors": ended["errors"], "names": sorted(jail.name for jail in jails) == sorted(names),
        "uids": len({jail.uid for jail in jails}), "bases": len({jail.base for jail in jails}), "open": opened,
        "wrong": wrong, "checks": checks(), "count": len(names),
    }  # fmt: skip
    remove(names)
    return found


def stopped(count: int, jobs: int) -> dict[str, Any]:
    """What is there of a batch that is stopped when the first jails are done, and how many requests were read."""
    read: list[int] = []
    results: list[Any] = []

    def requests() -> Iterator[Any]:
        for number in range(count):
            read.append(number)
            yield jail_spec(f"stop{number}"), None

    host = Host()
    for result in host.add_many(requests(), jobs, stop=lambda: bool(results)):
        results.append(result)
    found = {"read": len(read), "said": said(results), "there": len(host.list()), "open": host.state.open_names()}
    host.close()
    found["gone"] = said(remove([result.name for result in results], jobs=jobs))
    return found
