"""kill -9, three hundred times, of whatever provisioning does: apply, set, suspend, resume, backup, restore, clone and
remove, by four at once on the same jails. Then one apply reaches what is declared: nothing is lost, nothing of others'
is touched, and no mount, process, lock, half file or range of ids is left.

The verbs run as jailctl does, in processes forked by crash_mixed_inside.py."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host import Host, wait_for
from tests.inside import PYTHON
from tests.jobs import at_once

pytestmark = [pytest.mark.host, pytest.mark.slow, pytest.mark.timeout(900)]
INSIDE = Path(__file__).with_name("crash_mixed_inside.py").read_text()
KILLS, JOBS, SEED = 300, 4, 20261125
KEPT = ("kate", "kurt", "kim", "ken")
"""Never removed, never restored: whatever happens, what is in their homes is there."""
MIXED = ("mia", "max", "moe", "may")
CLONES = ("cleo", "cato")
MANIFEST = "/root/mixed.json"
ACTIONS = {
    "apply": (3, 0.5), "set": (5, 0.2), "suspend": (2, 0.3), "resume": (2, 0.3), "backup": (4, 0.5),
    "restore": (3, 0.6), "clone": (3, 0.6), "remove": (4, 0.4), "start": (2, 0.1),
}  # fmt: skip
"""How often each is done, and seconds within which it is killed: about what it takes, so that few are done before."""


def argv(action: str, dice: random.Random) -> list[str]:
    """One command line."""
    anybody, mixed, clone = dice.choice(KEPT + MIXED), dice.choice(MIXED), dice.choice(CLONES)
    return {
        "apply": ["apply", "-f", MANIFEST],
        "set": ["set", anybody, f"linger={dice.randrange(20, 90)}", f"limits.sessions={dice.randrange(2, 90)}"],
        "suspend": ["suspend", anybody],
        "resume": ["resume", anybody],
        "backup": ["backup", anybody, f"/root/backups/{anybody}-{dice.getrandbits(48):x}.tar.zst"],
        "restore": ["restore", mixed, f"/root/good/{mixed}.tar.zst"],
        "clone": ["clone", dice.choice(KEPT), clone, "--same-keys"],
        "start": ["start", anybody],
        "remove": ["remove-user", dice.choice(MIXED + CLONES)],
    }[action]


class Scene:
    """The host, with what is declared, canaries in the homes and what is not ours."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.key = host.public_key("mixed")
        jails = {name: {"keys": [self.key], "linger": 20} for name in KEPT + MIXED}
        (host.root / MANIFEST[1:]).write_text(json.dumps({"name": "mixed", "jails": jails}))
        host.run(["/bin/mkdir", "-p", "/root/backups", "/root/good", "/srv/canary/deep"], check=True)
        host.run(["/usr/sbin/useradd", "-m", "-s", "/bin/bash", "other"], check=True)
        (host.root / "srv/canary/deep/file").write_text("of somebody else")
        (host.root / "home/other/file").write_text("of another account")
        host.jailctl("apply", "-f", MANIFEST, timeout=120)
        for name in KEPT + MIXED:
            self.write(name)
        for name in MIXED:
            host.jailctl("backup", name, f"/root/good/{name}.tar.zst")
        for action in ACTIONS:  # each does what it should where nobody kills it
            host.jailctl(*argv(action, random.Random(SEED)))
        self.before = self.foreign()

    def write(self, name: str) -> None:
        uid, gid, _ = self.host.ids(name)
        place = self.host.root / f"home/{name}/deep/er"
        place.mkdir(parents=True)
        (place / "file").write_text(f"{name} wrote this\n" * 100)
        for path in (place.parent, place, place / "file"):
            os.chown(path, uid, gid)

    def lost(self, names: tuple[str, ...]) -> list[str]:
        """Whose file is not what it was, or not hers."""
        found = []
        for name in names:
            file = self.host.root / f"home/{name}/deep/er/file"
            uid = self.host.ids(name)[0]
            if not file.exists() or file.read_text() != f"{name} wrote this\n" * 100 or file.stat().st_uid != uid:
                found.append(name)
        return found

    def foreign(self) -> dict[str, Any]:
        """What is not ours, and must be the same afterwards."""
        h = self.host
        ours = {*KEPT, *MIXED, *CLONES, "jailed", "jailed-chroot"}
        accounts = [
            line
            for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid", "shells")
            for line in (h.root / "etc" / name).read_text().splitlines()
            if line.split(":")[0] not in ours
        ]
        trees = {
            str(path): (path.lstat().st_mode, path.lstat().st_uid, path.read_bytes() if path.is_file() else b"")
            for top in ("srv", "home/other", "etc/pam.d", "etc/ssh", "etc/skel")
            for path in sorted((h.root / top).rglob("*"))
            if not path.is_symlink()
        }
        return {
            "accounts": accounts,
            "trees": hashlib.sha256(repr(trees).encode()).hexdigest(),
            "mounts": Path(f"/proc/{h.init}/mountinfo").read_text(),
        }


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Host() as host:
        host.jailctl("setup", "--no-login-test")
        yield Scene(host)


