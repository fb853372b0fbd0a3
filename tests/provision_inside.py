"""Runs inside a throw-away host, by the product's own Python: what a test of provisioning must do in the same process
as the library. Started by test_provision_crash.py, and beside others of its kind (inside.py)."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from jailkit.errors import JailkitError
from jailkit.paths import CHROOT_GROUP, GROUP, Paths
from jailkit.provision import accounts
from jailkit.provision.apply import past_return
from jailkit.provision.host import Host, Plan
from jailkit.spec.settings import jail_spec

PATHS = Paths()
Target = tuple[int, str]
Boundary = Callable[[int, str], None]


def add_plan(host: Host, name: str, **options: Any) -> Plan:
    spec = jail_spec(name, existing=True if options.get("existing") else None, template=options.get("template"))
    return host.plan_add(spec, options.get("keys", []), options.get("password"))


def remove_plan(host: Host, name: str, **options: Any) -> Plan:
    return host.plan_remove(name, options.get("keep_home", False), options.get("archive"))


def change(make: Callable[..., Plan], name: str, boundary: Any = None, **options: Any) -> Plan:
    host = Host()
    try:
        plan = make(host, name, **options)
        host.apply(plan, boundary=boundary)
        return plan
    finally:
        host.close()


def killed_at(target: Target, make: Callable[..., Plan], name: str, **options: Any) -> bool:
    return killed(target, lambda boundary: change(make, name, boundary, **options))


def killed(target: Target, work: Callable[[Boundary], object]) -> bool:
    """Do ``work`` in a child that kills itself at the boundary. Return False if it ended before."""

    def boundary(number: int, label: str) -> None:
        if (number, label) == target:
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        try:
            work(boundary)
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1] == signal.SIGKILL


def line(path: str, name: str) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return next((text.rstrip("\n").split(":") for text in file if text.startswith(name + ":")), [])


def login(name: str, key: str | None) -> str:
    """How far a login comes, by su and, with a key, by ssh: "refused", or the mount namespace it ends in."""
    probe = "echo in:$(readlink /proc/self/ns/mnt)"
    found = [
        subprocess.run(["/bin/su", "-", name, "-c", probe], capture_output=True, text=True, check=False, timeout=30)
    ]
    if key:
        common = ["-i", key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o",
                "UserKnownHostsFile=/dev/null"]  # fmt: skip
        argv = ["/usr/bin/ssh", *common, f"{name}@127.0.0.1", probe]
        found.append(subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30))
        argv = ["/usr/bin/sftp", *common, "-b", "/dev/null", f"{name}@127.0.0.1"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
        found.append(subprocess.CompletedProcess(argv, 0, "in:sftp" if done.returncode == 0 else "", ""))
    seen = {text for done in found for text in done.stdout.split() if text.startswith("in:")}
    return " ".join(sorted(seen)) or "refused"


def account(name: str) -> dict[str, Any]:
    """What stands of an account, and what is wrong with it as a half-made one."""
    passwd, shadow = line("/etc/passwd", name), line("/etc/shadow", name)
    wrong = []
    if passwd and passwd[6] != PATHS.door:
        wrong.append(f"shell {passwd[6]}")
    if shadow and not shadow[1]:
        wrong.append("empty password")
    if passwd and passwd[1] != "x":
        wrong.append(f"password field {passwd[1]!r}")
    if passwd and not accounts.is_member(name) and os.path.exists(f"/home/{name}"):
        wrong.append("a home, and not a member")
    if passwd and accounts.is_member(name) and accounts.is_member(name, CHROOT_GROUP) != (row_level(name) == "chroot"):
        wrong.append("a member for another level")
    return {"there": bool(passwd), "wrong": wrong}


def row_level(name: str) -> str:
    host = Host()
    row = host.state.get(name)
    host.close()
    return row.level if row else "none"


def left_over(name: str) -> list[str]:
    """Whatever of a removed jail is still there."""
    found = [
        path
        for path in (PATHS.spec(name), PATHS.key_file(name), PATHS.jail(name), f"/home/{name}")
        if os.path.lexists(path)
    ]
    found += [path for path in ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow") if line(path, name)]
    found += [f"member of {group}" for group in (GROUP, CHROOT_GROUP) if accounts.is_member(name, group)]
    return found + stray_names()


def stray_names() -> list[str]:
    """Temporary names that an interrupted step may have left in a directory that we write into."""
    places = ("/home", "/root", PATHS.keys, PATHS.specs, PATHS.jails, PATHS.images, PATHS.tags)
    hidden = [f"{place}/{name}" for place in places for name in os.listdir(place) if name.startswith(".")]
    ours = ("jailctl", ".build", ".tar.", ".toml.", f"{PATHS.keys}/.")
    return [path for path in hidden if any(sign in path.replace("/jailctl/", "/") for sign in ours)]


def whole(name: str, **options: Any) -> list[str]:
    """What is wrong with a jail that should be there; a second run must have nothing to do."""
    wrong = list(account(name)["wrong"])
    host = Host()
    plan = add_plan(host, name, **options)
    wrong += [f"still to do: {operation.describe()}" for operation in plan.operations]
    jail = host.show(name)
    wrong += [f"state {jail.state}"] if jail.state not in ("dormant", "running") else []
    wrong += [f"open plan {each}" for each in host.state.open_names()]
    host.close()
    status = os.stat(f"/home/{name}")
    if (status.st_uid, status.st_gid) != ((0, jail.gid) if jail.level == "chroot" else (jail.uid, jail.gid)):
        wrong.append("the home is not hers")
    if jail.level == "chroot" and os.stat(f"/home/{name}/files").st_uid != jail.uid:
        wrong.append("the files are not hers")
    return wrong + stray_names()


def boundaries(make: Callable[..., Plan], name: str, **options: Any) -> tuple[list[Target], int]:
    """All boundaries of a change (which this carries out), and the number of its last step."""
    seen: list[Target] = []
    change(make, name, lambda number, label: seen.append((number, label)), **options)
    return seen, seen[-1][0]


def finish(how: int, make: Callable[..., Plan], name: str, **options: Any) -> None:
    """The next run: the same call, or recovery alone."""
    if how % 2:
        host = Host()
        host.recover()
        host.close()
    else:
        change(make, name, **options)


def crash_add(name: str, key: str, ssh_at: list[str], **options: Any) -> list[dict[str, Any]]:
    """Kill an add at each boundary; look; then let the next run (same call, recovery, or removal) end it."""
    targets, last = boundaries(add_plan, name, **options)
    change(remove_plan, name)
    results = []
    for how, target in enumerate(targets):
        if not killed_at(target, add_plan, name, **options):
            raise AssertionError(f"not killed at {target}")
        seen = account(name)
        result = {"at": target, "wrong": seen["wrong"], "enabled": target[0] == last and target[1] != "doing"}
        if seen["there"]:
            result["login"] = login(name, key if target[1] in ssh_at else None)
        if how % 3 == 2:
            change(remove_plan, name)
        else:
            finish(how % 3, add_plan, name, **options)
            result["wrong"] += whole(name, **options)
            change(remove_plan, name)
        result["wrong"] += left_over(name)
        results.append(result)
    return results


def crash_remove(name: str, key: str, archive: str, **options: Any) -> list[dict[str, Any]]:
    """Kill a removal at each boundary; look; let the next run end it."""
    change(add_plan, name, **options)
    open(f"/home/{name}/file", "w").close()
    os.chown(f"/home/{name}/file", *[os.stat(f"/home/{name}").st_uid] * 2)
    targets, _ = boundaries(remove_plan, name, archive=archive)
    os.unlink(archive)
    results = []
    for how, target in enumerate(targets):
        change(add_plan, name, **options)
        if not killed_at(target, remove_plan, name, archive=archive):
            raise AssertionError(f"not killed at {target}")
        seen = account(name)
        result: dict[str, Any] = {"at": target, "wrong": [text for text in seen["wrong"] if "not a member" not in text]}
        result["shut"] = target != (0, "doing")
        if seen["there"]:
            result["login"] = login(name, key if target[1] == "applied" else None)
        finish(how, remove_plan, name, archive=archive)
        result["wrong"] += left_over(name)
        if not os.path.isfile(archive) or os.stat(archive).st_mode & 0o777 != 0o600:
            result["wrong"].append("no archive")
        else:
            os.unlink(archive)
        results.append(result)
    return results


def crash_existing(name: str, shell: str, **options: Any) -> list[dict[str, Any]]:
    """Kill the taking and the giving back of an account at each boundary."""
    with open(f"/home/{name}/precious", "w", encoding="utf-8") as file:
        file.write("hers")
    targets, _ = boundaries(add_plan, name, existing=True, **options)
    back, _ = boundaries(remove_plan, name)
    results = []
    for how, target in enumerate(targets):
        assert killed_at(target, add_plan, name, existing=True, **options)
        passwd, member = line("/etc/passwd", name), accounts.is_member(name)
        confined = passwd[6] == PATHS.door and member
        as_before = passwd[6] == shell and not member
        between = passwd[6] == shell and member
        wrong = [] if confined or as_before or between else [f"neither confined nor as before: {passwd} {member}"]
        reached = "refused" if as_before else login(name, None)
        finish(how, add_plan, name, existing=True, **options)
        wrong += whole(name, existing=True, **options)
        change(remove_plan, name)
        results.append({"at": ["take", *target], "wrong": wrong + given_back(name, shell), "login": reached})
    for how, target in enumerate(back):
        change(add_plan, name, existing=True, **options)
        assert killed_at(target, remove_plan, name)
        finish(how, remove_plan, name)
        results.append({"at": ["give back", *target], "wrong": given_back(name, shell)})
    return results


def changed_mind(name: str) -> dict[str, Any]:
    """A removal that was killed before it destroyed anything, one killed after; then asked for with --keep-home."""
    found: dict[str, Any] = {}
    for label, target in (("before", (3, "done")), ("after", (4, "applied"))):
        change(add_plan, name)
        assert killed_at(target, remove_plan, name)
        host = Host()
        plan = host.plan_remove(name, True)
        found[label] = [plan.kind, os.path.exists(f"/home/{name}")]
        host.apply(plan)
        host.close()
        found[label].append(os.path.exists(f"/home/{name}"))
        if os.path.exists(f"/home/{name}"):
            os.rename(f"/home/{name}", f"/home/{name}.kept")
        found[label] += left_over(name)
    shutil.rmtree(f"/home/{name}.kept")
    return found


def live_home(name: str, archive: str) -> dict[str, Any]:
    """An addition that was killed after it had let the user in, who then wrote a file; removed in each way."""
    seen, last = boundaries(add_plan, name)
    change(remove_plan, name)
    found: dict[str, Any] = {}
    for label, options in (("kept", {"keep_home": True}), ("archived", {"archive": archive})):
        for point in ("applied", "done"):
            assert killed_at((last, point), add_plan, name)
            with open(f"/home/{name}/work", "w", encoding="utf-8") as file:
                file.write("hers")
            os.chown(f"/home/{name}/work", *[os.stat(f"/home/{name}").st_uid] * 2)
            change(remove_plan, name, **options)
            if label == "kept":
                with open(f"/home/{name}/work", encoding="utf-8") as file:
                    found[f"{label} {point}"] = file.read()
                shutil.rmtree(f"/home/{name}")
            else:
                listed = subprocess.run(["/bin/tar", "-tf", archive], capture_output=True, text=True, check=True).stdout
                found[f"{label} {point}"] = [line for line in listed.split() if line.endswith("work")]
                os.unlink(archive)
            found["left"] = [*found.get("left", []), *left_over(name)]
    return found


def failed_mend(name: str) -> dict[str, Any]:
    """A home that was made anew, used at once, and a later step of the same plan that fails."""
    change(add_plan, name)
    shutil.rmtree(f"/home/{name}")
    os.unlink(PATHS.spec(name))

    def boundary(number: int, label: str) -> None:
        if label == "doing" and os.path.isdir(f"/home/{name}"):
            open(f"/home/{name}/work", "w").close()
            raise JailkitError("io.failed", "the disk is gone")

    try:
        change(add_plan, name, boundary)
        code = ""
    except JailkitError as error:
        code = error.code
    kept = os.path.exists(f"/home/{name}/work")
    host = Host()
    opened = host.state.open_names()
    host.close()
    change(add_plan, name)
    wrong = whole(name)
    change(remove_plan, name)
    return {"code": code, "kept": kept, "open": opened, "wrong": wrong + left_over(name)}


def given_back(name: str, shell: str) -> list[str]:
    passwd = line("/etc/passwd", name)
    wrong = [] if passwd[6] == shell else [f"shell {passwd[6]}"]
    wrong += ["still a member"] if accounts.is_member(name) else []
    with open(f"/home/{name}/precious", encoding="utf-8") as file:
        wrong += [] if file.read() == "hers" else ["the home was touched"]
    wrong += [path for path in (PATHS.spec(name), PATHS.key_file(name), PATHS.jail(name)) if os.path.lexists(path)]
    return wrong + stray_names()


def full_disk(name: str, place: str, sizes: list[int], **options: Any) -> list[dict[str, Any]]:
    """A small file system at ``place``, of each size in KiB; add, look, make room, look again, take it away."""
    results = []
    for size in sizes:
        subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", f"size={size}k,mode=0755", "none", place], check=True)
        try:
            results.append({"size": size, **_too_small(name, place, **options)})
        finally:
            subprocess.run(["/bin/umount", place], check=True)
    return results


def _too_small(name: str, place: str, **options: Any) -> dict[str, Any]:
    code = message = hint = ""
    try:
        change(add_plan, name, **options)
    except JailkitError as error:
        code, message, hint = error.code, error.message, error.hint
    seen = account(name)
    subprocess.run(["/bin/mount", "-o", "remount,size=64m", place], check=True)
    host = Host()
    state = host.known_state
    opened = state.open_plan(name) if state else None
    onward = opened is not None and past_return(PATHS, opened)  # she may have logged in: it is finished, not undone
    recovered = host.recover()
    host.close()
    wrong = []
    if onward or not code:
        wrong = whole(name, **options)
        change(remove_plan, name)
    return {
        "code": code, "message": message, "hint": hint, "account": seen, "onward": onward, "recovered": recovered,
        "wrong": wrong, "left": left_over(name),
    }  # fmt: skip


def limited(name: str, at: Target, limit: str, value: int) -> dict[str, Any]:
    """From one boundary on the process has a resource limit; afterwards a run without it ends what was begun."""
    import resource

    before = {path: open(path, "rb").read() for path in ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow")}

    def boundary(number: int, label: str) -> None:
        if [number, label] == list(at):
            resource.setrlimit(getattr(resource, limit), (value, value))

    pid = os.fork()
    if pid == 0:
        status = 9
        try:
            if at[0] < 0:
                boundary(*at)
            change(add_plan, name, boundary)
            status = 0
        except JailkitError as error:
            status = error.exit_number
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    checks = [
        subprocess.run([f"/usr/sbin/{tool}", "-q", "-r"], capture_output=True, check=False).returncode
        for tool in ("pwck", "grpck")
    ]
    seen = account(name)
    same = all(open(path, "rb").read() == text for path, text in before.items())
    host = Host()
    host.recover()
    host.close()
    if status:
        change(add_plan, name)
    wrong = whole(name)
    change(remove_plan, name)
    return {"status": status, "checks": checks, "account": seen, "same": same, "wrong": wrong + left_over(name)}


def parallel(names: list[str], same: int) -> dict[str, Any]:
    """Add all names at once, and the first of them by several processes."""
    running = []
    for name in [*names, *[names[0]] * same]:
        pid = os.fork()
        if pid == 0:
            status = 9
            try:
                change(add_plan, name)
                status = 0
            except JailkitError as error:
                print(error.code, error, file=sys.stderr)
                status = error.exit_number
            finally:
                os._exit(status)
        running.append(pid)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in running]
    jails = Host().list()
    wrong = [text for name in names for text in whole(name)]
    return {
        "statuses": statuses,
        "uids": [jail.uid for jail in jails],
        "bases": [jail.base for jail in jails],
        "wrong": wrong,
    }


def executed(name: str) -> list[list[str]]:
    """Every program that add and remove start."""
    seen = programs()
    change(add_plan, name, password="a b;$(touch /canary)")
    change(remove_plan, name)
    return seen


def programs() -> list[list[str]]:
    """Every program that is started from now on, as the interpreter's own audit events tell it."""
    seen: list[list[str]] = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            seen.append([str(args[0]), *map(str, args[1])])
        elif event in ("os.system", "os.exec", "os.posix_spawn", "pty.spawn"):
            seen.append([event, *map(str, args)])

    sys.addaudithook(hook)
    return seen


