"""System calls whose holes are the usual way to root; and other tables of calls that a filter forgets.

CVE-2021-41133 (calls newer than the list); CVE-2017-5206 (a 32-bit program past a 64-bit filter). Attack A202.
Unjailed, each call is answered by its own code: with success, or by what is wrong with the arguments.
"""

from __future__ import annotations

from typing import Any

import pytest

from .cells import Cells
from .numbers import MACHINE, numbers

pytestmark = pytest.mark.host
WRONG = 0x7FFFFFFF
NOWHERE = {"s": "/nonexistent"}

# name: (arguments that can do no harm, what root is told)
CALLS: dict[str, tuple[list[Any], str]] = {
    "add_key": ([0, 0, 0, 0, 0], "EFAULT"),
    "keyctl": ([0, -3, 0], ""),
    "request_key": ([0, 0, 0, 0], "EFAULT"),
    "bpf": ([WRONG, 0, 0], "EINVAL"),
    "perf_event_open": ([0, 0, -1, -1, 0], "EFAULT"),
    "userfaultfd": ([0], ""),
    "io_uring_setup": ([1, 0], "EFAULT"),
    "io_uring_enter": ([-1, 0, 0, 0, 0, 0], "EBADF"),
    "io_uring_register": ([999, 1, 0, 0], "EBADF"),
    "fanotify_init": ([0, 0], ""),
    "open_by_handle_at": ([-1, 0, 0], "EFAULT"),
    "kexec_load": ([0, 1000, 0, 0], "EINVAL"),
    "kexec_file_load": ([-1, -1, 0, 0, WRONG], "EINVAL"),
    "init_module": ([0, 0, 0], "ENOEXEC"),
    "finit_module": ([-1, 0, 0], "EBADF"),
    "delete_module": ([0, 0], "EFAULT"),
    "mount": ([NOWHERE, NOWHERE, NOWHERE, 0, 0], "ENOENT"),
    "umount2": ([NOWHERE, 0], "ENOENT"),
    "pivot_root": ([NOWHERE, NOWHERE], "ENOENT"),
    "chroot": ([NOWHERE], "ENOENT"),
    "open_tree": ([-100, NOWHERE, 0], "ENOENT"),
    "move_mount": ([-100, NOWHERE, -100, NOWHERE, 0], "ENOENT"),
    "fsopen": ([{"s": "nosuchfs"}, 0], "ENODEV"),
    "fsconfig": ([-1, 0, 0, 0, 0], "EINVAL"),
    "fsmount": ([-1, 0, 0], "EBADF"),
    "fspick": ([-100, NOWHERE, 0], "ENOENT"),
    "mount_setattr": ([-100, NOWHERE, 0, {"hex": "01" + "00" * 31}, 32], "ENOENT"),
    "unshare": ([0], ""),
    "setns": ([-1, 0], "EBADF"),
    "swapon": ([NOWHERE, 0], "ENOENT"),
    "swapoff": ([NOWHERE], "ENOENT"),
    "quotactl": ([0x80000700, NOWHERE, 0, 0], "ENOENT"),
    "quotactl_fd": ([-1, 0x80000700, 0, 0], "EBADF"),
    "reboot": ([0, 0, 0, 0], "EINVAL"),
    "acct": ([NOWHERE], "ENOENT"),
    "syslog": ([10, 0, 0], ""),
    "settimeofday": ([0, 0], ""),
    "clock_settime": ([0, 0], "EFAULT"),
    "clock_adjtime": ([0, 0], "EFAULT"),
    "adjtimex": ([0], "EFAULT"),
}
ONLY_X86: dict[str, tuple[list[Any], str]] = {
    "modify_ldt": ([0, {"room": 8}, 8], ""),
    "iopl": ([0], ""),
    "ioperm": ([0, 0, 0], "EINVAL"),
}
NOT_BUILT_IN = {"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "modify_ldt",
                "quotactl", "quotactl_fd", "acct", "userfaultfd", "iopl", "ioperm"}  # fmt: skip
