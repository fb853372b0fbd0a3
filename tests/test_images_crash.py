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
from jailkit.paths import Paths
from jailkit.provision import images
from tests.unit.rooted import TREE, rooted

pytestmark = [pytest.mark.host, pytest.mark.slow, pytest.mark.timeout(600)]
KILLS, JOBS, SECONDS = 200, 4, 0.7

TEMPLATE = """
name = "{name}"
description = "Killed all the time"
source = "host"
smoke = ["cat /etc/version"]

[[run]]
command = "cp /etc/version /etc/copied; ln -s copied /etc/link; mkdir -p /opt/made; date > /opt/made/when"
"""
CODE = """
import random, sys
sys.path.insert(0, sys.argv[1])
from jailkit.errors import JailkitError
from jailkit.image import build, store, tags
from jailkit.paths import Paths
from jailkit.provision import images
paths, name, action, seed = Paths(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
print("ready", flush=True)
try:
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
except JailkitError as error:
    print(error.code)
"""


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


def strays() -> list[str]:
    """Processes with an id of the range that images are built with."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = status.read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        uids = next((line.split()[1:] for line in lines if line.startswith("Uid:")), [])
        if any(BUILD_BASE <= int(uid) < BUILD_BASE + BUILD_RANGE for uid in uids):
            found.append(lines[0])
    return found


def chaos(paths: Paths, number: int, kills: list[str], stop: threading.Event) -> None:
    dice = random.Random(number)
    while not stop.is_set():
        name = dice.choice(["one", "two"])
        action = dice.choices(["update", "rollback", "tag", "prune", "prune-all"], [6, 2, 1, 2, 1])[0]
        argv = [sys.executable, "-I", "-c", CODE, str(TREE), paths.root, name, action, str(dice.random())]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(dice.random() ** 2 * SECONDS)
            child.send_signal(signal.SIGKILL)
            said = child.stdout.read()
            child.wait()
        assert "Traceback" not in said, said
        if child.returncode == -signal.SIGKILL:
            kills.append(action)
        if len(kills) >= KILLS:
            stop.set()


def test_a095_killed_two_hundred_times(paths: Paths) -> None:
    for name in ("one", "two"):
        images.update(paths, name)
    mounts = Path("/proc/self/mountinfo").read_text()
    kills: list[str] = []
    failed: list[BaseException] = []
    stop = threading.Event()

    def run(number: int) -> None:
        try:
            chaos(paths, number, kills, stop)
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            failed.append(error)
            stop.set()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(JOBS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, str(failed[0])
    assert len(kills) >= KILLS and {"update", "prune"} <= set(kills)

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
