"""A user namespace of one's own inside the jail: in it the tenant has every capability again.

containers/bubblewrap#368, #488. Attack A018: a success is a failure, even if nothing else is shown. Three layers: the
filter, the limit in the jail's user namespace, no capability for the other kinds.
"""

from __future__ import annotations

import pytest

from .cells import FIRST, Cells
from .numbers import numbers

pytestmark = pytest.mark.host
KINDS = {"mnt": 0x00020000, "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000, "user": 0x10000000,
         "pid": 0x20000000, "net": 0x40000000, "time": 0x80}  # fmt: skip
SIGCHLD = 17


@pytest.mark.parametrize("kind", KINDS)
def test_a018_unshare_and_clone(cells: Cells, kind: str) -> None:
    n = numbers()
    unshare = [n["unshare"], KINDS[kind]]
    clone = [n["clone"], (KINDS[kind] if kind != "time" else 0x10000000) | SIGCHLD, 0, 0, 0, 0]
    assert cells.root.calls(unshare) == [""]
    assert cells.first.calls(unshare) == ["EPERM"]
    assert cells.first.calls(clone) == ["EPERM"]
    # clone3 keeps its flags in memory, where no filter can look: it does not exist, and the C library falls back
    hidden = (KINDS["user"] | KINDS[kind]).to_bytes(8, "little").hex() + "00" * 56
    assert cells.first.calls([n["clone3"], {"hex": hidden}, 64]) == ["ENOSYS"]


def test_a018_an_ordinary_user_outside_may(cells: Cells) -> None:
    """Not where a host forbids it (sysctl, AppArmor): there the jail must not be the way to get one either. Root
    may."""
    n = numbers()
    with cells.root.held("call", steps=[[n["unshare"], KINDS["user"]]]) as (said, process):
        assert said[0][0] == 0 and process.namespaces["user"] != cells.host.processes()[0].namespaces["user"]
    with cells.first.held(
        "call", steps=[[n["unshare"], KINDS["user"]], [n["unshare"], KINDS["user"] | KINDS["mnt"]]]
    ) as (
        said,
        process,
    ):
        assert [name for _, name, _ in said] == ["EPERM", "EPERM"]
        assert process.namespaces == cells.keeper(FIRST).namespaces and process.caps["CapEff"] == 0


def test_a018_joining_namespaces(cells: Cells) -> None:
    n = numbers()
    for kind in ("user", "mnt", "pid"):
        steps = [[n["openat"], -100, {"s": f"/proc/1/ns/{kind}"}, 0], [n["setns"], {"step": 0}, 0]]
        assert cells.first.calls(*steps) == ["", "EPERM"]
    steps = [[n["openat"], -100, {"s": "/proc/1/ns/mnt"}, 0], [n["setns"], {"step": 0}, 0]]
    assert cells.root.calls(*steps) == ["", ""]


def test_a018_the_limit_holds_without_the_filter(cells: Cells) -> None:
    """Root, put into the jail's namespaces with all capabilities there: no further user namespace below (ENOSPC)."""
    number = str(cells.keeper(FIRST).inner_pids[1])
    done = cells.host.run(["/usr/bin/nsenter", "-t", number, "-m", "-p", "/usr/bin/unshare", "-U", "/bin/true"])
    assert done.returncode == 0, done.stderr  # in the host's user namespace it may
    done = cells.host.run(["/usr/bin/nsenter", "-t", number, "-U", "-m", "-p", "/usr/bin/unshare", "-U", "/bin/true"])
    assert done.returncode != 0 and "No space left on device" in done.stderr, done