"""Of these a kernel may have none (ENOSYS): then there is nothing to refuse, and refused it is all the same."""


def every() -> dict[str, tuple[list[Any], str]]:
    return CALLS | (ONLY_X86 if MACHINE == "x86_64" else {})


@pytest.mark.parametrize("name", sorted(every()))
def test_a202_a_call(cells: Cells, name: str) -> None:
    arguments, told = every()[name]
    call = [numbers()[name], *arguments]
    unjailed = cells.root.calls(call)[0]
    assert unjailed == told or (unjailed == "ENOSYS" and name in NOT_BUILT_IN), unjailed
    assert cells.first.calls(call) == ["EPERM"]


def test_a202_calls_of_the_future(cells: Cells) -> None:
    """Numbers that nobody has looked at, also with the upper half of the register set."""
    for number in (470, 471, 480, 500, 511, 512, 547, 1000, 0x3FFFFFFF):
        assert cells.first.calls([number, 0, 0, 0]) == ["ENOSYS"]
    assert cells.first.calls([numbers()["getpid"]]) == [""]
    unshare = numbers()["unshare"]
    assert cells.first.calls([unshare | 1 << 32, 0x10000000])[0] in ("EPERM", "ENOSYS")
    assert cells.first.calls([unshare, 0x10000000 | 1 << 40]) == ["EPERM"]


# mov eax, NUMBER; mov ebx, ARGUMENT (saved and restored); int 0x80; ret
def int80(number: int, argument: int = 0) -> str:
    code = b"\x53\xb8" + number.to_bytes(4, "little") + b"\xbb" + argument.to_bytes(4, "little") + b"\xcd\x80\x5b\xc3"
    return code.hex()


def test_a202_the_32_bit_table(cells: Cells) -> None:
    """int 0x80 from a 64-bit program: getpid is 20 there, mount 21, unshare 310, keyctl 288."""
    if MACHINE != "x86_64":
        return  # no second table is entered from 64-bit code there
    assert cells.plain.ask("machine", code=int80(20)) > 0
    assert cells.root.ask("machine", code=int80(310)) == 0  # unshare(0)
    for number, argument in ((20, 0), (310, 0), (310, 0x10000000), (21, 0), (288, 0), (61, 0), (120, 0x10000011)):
        assert cells.first.ask("machine", code=int80(number, argument)) == -38, number  # -ENOSYS


def test_a202_the_x32_table(cells: Cells) -> None:
    """Bit 30 of the number. Not applicable where the kernel is built without it, as Debian's is unless asked at boot:
    then unjailed it is ENOSYS as well. The filter says so before the kernel can."""
    if MACHINE != "x86_64":
        return
    bit = 0x40000000
    assert cells.plain.calls([bit | 39])[0] in ("", "ENOSYS")
    for number in (39, 165, 272, 321, 512, 520, 545):
        assert cells.first.calls([bit | number, 0x10000000]) == ["ENOSYS"]


def test_a202_what_programs_need(cells: Cells) -> None:
    """The filter is no ban on everything: some calls that lists of this kind have forbidden by mistake."""
    n = numbers()
    for name, arguments in (
        ("memfd_create", [{"s": "x"}, 0]), ("inotify_init1", [0]), ("eventfd2", [0, 0]), ("epoll_create1", [0]),
        ("getrandom", [{"room": 8}, 8, 0]), ("pidfd_open", [1, 0]), ("personality", [0xFFFFFFFF]), ("sched_yield", []),
        ("statx", [-100, {"s": "/"}, 0, 0x7FF, {"room": 256}]), ("prctl", [38, 1, 0, 0, 0]), ("rseq", [0, 0, 1, 0]),
    ):  # fmt: skip
        assert cells.first.calls([n[name], *arguments])[0] in ("", "EINVAL"), name
