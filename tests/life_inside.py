"""Runs inside a throw-away host, as provision_inside.py, whose functions it uses: changes of jails that are there, each
killed and each failing at every boundary. Started by test_lifecycle_crash.py."""

from __future__ import annotations

import functools
import glob
import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

from jailkit.errors import JailkitError
from jailkit.provision.host import Host, Plan
from jailkit.spec.jail import JailSpec
from tests.provision_inside import PATHS, Target, killed, line, login, programs, stray_names

Make = Callable[[Host], Plan]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43 + " new"


def wanted(host: Host, name: str, **fields: Any) -> Plan:
    return host.plan(host.declared(name).model_copy(update=fields), force=True)


def makers(what: str, name: str, spec: JailSpec) -> tuple[Make, Make]:
    """There and back again."""
    there: dict[str, Make] = {
        "set": lambda host: wanted(host, name, network="host", linger=7, keys=[KEY]),
        "suspend": lambda host: wanted(host, name, suspended="not paid", expires="2030-01-01T00:00:00Z"),
        "move": lambda host: wanted(host, name, home=f"/home/{name}.moved", linger=9),
        "copy": lambda host: wanted(host, name, home=f"/home/disk/{name}"),
        "rename": lambda host: host.plan_rename(name, f"{name}-new", force=True),
    }
    back: Make = lambda host: host.plan(spec, force=True)  # noqa: E731
    return there[what], (lambda host: host.plan_rename(f"{name}-new", name, force=True)) if what == "rename" else back


def run(make: Make, boundary: Any = None) -> None:
    host = Host()
    try:
        host.apply(make(host), boundary=boundary)
    finally:
        host.close()


def seen(name: str) -> dict[str, Any]:
    """All that stands of a jail, under its name and under the one that it may get, but for times and inodes."""
    found: dict[str, Any] = {}
    host = Host()
    found["open"] = host.state.open_names()
    for each in (name, f"{name}-new"):
        row = host.state.get(each)
        paths = (PATHS.spec(each), PATHS.key_file(each), PATHS.recipe(each), f"{PATHS.jail(each)}/suspended",
                 f"{PATHS.jail(each)}/etc/passwd", f"/var/mail/{each}")  # fmt: skip
        found[each] = {
            "row": row and [row.uid, row.gid, row.base, row.phase, row.home, row.spec],
            "account": [line(f"/etc/{file}", each) for file in ("passwd", "group", "shadow", "gshadow")],
            "files": [open(path, encoding="utf-8").read() if os.path.exists(path) else None for path in paths],
        }
    found["member"] = [line("/etc/group", group)[3] for group in ("jailed", "others")]
    homes = sorted(glob.glob(f"/home/{name}*") + glob.glob(f"/home/disk/{name}*"))
    found["homes"] = [[home, os.stat(home).st_uid, sorted(os.listdir(home))] for home in homes]
    found["stray"] = stray_names() + [path for path in os.listdir("/home/disk") if path.startswith(".")]
    host.close()
    return found


def add(name: str) -> JailSpec:
    host = Host()
    host.apply(host.plan(JailSpec(user=name, keys=[KEY.replace(" new", " old")])))
    spec = host.declared(name)
    uid = host.show(name).uid
    host.close()
    for path in (f"/home/{name}/work", f"/var/mail/{name}"):
        with open(path, "w", encoding="utf-8") as file:
            file.write("hers")
        os.chown(path, uid, uid)
    subprocess.run(["/usr/sbin/groupadd", "-f", "others"], check=True)
    subprocess.run(["/usr/sbin/usermod", "-aG", "others", name], check=True)
    return spec


def crash(what: str, name: str, logins: bool, only: list[int]) -> dict[str, Any]:
    """Kill a change at each boundary, and let the next run end it; then have it fail at each, and look whether all is
    as it was. Of "wrong" there must be nothing."""
    spec = add(name)
    there, back = makers(what, name, spec)
    before = seen(name)
    targets: list[Target] = []
    run(there, lambda number, label: targets.append((number, label)))
    after = seen(name)
    run(back)
    wrong = [] if differing(seen(name), before) == [] else ["it did not come back"]
    reached: list[tuple[Target, str]] = []
    for how, target in enumerate(chosen(targets, only)):
        if not killed(target, functools.partial(run, there)):
            wrong.append(f"not killed at {target}")
            continue
        if logins:
            reached.append((target, " ".join(login(each, None) for each in (name, f"{name}-new"))))
        if how % 2:
            run(there)
        else:
            host = Host()
            host.recover()
            host.close()
        wrong += [f"killed at {target}: {text}" for text in differing(seen(name), after)]
        run(back)
        wrong += [f"back after {target}: {text}" for text in differing(seen(name), before)]
    wrong += failing(there, back, chosen(targets, only), before, after, name)
    return {"targets": targets, "wrong": wrong, "logins": reached, "changed": differing(before, after) != []}


