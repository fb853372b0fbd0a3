"""Mounting from inside: by mount(2) and by each of the newer calls, which filters made for the old one forgot.

flatpak CVE-2021-41133 and flatpak/flatpak#4456. Attack A017. Root, in a mount namespace of its own, is who can do all
of it unjailed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .cells import FIRST, Cell, Cells
from .numbers import numbers

pytestmark = pytest.mark.host
AT_FDCWD, TREE_CLONE, EMPTY_PATH, CREATE, NEWNS = -100, 1, 0x1000, 6, 0x20000


def steps(place: str) -> dict[str, list[list[Any]]]:
    """By name: the calls, of which the last is the one that is named."""
    n = numbers()
    here, none = {"s": place}, {"s": ""}
    new = [[n["fsopen"], {"s": "tmpfs"}, 0], [n["fsconfig"], {"step": 0}, CREATE, 0, 0, 0]]
    made = [*new, [n["fsmount"], {"step": 0}, 0, 0]]
    cloned = [[n["open_tree"], AT_FDCWD, here, TREE_CLONE]]
    tmpfs = [n["mount"], {"s": "none"}, here, {"s": "tmpfs"}, 0, 0]
    return {
        "mount": [tmpfs],
        "mount proc": [[n["mount"], {"s": "none"}, here, {"s": "proc"}, 0, 0]],
        "mount bind": [[n["mount"], {"s": "/"}, here, 0, 4096, 0]],
        "mount remount": [[n["mount"], {"s": place}, here, 0, 4096, 0], [n["mount"], 0, here, 0, 32 | 4096, 0]],
        "umount2": [tmpfs, [n["umount2"], here, 2]],
        "pivot_root": [tmpfs, [n["chdir"], here], [n["pivot_root"], {"s": "."}, {"s": "."}]],
        "fsopen": new[:1],
        "fsconfig": new,
        "fsmount": made,
        "fspick": [[n["fspick"], AT_FDCWD, {"s": "/"}, 0]],
        "open_tree": cloned,
        "move_mount": [*made, [n["move_mount"], {"step": 2}, none, AT_FDCWD, here, 4]],
        "mount_setattr": [*made, [n["mount_setattr"], {"step": 2}, none, EMPTY_PATH, {"hex": "00" * 32}, 32]],
        "open_tree_attr": [[n["open_tree_attr"], AT_FDCWD, here, TREE_CLONE, {"hex": "00" * 32}, 32]],
        "chroot": [[n["chroot"], {"s": "/"}]],
    }


def relative(calls: list[list[Any]]) -> list[list[Any]]:
    """The same with one call more before them."""
    return [[{"step": a["step"] + 1} if isinstance(a, dict) and "step" in a else a for a in call] for call in calls]


def last(cell: Cell, calls: list[list[Any]]) -> str:
    return cell.calls(*calls)[-1]


@pytest.mark.parametrize("name", sorted(steps("/tmp")))
def test_a017_a_call_of_the_mount_family(cells: Cells, name: str) -> None:
    place = "/tmp/escmount"
    if cells.root.says("stats", path=place):
        cells.root.ask("make", kind="mkdir", path=place, mode=0o755)
        cells.first.ask("make", kind="mkdir", path=place, mode=0o755)
    unjailed = last(cells.root, [[numbers()["unshare"], NEWNS], *relative(steps(place)[name])])
    # 6.14 and older have no open_tree_attr: nothing to close there, and the filter's answer is the same
    assert unjailed == "" or (name == "open_tree_attr" and unjailed == "ENOSYS")
    before = Path(f"/proc/{cells.keeper(FIRST).pid}/mountinfo").read_text()
    assert set(cells.first.calls(*steps(place)[name])) <= {"EPERM", ""}  # chdir alone is granted
    assert last(cells.first, steps(place)[name]) == "EPERM"
    assert Path(f"/proc/{cells.keeper(FIRST).pid}/mountinfo").read_text() == before


def test_a017_without_the_filter_the_kernel_refuses_as_well(cells: Cells) -> None:
    """A process of the tenant's without any seccomp program, put into the jail by root: no capability, no mount."""
    number = cells.keeper(FIRST).inner_pids[1]
    uid = cells.host.ids(FIRST)[0]
    inside = ["/usr/bin/nsenter", "-t", str(number), "-m", "-p", "-U", "-i", "-u", "-C", "-S", str(uid), "-G", str(uid)]
    before = Path(f"/proc/{cells.keeper(FIRST).pid}/mountinfo").read_text()
    for argv, said in (
        (["/bin/mount", "-t", "tmpfs", "none", "/tmp"], "superuser"),
        (["/bin/mount", "-o", "remount,suid", "/tmp"], "superuser"),
        (["/bin/umount", "/tmp"], ""),
        (["/usr/sbin/chroot", "/tmp"], "not permitted"),
    ):
        done = cells.host.run([*inside, *argv])
        assert done.returncode != 0 and said in done.stderr, done
    assert Path(f"/proc/{cells.keeper(FIRST).pid}/mountinfo").read_text() == before
    seccomp = cells.host.run([*inside, "/bin/grep", "-w", "Seccomp:", "/proc/self/status"])
    assert seccomp.stdout.split() == ["Seccomp:", "0"]
