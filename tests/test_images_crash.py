"""kill -9 at random moments of build, update, rollback, tag and prune, by four at once: no broken tag, no lost
reference, no leaked mount or process, and every image as its manifest says."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jailkit.image import cache, scratch, store, tags
from jailkit.image.sandbox.ids import BUILD_BASE, BUILD_RANGE
from jailkit.kernel import caps, proc
from jailkit.paths import Paths
from jailkit.provision import images
from tests.jobs import at_once
from tests.unit.rooted import TREE, rooted

pytestmark = [pytest.mark.host, pytest.mark.slow, pytest.mark.timeout(600)]
KILLS, JOBS = 200, 4
ACTIONS = {"update": (6, 0.7), "rollback": (2, 0.02), "tag": (1, 0.01), "prune": (2, 0.1), "prune-all": (1, 0.1)}
"""How often each is done, and seconds within which it is killed: about what it takes, so that few are done before."""

TEMPLATE = """
name = "{name}"
description = "Killed all the time"
source = "host"
smoke = ["cat /etc/version"]

[[run]]
command = "cp /etc/version /etc/copied; ln -s copied /etc/link; mkdir -p /opt/made; date > /opt/made/when"
"""
CODE = """
import os, select, sys, traceback
sys.path.insert(0, sys.argv[1])
from jailkit.errors import JailkitError
from jailkit.image import build, store, tags, workshop
from jailkit.paths import Paths
from jailkit.provision import images
paths = Paths(sys.argv[2])

def act(name, action, seed):
    if action == "update":
        with open(f"{paths.templates}/{name}/files/etc/version", "w") as file:
            file.write(seed)
        images.update(paths, name)
    elif action == "rollback":
        images.rollback(paths, name)
    elif action == "tag":
        tags.move(paths, f"{name}:kept", tags.current(paths, name) or "0" * 64, "tag")
    else:
        images.prune(paths, everything=action == "prune-all")

for line in sys.stdin:
    *what, seconds = line.split()
    child = os.fork()
    if child == 0:
        try:
            act(*what)
        except JailkitError as error:
            print(error.code, flush=True)
        except BaseException:
            print(traceback.format_exc(), flush=True)
        finally:
            os._exit(0)
    pidfd = os.pidfd_open(child)
    select.select([pidfd], [], [], float(seconds))
    os.kill(child, 9)
    os.close(pidfd)
    print("ended", os.waitpid(child, 0)[1], flush=True)
"""
"""Reads ``NAME ACTION SEED SECONDS``, does that in a process of its own, which it kills after so many seconds, and says
how that ended. Forked, as each start of Python with all that is imported costs more than what is tried here."""


@pytest.fixture
def paths() -> Iterator[Paths]:
    with rooted() as made:
        store.ready(made)
        for name in ("one", "two"):
            place = Path(made.templates, name)
            (place / "files/etc").mkdir(parents=True)
            (place / "files/etc/version").write_text("first")
            (place / "template.toml").write_text(TEMPLATE.format(name=name))
        yield made


@pytest.fixture
def adopted() -> Iterator[None]:
    """What the processes that we kill leave behind becomes our child (PR_SET_CHILD_SUBREAPER): so it is told from what
    another run of these tests does with the same ids."""
    caps.prctl(36, 1)
    yield
    caps.prctl(36, 0)


def strays() -> list[str]:
    """Processes below us with an id of the range that images are built with."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        above = int(status.parent.name)
        while above not in (0, 1, os.getpid()):
            above = proc.parent(above)
        if above != os.getpid():
            continue
        try:
            lines = status.read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, uids = (next(line.split()[1:] for line in lines if line.startswith(key)) for key in ("State:", "Uid:"))
        if any(BUILD_BASE <= int(uid) < BUILD_BASE + BUILD_RANGE for uid in uids) and "Z" not in state:
            found.append(lines[0])
    return found


def chaos(paths: Paths, number: int, kills: list[str], stop: threading.Event) -> None:
    dice = random.Random(number)
    argv = [sys.executable, "-I", "-c", CODE, str(TREE), paths.root]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as maker:  # fmt: skip
        assert maker.stdin is not None and maker.stdout is not None
        while not stop.is_set():
            name = dice.choice(["one", "two"])
            action = dice.choices(list(ACTIONS), [often for often, _ in ACTIONS.values()])[0]
            maker.stdin.write(f"{name} {action} {dice.random()} {dice.random() ** 2 * ACTIONS[action][1]}\n")
            maker.stdin.flush()
            said = [""]
            while not said[-1].startswith("ended "):
                said.append(maker.stdout.readline())
                assert said[-1], said
            assert not [line for line in said if "Traceback" in line], "".join(said)
            if said[-1].split() == ["ended", str(int(signal.SIGKILL))]:
                kills.append(action)
            if len(kills) >= KILLS:
                stop.set()


def test_a095_killed_two_hundred_times(paths: Paths, adopted: None) -> None:
    for name in ("one", "two"):
        images.update(paths, name)
    mounts = Path("/proc/self/mountinfo").read_text()
    kills: list[str] = []
    stop = threading.Event()
    at_once(JOBS, lambda number: chaos(paths, number, kills, stop), stop)
    assert len(kills) >= KILLS and {"update", "prune", "rollback"} <= set(kills)

    end = time.monotonic() + 10
    while strays() and time.monotonic() < end:
        time.sleep(0.1)
    assert strays() == []
    assert Path("/proc/self/mountinfo").read_text() == mounts
    for name in ("one", "two"):
        assert tags.current(paths, name) is not None, name
        moves = tags.history(paths, name)
        assert moves[-1].digest == tags.current(paths, name)
    for digest in store.digests(paths):
        assert store.verify(paths, digest) == []
    for name in ("one", "two"):
        assert images.update(paths, name).digest == tags.current(paths, name)
    scratch.clean(paths)
    images.prune(paths, everything=True)
    left = set(tags.all_tags(paths).values())
    assert set(store.digests(paths)) == left
    assert [name for name in os.listdir(paths.images) if name.startswith(".") and name != ".lock"] == []
    assert not os.listdir(paths.cache)
    used = {row.sha256 for digest in left for row in store.rows(paths, digest) if row.kind == "file"}
    kept = {path.name.partition(".")[0] for path in Path(paths.contents).glob("??/*")}
    assert kept == used, "every content is in an image, and nothing else is kept"
    assert cache.needed(paths, 1, time.time()) == (set(), [])
