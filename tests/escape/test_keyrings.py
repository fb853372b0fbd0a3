"""Keyrings: they belong to the kernel, and a session's keyring goes along through fork, exec and setns.

opencontainers/runc#453, #488. Attack A046. In a jail no call of theirs gets past the filter, and /proc/keys is masked;
so what an administrator or a daemon has in the session keyring that it starts a session from cannot be read.
"""

from __future__ import annotations

import json
import secrets
import shlex
from typing import Any

import pytest

from ..host.host import PYTHON
from .cells import FIRST, PLACE, Cells
from .numbers import numbers

pytestmark = pytest.mark.host
SESSION, USER_SESSION, USER = -3, -5, -4
GET_ID, JOIN, UPDATE, DESCRIBE, CLEAR, LINK, SEARCH, READ = 0, 1, 2, 6, 7, 8, 10, 11


def look(description: str, place: str) -> str:
    """A shell command: search the session keyring for a key, read it."""
    n = numbers()
    steps = [
        [n["keyctl"], GET_ID, SESSION, 0],
        [n["keyctl"], SEARCH, SESSION, {"s": "user"}, {"s": description}, 0],
        [n["keyctl"], READ, {"step": 1}, {"room": 64}, 64],
    ]
    return shlex.join([PYTHON, "-I", "-S", place, "call", json.dumps({"steps": steps})])


def test_a046_the_callers_session_keyring(cells: Cells) -> None:
    """Root has a key, readable by whoever possesses it, and starts a session for each: by su, by setpriv."""
    n = numbers()
    description, secret = f"esc{secrets.token_hex(4)}", secrets.token_hex(8)
    steps = [
        [n["keyctl"], JOIN, 0],
        [n["add_key"], {"s": "user"}, {"s": description}, {"s": secret}, 16, SESSION],
        [n["keyctl"], 5, {"step": 1}, 0x3F3F3F3F],  # KEYCTL_SETPERM: everything, for everybody
    ]
    script = (
        f"import sys, json; sys.path.insert(0, '/var/tmp'); import probe, os\n"
        f"assert all(not name for _, name, _ in probe.call(json.loads({json.dumps(steps)!r})))\n"
        f"os.execv(sys.argv[1], sys.argv[1:])"
    )
    have = [PYTHON, "-I", "-S", "-c", script]
    done = cells.host.run([*have, "/usr/bin/setpriv", f"--reuid={cells.plain.uid}", "--clear-groups", "/bin/sh", "-c",
                           look(description, PLACE)])  # fmt: skip
    found = json.loads(done.stdout)["is"]
    assert [name for _, name, _ in found] == ["", "", ""] and secret.encode().hex() in found[2][2]
    for argv in (["/bin/su", FIRST, "-c"], ["/bin/su", "-", FIRST, "-c"]):
        done = cells.host.run([*have, *argv, look(description, f"/home/{FIRST}/probe.py")])
        assert [name for _, name, _ in json.loads(done.stdout)["is"]] == ["EPERM"] * 3, done
        assert secret not in done.stdout and secret.encode().hex() not in done.stdout


def test_a046_every_call(cells: Cells) -> None:
    n = numbers()
    calls: list[list[Any]] = [
        [n["keyctl"], operation, ring, 0] for operation in range(33) for ring in (SESSION, USER, USER_SESSION)
    ]
    calls += [[n["add_key"], {"s": "user"}, {"s": "x"}, {"s": "y"}, 1, ring] for ring in (SESSION, USER, -1, -2)]
    calls += [[n["request_key"], {"s": "user"}, {"s": "x"}, 0, ring] for ring in (0, SESSION)]
    assert "" in cells.plain.calls(*calls[:3]) and "" in cells.plain.calls(*calls[-6:-2])
    assert set(cells.first.calls(*calls)) == {"EPERM"}
    assert cells.first.says("read", path="/proc/keys") == "EACCES"
    assert f"_uid.{cells.first.uid}:" not in cells.root.ask("read", path="/proc/keys")