def chosen(targets: list[Target], only: list[int]) -> list[Target]:
    """Of all steps or only some; a step that is done is one whose successor is not begun."""
    return [target for target in targets if target[1] != "done" and (not only or target[0] in only)]


def failing(
    there: Make, back: Make, targets: list[Target], before: Any, after: Any, name: str
) -> list[str]:  # fmt: skip
    wrong = []
    for target in targets:
        if target[1] != "applied":
            continue

        def boundary(number: int, label: str, target: Target = target) -> None:
            if (number, label) == target:
                raise JailkitError("io.failed", "the disk is gone")

        try:
            run(there, boundary)
            wrong.append(f"did not fail at {target}")
        except JailkitError as error:
            if error.code != "io.failed":
                wrong.append(f"failing at {target}: {error}")
        now = seen(name)
        if now["open"]:  # past the point of no return: it goes on
            run(there)
            wrong += [f"after {target}: {text}" for text in differing(seen(name), after)]
            run(back)
        else:
            wrong += [f"undone at {target}: {text}" for text in differing(now, before)]
    return wrong


def differing(have: dict[str, Any], want: dict[str, Any]) -> list[str]:
    found = []
    for key in want:
        if isinstance(want[key], dict):
            found += [f"{key}.{part}: {have[key][part]} for {want[key][part]}" for part in want[key]
                      if sorted_lists(have[key][part]) != sorted_lists(want[key][part])]  # fmt: skip
        elif sorted_lists(have[key]) != sorted_lists(want[key]):
            found.append(f"{key}: {have[key]} for {want[key]}")
    return [text[:600] for text in found]


def sorted_lists(value: Any) -> Any:
    """Members of a group may stand in another order."""
    return json.dumps([",".join(sorted(text.split(","))) if isinstance(text, str) else text for text in value]
                      if isinstance(value, list) else value, sort_keys=True)  # fmt: skip


def one_of_many(host: Host, name: str, what: str, linger: int) -> Plan:
    if what == "rename":
        return host.plan_rename(name, f"{name}-new", force=True)
    if what == "back":
        return host.plan_rename(f"{name}-new", name, force=True)
    fields: dict[str, dict[str, Any]] = {
        "set": {"linger": linger}, "suspend": {"suspended": "x"}, "resume": {"suspended": None},
    }  # fmt: skip
    return wanted(host, name, **fields[what])


def renamed_by_many(names: list[str]) -> dict[str, Any]:
    """Each is renamed, suspended, set and moved by processes at once, with others that add and remove."""
    import random

    pids = []
    for number in range(6):
        pid = os.fork()
        if pid == 0:
            chance, codes = random.Random(number), []
            for _ in range(5):
                name, what = chance.choice(names), chance.choice(["set", "suspend", "resume", "rename", "back"])
                try:
                    run(functools.partial(one_of_many, name=name, what=what, linger=chance.randrange(9)))
                except JailkitError as error:
                    codes.append(error.code)
                except BaseException as error:  # noqa: BLE001
                    codes.append(repr(error))
            bad = [code for code in codes if code.split(".")[0] not in ("missing", "conflict", "busy")]
            print(bad, flush=True)
            os._exit(len(bad))
        pids.append(pid)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    host = Host()
    jails = host.list()
    left = [
        operation.describe() for jail in jails if jail.name.startswith("par")
        for operation in host.plan(host.declared(jail.name)).operations
    ]  # fmt: skip
    opened = host.state.open_names()
    host.close()
    names = sorted(jail.name for jail in jails)
    uids = len({jail.uid for jail in jails})
    return {"statuses": statuses, "names": names, "uids": uids, "left": left, "open": opened}


def executed_changes(name: str) -> list[list[str]]:
    """Every program that changes of a jail start."""
    spec = add(name)
    started = programs()
    for what in ("set", "suspend", "move", "rename"):
        there, back = makers(what, name, spec)
        run(there)
        run(back)
    return started