def kill_one_after_the_other(host: Host, number: int, kills: list[str], stop: threading.Event) -> None:
    """Gives acts to a maker of its own until there are enough kills."""
    dice = random.Random(SEED + number)
    with host.spawn([PYTHON, "-I", "-c", INSIDE, "make"]) as maker:
        assert maker.stdin and maker.stdout
        lines = os.fdopen(os.dup(maker.stdout.fileno()), "r", encoding="utf-8", errors="replace")
        while not stop.is_set():
            action = dice.choices(list(ACTIONS), [often for often, _ in ACTIONS.values()])[0]
            seconds = dice.random() * ACTIONS[action][1]
            maker.stdin.write(json.dumps([argv(action, dice), seconds]).encode() + b"\n")
            said = [""]
            while not said[-1].startswith("ended "):
                said.append(lines.readline())
                assert said[-1], said
            assert "Traceback" not in "".join(said) and "internal." not in "".join(said), "".join(said)
            if said[-1].split() == ["ended", "9"]:
                kills.append(action)
            if len(kills) >= KILLS:
                stop.set()
        maker.stdin.close()
        assert maker.wait(20) == 0
        lines.close()


def chaos(host: Host) -> collections.Counter[str]:
    kills: list[str] = []
    stop = threading.Event()
    at_once(JOBS, lambda number: kill_one_after_the_other(host, number, kills, stop), stop)
    return collections.Counter(kills)


def test_a095_three_hundred_kills_of_everything(scene: Scene) -> None:
    host = scene.host
    kills = chaos(host)
    assert kills.total() >= KILLS and set(kills) == set(ACTIONS), kills
    assert scene.lost(KEPT) == [], "what nobody touched is there before anything is mended"
    wait_for(lambda: strays(host) == [], 20, lambda: f"left: {strays(host)}")

    host.jailctl("apply", "-f", MANIFEST, timeout=300)
    assert "No changes" in host.jailctl("apply", "-f", MANIFEST, timeout=120).stdout
    assert scene.lost(KEPT) == []
    for name in MIXED:  # who was removed, or was never restored, has an empty home; half of one nobody has
        host.jailctl("restore", name, f"/root/good/{name}.tar.zst", timeout=60)
    assert scene.lost(MIXED) == []
    for name in CLONES:
        host.jailctl("remove-user", name, check=False)
    for name in KEPT + MIXED:
        assert host.ssh(name, "id -un", key=host.key("mixed")).stdout == f"{name}\n"
    host.jailctl("stop", "--all")
    wait_for(lambda: strays(host, "keeper") == [], 20, lambda: f"left: {strays(host, 'keeper')}")

    found = json.loads(host.run([PYTHON, "-I", "-c", INSIDE, "look"], check=True).stdout)
    assert found == {"open": [], "stray": [], "overlapping": [], "doubled": []}
    for tool in ("pwck", "grpck"):
        assert host.run([f"/usr/sbin/{tool}", "-q", "-r"]).returncode == 0
    assert scene.foreign() == scene.before
    assert strays(host) == []
    assert json.loads(host.jailctl("list", "--json").stdout)["jails"], "list works"
    host.jailctl("remove-user", *KEPT, *MIXED, timeout=120)
    assert sorted(os.listdir(host.root / "home")) == ["other"]


def strays(host: Host, *more: str) -> list[str]:
    """Processes that are not the host's own; keepers may wait for somebody who comes back, unless in ``more``."""
    return [
        f"{p.pid} {p.uids[0]} {p.name} {' '.join(p.argv)[:80]}"
        for p in host.processes()[1:]
        if p.pid != host.sshd_pid and (p.name != "keeper" or p.name in more)
    ]
