"""What the worker gives up before it reads its first byte of a tenant's."""

from __future__ import annotations

import os
import resource

from ..kernel import caps, seccomp
from ..kernel.libc import put

ID = 699_934_463
"""User and group of the worker: no account's, below the range of the image workshop, which is below the jails'."""
_MEMORY = 512 << 20
# (x86_64, aarch64) of what CPython's sockets, epoll, clock and memory need; socket(2) is judged by its family
_CALLS = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216),
    "brk": (12, 214), "madvise": (28, 233), "rt_sigreturn": (15, 139), "ioctl": (16, 29),
    "fcntl": (72, 25), "fstat": (5, 80), "connect": (42, 203), "accept4": (288, 242), "sendto": (44, 206),
    "recvfrom": (45, 207), "sendmsg": (46, 211), "recvmsg": (47, 212), "getsockopt": (55, 209),
    "getsockname": (51, 204), "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None),
    "epoll_pwait": (281, 22), "clock_gettime": (228, 113), "getrandom": (318, 278), "futex": (202, 98),
    "exit_group": (231, 94), "rt_sigprocmask": (14, 135), "restart_syscall": (219, 128),
}  # fmt: skip


def confine(root: str) -> None:
    """Give up everything, for good, and read back that it is gone. root: an empty directory that becomes the root.
    Raise OSError."""
    _dispensable()
    os.chroot(root)
    os.chdir("/")
    _limits()
    caps.become(ID, ID, keep_caps=True)  # one is needed to empty the bounding set
    caps.drop_all()
    caps.die_with_parent()
    column = 0 if os.uname().machine == "x86_64" else 1
    numbers = [numbers[column] for numbers in _CALLS.values()]
    seccomp.install(seccomp.allowing(os.uname().machine, [number for number in numbers if number is not None]))


def _dispensable() -> None:
    """The parent holds the sockets of all jails and is spared when memory runs out (main.py); what tenants feed is not,
    and is started anew (proc_pid_oom_score_adj(5))."""
    try:
        put("/proc/self/oom_score_adj", "0")
    except OSError:
        return  # in a container even root may be unable to


def _limits() -> None:
    for what, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(what, (most, most))
