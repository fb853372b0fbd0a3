"""Runs inside a throw-away host, by the product's own Python: what a test of manifests and of the library must do in
the same process. Started by test_manifest.py as ``python3 -I -c SOURCE COMMAND JSON``; prints one JSON value."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import traceback
from typing import IO, Any

from jailkit import Host, JailkitError, Manifest, Result

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
JAILCTL = "/usr/local/sbin/jailctl"


def many(prefix: str, count: int) -> dict[str, Any]:
    return {"name": prefix, "jails": {f"{prefix}{number}": {"keys": [f"{KEY} {number}"]} for number in range(count)}}


def outcomes(results: list[Result]) -> dict[str, int]:
    found: dict[str, int] = {}
    for result in results:
        found[result.outcome] = found.get(result.outcome, 0) + 1
    return found


# -- stopped and killed half way


def broken_off(prefix: str, count: int, number: int) -> dict[str, Any]:
    """Apply, and send ``number`` to it when the first jail is done; then apply again, twice."""
    file = f"/root/{prefix}.json"
    with open(file, "w", encoding="utf-8") as out:
        json.dump(many(prefix, count), out)
    argv = [JAILCTL, "apply", "-f", file, "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        told = running.stdout.readline()
        running.send_signal(number)
        told += running.stdout.read()
    lines = [json.loads(line) for line in told.splitlines(keepends=True) if line.endswith("\n")]
    with Host.open() as host:
        there = sum(name.startswith(prefix) for name in host.jails)
        again, third = (outcomes(host.apply(Manifest.model_validate(many(prefix, count)))) for _ in range(2))
        whole = all(host.jails[f"{prefix}{at}"].state == "dormant" for at in range(0, count, 50))
    return {"status": running.returncode, "lines": lines, "there": there, "again": again, "third": third,
            "whole": whole}  # fmt: skip


# -- threads and processes


def crowd(processes: int, threads: int) -> dict[str, Any]:
    """Each thread of each process has a jail of its own, which it takes through its life, and sets a limit of its
    process at one that all share."""
    with Host.open() as host:
        host.add_user("manshared")
    pids = []
    for process in range(processes):
        pid = os.fork()
        if pid == 0:
            os._exit(_crowded(process, threads))
        pids.append(pid)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    with Host.open() as host:
        shared = host.spec("manshared").data()
        left = [name for name in host.jails if name.startswith("mancrowd")]
        states = {host.jails[name].state for name in left}
    return {"statuses": statuses, "shared": shared, "left": left, "states": sorted(states)}


LIMITS = ["open_files", "sessions", "idle", "session"]


def _crowded(process: int, threads: int) -> int:
    wrong: list[str] = []
    with Host.open() as host:

        def one(thread: int) -> None:
            name = f"mancrowd{process}x{thread}"
            try:
                host.add_user(name, keys=[KEY])
                host.set("manshared", limits={LIMITS[process]: 100 + process})
                host.set(name, limits={"open_files": 64})
                host.suspend(name, "Wait.")
                host.resume(name)
                assert host.jails[name].keys == 1 and host.spec(name).limits.open_files == 64
                if thread % 2:
                    host.remove_user(name)
            except BaseException as error:  # noqa: BLE001
                wrong.append(f"{name}: {error!r}")

        workers = [threading.Thread(target=one, args=(thread,)) for thread in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


# -- what was planned is what is


def chance(seed: int, rounds: int) -> list[dict[str, Any]]:
    """Manifests as they come, drift as it comes: after an apply the host is as the manifest says, a second one does
    nothing."""
    luck = random.Random(seed)
    found = []
    with Host.open() as host:
        for number in range(rounds):
            made = Manifest.model_validate(_manifest(luck))
            kinds = {each.name: each.kind for each in host.diff(made, prune=True)}
            first = host.apply(made, prune=True)
            errors = [f"{each.name}: {each.error}" for each in first if each.error]
            wrong = [name for name in made.jails if host.spec(name) != made.spec(name)]
            wrong += [name for name in host.jails if name.startswith("manluck") and name not in made.jails]
            jails = [each for each in first if each.what == "jail"]
            wrong += [each.name for each in jails if (kinds[each.name] == "same") != (each.outcome == "same")]
            second = outcomes(host.apply(made, prune=True))
            drifted = _drift(luck, host, list(made.jails))
            seen = {each.name for each in host.diff(made) if any(row.drift for row in each.differences)}
            third, fourth = (host.apply(made, prune=True) for _ in range(2))
            errors += [f"{each.name}: {each.error}" for each in third if each.error]
            found.append({"round": number, "wrong": wrong, "errors": errors, "second": second,
                          "drifted": sorted(drifted), "seen": sorted(seen), "fourth": outcomes(fourth)})  # fmt: skip
    return found


def _manifest(luck: random.Random) -> dict[str, Any]:
    def maybe(**fields: Any) -> dict[str, Any]:
        return {key: luck.choice(values) for key, values in fields.items() if luck.random() < 0.5}

    plans = {name: {"limits": maybe(open_files=[100, 200], idle=[600])} for name in ("manlow", "manhigh")}
    jails = {
        name: {
            **maybe(plan=list(plans), linger=[1, "forever"], keys=[[KEY], [f"{KEY} b"]], hostname=["web"],
                    expires=["2099-01-01T00:00:00Z"], suspended=["No.", True, False]),
            "limits": maybe(open_files=[300, "unlimited"], session=[3600]),
        }
        for name in ("manluck1", "manluck2", "manluck3", "manluck4")
        if luck.random() < 0.75
    }  # fmt: skip
    return {"name": "luck", "plans": plans, "jails": jails}


def _drift(luck: random.Random, host: Host, names: list[str]) -> set[str]:
    changed = set()
    for name in names:
        kind = luck.choice(["", "shell", "key", "recipe", "home", "spec"])
        if kind == "shell":
            subprocess.run(["/usr/sbin/usermod", "-s", "/bin/bash", name], check=True)
        elif kind == "key":
            with open(f"/etc/jailctl/keys/{name}", "a", encoding="ascii") as file:
                file.write(f"{KEY} other\n")
        elif kind == "recipe":
            path = f"/var/lib/jailctl/jails/{name}/recipe"
            with open(path, encoding="ascii") as file:
                text = file.read()
            with open(path, "w", encoding="ascii") as file:
                file.write(text.replace("network none", "network host"))
        elif kind == "home":
            os.chown(f"/home/{name}", 0, 0)
        elif kind == "spec":
            with open(f"/etc/jailctl/jails.d/{name}.toml", encoding="utf-8") as file:
                text = file.read()
            with open(f"/etc/jailctl/jails.d/{name}.toml", "w", encoding="utf-8") as file:
                file.write(text.replace("user = ", 'shell = "/bin/dash"\nuser = ', 1))
        if kind:
            changed.add(name)
    return changed


# -- the library


def library() -> dict[str, Any]:
    """The calls that the pages promise."""
    found: dict[str, Any] = {}
    with Host.open() as host:
        plan = host.plan(host_spec := Manifest.model_validate(many("manlib", 1)).spec("manlib0"))
        found["kinds"] = [operation.kind for operation in plan.operations]
        found["untouched"] = "manlib0" not in host.jails
        steps: list[str] = []
        jail = plan.apply(progress=lambda number, total, what: steps.append(f"{number}/{total}"))
        found["steps"], found["state"] = steps, jail.state if jail else None
        found["again"] = bool(host.plan(host_spec))
        jails = host.jails
        found["mapping"] = [jails["manlib0"].name, "manlib0" in jails, len(jails) == len(list(jails))]
        found["set"] = host.set("manlib0", limits={"open_files": 99}, linger=7).linger
        found["reset"] = host.set("manlib0", limits={"open_files": None}, linger=None).linger
        found["spec"] = host.spec("manlib0").data()
        for name, call in (
            ("missing", lambda: host.jails["nobody-here"]), ("none", lambda: host.set("manlib9", linger=1)),
            ("invalid", lambda: host.add_user("manlib9", lingr=1)), ("differs", lambda: host.add_user("manlib0")),
            ("hash", lambda: host.set("manlib0", password_hash="plain")), ("gone", lambda: host.remove_user("manlib9")),
            ("plan", lambda: host.add_user("manlib9", plan="nosuchplan")),
        ):  # fmt: skip
            try:
                call()
                found[name] = None
            except KeyError:
                found[name] = "KeyError"
            except JailkitError as error:
                found[name] = error.code
        found["removed"] = [host.remove_user("manlib0"), host.remove_user("manlib0", missing_ok=True)]
        found["fork"] = _forked(host)
    return found


def _forked(host: Host) -> int:
    """A host that was opened before a fork serves both."""
    pid = os.fork()
    if pid == 0:
        host.add_user("manfork")
        os._exit(0 if "manfork" in host.jails else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if host.remove_user("manfork") else 2


# -- commands without a start of Python for each


def serve() -> None:
    """Each line of standard input is a command, carried out by a fork of this process, which has imported what they
    need: ``{"argv", "source", "input"}``; jailctl's, or with ``source`` a program of its own. A line for each."""

    for line in sys.stdin.buffer:
        asked = json.loads(line)
        files = [tempfile.TemporaryFile() for _ in range(3)]
        files[0].write((asked["input"] or "").encode())
        files[0].seek(0)
        pid = os.fork()
        if pid == 0:
            for number, file in enumerate(files):
                os.dup2(file.fileno(), number)
            sys.stdin = open(0, encoding="utf-8")  # the other one has read ahead
            os._exit(_command(asked["argv"], asked["source"]))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out, err = (_text(file) for file in files[1:])
        print(json.dumps({"status": status, "stdout": out, "stderr": err}), flush=True)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="backslashreplace")


def _command(argv: list[str], source: str | None) -> int:
    status: Any = 1
    try:
        if source is None:
            from jailkit.cli.main import main

            status = main(argv)
        else:
            sys.argv = ["program", *argv]
            exec(compile(source, "program", "exec"), {"__name__": "__main__"})  # noqa: S102
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return int(status or 0)
