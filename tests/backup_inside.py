"""Runs inside a throw-away host, as provision_inside.py, whose functions it uses: backups, restores and copies, killed
at every boundary that is their own. Started by test_backup.py."""

from __future__ import annotations

import functools
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

from jailkit.kernel import freezer
from jailkit.provision.backup.plans import Backup, Clone, Restore
from jailkit.provision.host import Host, Plan
from tests.provision_inside import PATHS, Target, killed, left_over, stray_names

Make = Callable[[Host], Plan]
FILE = "/srv/backups/kim.tar.zst"


def maker(what: str) -> tuple[str, Make]:
    """The jail that a change is about, and the change."""
    found: dict[str, tuple[str, Make]] = {
        "backup": ("kim", lambda host: host.asked("kim", Backup("kim", "/srv/backups/new.tar.zst"))),
        "restore": ("kim", lambda host: host.asked("kim", Restore("kim", FILE))),
        "again": ("ann", lambda host: host.asked("ann", Restore("kim", FILE, "ann"))),
        "clone": ("ann", lambda host: host.asked("ann", Clone("kim", "ann"))),
        "archive": ("kim", lambda host: host.plan_remove("kim", archive="/srv/backups/new.tar.zst", whole=True)),
    }
    return found[what]


def carry_out(make: Make, boundary: Any = None) -> None:
    host = Host()
    try:
        host.apply(make(host), boundary=boundary)
    finally:
        host.close()


def content(name: str) -> list[str]:
    return sorted(os.listdir(f"/home/{name}")) if os.path.isdir(f"/home/{name}") else []


def left() -> list[str]:
    """Names that only a killed run leaves, and what is still frozen."""
    found = [f"/home/{name}" for name in os.listdir("/home") if name.startswith(".")]
    found += [f"/srv/backups/{name}" for name in os.listdir("/srv/backups") if name.startswith(".")]
    for name in ("kim", "ann"):
        if os.path.isdir(PATHS.jail(name)):
            found += [path for path in os.listdir(PATHS.jail(name)) if path.startswith("layer.")]
    for base, _, _ in os.walk("/sys/fs/cgroup/freezer") if freezer.v1() else ():
        if "jailctl-" in base:
            found.append(base)
    return found + stray_names()


OURS = ("archive", "unpack", "hold", "swap", "release", "drop-old")


def targets(make: Make) -> list[Target]:
    """The boundaries of steps that no other change has."""
    seen: list[Target] = []
    host = Host()
    numbers = {number for number, step in enumerate(make(host).operations) if step.kind in OURS}
    host.close()
    carry_out(make, lambda number, label: seen.append((number, label)))
    # the moment before a step, and the one after its mark, are those after and before its neighbours
    return [target for target in seen if target[0] in numbers and target[1] not in ("doing", "done")]


def after(what: str) -> list[str]:
    """What is wrong once the change was carried out."""
    wrong = left()
    host = Host()
    wrong += [f"open plan of {name}" for name in host.state.open_names()]
    if what == "archive":
        wrong += left_over("kim")
    elif content("kim") != ["alive", "old"]:
        wrong.append(f"kim has {content('kim')}")
    if what in ("again", "clone"):
        uid = host.show("ann").uid
        wrong += [] if content("ann") == ["alive", "old"] else [f"ann has {content('ann')}"]
        wrong += [name for name in content("ann") if os.lstat(f"/home/ann/{name}").st_uid != uid]
        wrong += [] if host.show("ann").state in ("dormant", "running") else [host.show("ann").state]
    if what in ("backup", "archive"):
        argv = ["/usr/local/sbin/jailctl", "backup", "--verify", "/srv/backups/new.tar.zst"]
        wrong += [] if subprocess.run(argv, capture_output=True, check=False).returncode == 0 else ["not whole"]
        os.unlink("/srv/backups/new.tar.zst")
    host.close()
    return wrong


def back(what: str) -> None:
    """To where the change begins: kim with "old", no ann."""
    host = Host()
    if what in ("again", "clone"):
        host.apply(host.plan_remove("ann"))
    elif what == "archive":
        host.apply(host.asked("kim", Restore("kim", FILE)))
    host.close()


def crash(what: str) -> list[dict[str, Any]]:
    name, make = maker(what)
    points = targets(make)
    results: list[dict[str, Any]] = [{"at": None, "wrong": after(what)}]
    back(what)
    for target in points:
        died = killed(target, functools.partial(carry_out, make))
        shut = what == "restore" and content("kim") not in (["alive", "old"], ["alive", "old", "young"])
        try:
            carry_out(make)
            wrong = after(what)
        except Exception as error:  # noqa: BLE001 - to be told
            wrong = [f"{type(error).__name__}: {error}"]
        results.append({"at": target, "wrong": wrong + ([] if died else ["not killed"]) + (["half"] if shut else [])})
        back(what)
    return results


def kill_in_the_middle(rounds: int) -> list[str]:
    """A backup of a running jail, killed while it reads; its jail goes on at once, and the next run is as any."""
    wrong: list[str] = []
    argv = ["/usr/local/sbin/jailctl", "backup", "big", "/srv/backups/big.tar.zst"]
    for number in range(rounds):
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not frozen() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        wrong += [] if frozen() else ["it was never held still"]
        time.sleep(0.05 * number)
        process.kill()
        process.wait()
        end = time.monotonic() + 10
        while frozen() and time.monotonic() < end:
            time.sleep(0.01)
        wrong += ["it is held still for ever"] if frozen() else []
        alive = subprocess.run(["/usr/local/sbin/jailctl", "exec", "big", "true"], check=False, timeout=30)
        wrong += [] if alive.returncode == 0 else ["nobody gets in"]
        wrong += ["a file"] if os.path.exists("/srv/backups/big.tar.zst") else []
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    return wrong + ([] if done.returncode == 0 else [done.stderr]) + left()


def frozen() -> bool:
    """Whether a group of ours holds somebody still."""
    for base, _, names in os.walk("/sys/fs/cgroup"):
        if "jailctl" not in base:
            continue
        for name, sign in (("freezer.state", b"FROZEN"), ("cgroup.freeze", b"1")):
            if name in names:
                with open(f"{base}/{name}", "rb") as file, open(f"{base}/cgroup.procs", "rb") as procs:
                    if file.read().strip() == sign and procs.read().strip():
                        return True
    return False