def cli(calls: list[list[str]]) -> list[int]:
    """Exit statuses of jailctl for many command lines, each in a child of its own that has imported it already."""
    from jailkit.cli import add_user, remove_user, show, stop  # noqa: F401
    from jailkit.cli import main as cli_main

    statuses = []
    for argv in calls:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            null = os.open("/dev/null", os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
            sys.argv = ["jailctl", *argv]
            status = 99
            try:
                status = cli_main.main()
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
            finally:
                os._exit(status)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return statuses


def random_kills(name: str, rounds: int, seed: int) -> list[dict[str, Any]]:
    """Kill an add, and whatever program it runs then, after a random time; look; let the next run end it."""
    chance = random.Random(seed)
    took = 0.0
    for _ in range(2):  # the first one makes the image
        started = time.monotonic()
        change(add_plan, name, password="secret")
        took = time.monotonic() - started
        change(remove_plan, name)
    results = []
    for how in range(rounds):
        pid = os.fork()
        if pid == 0:
            try:
                change(add_plan, name, password="secret")
            finally:
                os._exit(0)
        time.sleep(chance.uniform(0, took * 1.3))
        for victim in [pid, *children(pid)]:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(victim, signal.SIGKILL)
        os.waitpid(pid, 0)
        seen = account(name)
        result = {"at": how, "wrong": seen["wrong"], "there": seen["there"]}
        finish(how, add_plan, name, password="secret")
        change(add_plan, name, password="secret")
        result["wrong"] += whole(name, password="secret")
        change(remove_plan, name)
        result["wrong"] += left_over(name)
        results.append(result)
    return results


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]
