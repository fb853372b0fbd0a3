"""What one tenant can learn of another by names that she knows: home, records, sockets, groups.

Attack A201. That it is there and that it is not must look the same.
"""

from __future__ import annotations

from typing import Any

import pytest

from .cells import FIRST, SECOND, Cells

pytestmark = pytest.mark.host
PATTERNS = ("/home/{user}", "/home/{user}/probe.py", "/home/{user}/.ssh", "/etc/jailctl/keys/{user}", "/tmp/{user}",
            "/etc/jailctl/jails.d/{user}.toml", "/var/lib/jailctl/jails/{user}", "/var/mail/{user}", "~{user}",
            "/var/lib/jailctl/jails/{user}/recipe", "/run/jailctl/names/{user}", "/run/jailctl/jails/{uid}",
            "/run/jailctl/jails/{uid}/entry", "/run/user/{uid}", "/sys/fs/cgroup/pids/jailctl/{uid}",
            "/proc/{pid}", "/proc/{pid}/root", "/var/spool/cron/crontabs/{user}", "/run/screen/S-{user}")  # fmt: skip


def test_a201_there_or_not_looks_the_same(cells: Cells) -> None:
    pid = next(p for p in cells.host.processes() if p.pid == cells.second.pid).inner_pids[1]
    there = {"user": SECOND, "uid": cells.second.uid, "pid": pid}
    nobody = {"user": "escnobody", "uid": 65000, "pid": 32000}
    exist = [pattern for pattern in PATTERNS if cells.root.says("stats", path=pattern.format(**there)) == ""]
    assert len(exist) > 7, exist
    for pattern in PATTERNS:
        verbs: list[tuple[str, dict[str, Any]]] = [("stats", {}), ("names", {}), ("read", {}), ("link", {})]
        verbs += [("make", {"kind": "mkdir", "mode": 0o755}), ("write", {"data": "x"})]
        said = []
        for who in (there, nobody):
            path = pattern.format(**who)
            said.append(cells.first.ask("tries", verbs=[[verb, args | {"path": path}] for verb, args in verbs]))
            cells.first.says("make", kind="rmdir", path=path)  # in /tmp she may make it
        assert said[0] == said[1] and said[0][:4] == ["ENOENT"] * 4, (pattern, said)


def test_a201_ones_own_is_there(cells: Cells) -> None:
    for path in (f"/home/{FIRST}", f"/run/user/{cells.first.uid}"):
        assert cells.first.ask("stats", path=path)["uid"] == cells.first.uid
    assert cells.first.ask("names", path="/home") == [FIRST]


def test_a201_accounts_by_name(cells: Cells) -> None:
    program = ["/usr/bin/getent", "passwd"]
    assert SECOND in cells.plain.ask("run", argv=[*program, SECOND])[1]
    known, unknown = (cells.first.ask("run", argv=[*program, name]) for name in (SECOND, "escnobody"))
    assert known == unknown and known[0] != 0
    for argv in (["/usr/bin/id"], ["/usr/bin/groups"], ["/usr/bin/finger"]):
        if (cells.host.root / argv[0][1:]).exists():
            known, unknown = (cells.first.ask("run", argv=[*argv, name]) for name in (SECOND, "escnobody"))
            assert [str(part).replace(SECOND, "X") for part in known] == [
                str(part).replace("escnobody", "X") for part in unknown
            ], argv
