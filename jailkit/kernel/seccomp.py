"""The seccomp program of a jail: a deny list that ends at the last system call we have looked at.

A plain deny list lets every later kernel add a hole (CVE-2021-41133); an allow list of 350 names breaks programs. So:
numbers above :data:`REVIEWED` answer ENOSYS until somebody has read what they do, the listed ones EPERM, and the rest
is allowed. Classic BPF, as in seccomp(2); the kernel caches the plain "allow" verdicts, so their cost is near nothing.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from .libc import syscall

REVIEWED = 469
"""file_setattr, Linux 6.17: the last number that was read for this file."""

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000

# name: (x86_64, aarch64); None where the architecture has no such call
_EPERM: dict[str, tuple[int | None, int | None]] = {
    # the mount family, old and new: the jail's mounts are root's business
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "open_tree_attr": (467, 467),
    # namespaces; clone is judged by its flags, clone3 answers ENOSYS so that the C library falls back to clone
    "unshare": (272, 97), "setns": (308, 268),
    # keys are the kernel's, not a namespace's
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # kernel interfaces whose holes are the usual way to root
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "fanotify_init": (300, 262),
    "open_by_handle_at": (304, 265), "modify_ldt": (154, None), "lookup_dcookie": (212, 18),
    # the machine itself
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "create_module": (174, None), "swapon": (167, 224), "swapoff": (168, 225),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "reboot": (169, 142), "syslog": (103, 116), "acct": (163, 89),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "iopl": (172, None), "ioperm": (173, None), "vhangup": (153, 58), "nfsservctl": (180, 42),
    "lsm_set_self_attr": (460, 460),
}  # fmt: skip
# calls that give a file its mode: (x86_64, aarch64, argument with the mode, argument with open's flags or None)
_MODES: dict[str, tuple[int | None, int | None, int, int | None]] = {
    "open": (2, None, 2, 1), "openat": (257, 56, 3, 2), "creat": (85, None, 1, None), "mknod": (133, None, 1, None),
    "mknodat": (259, 33, 2, None), "chmod": (90, None, 1, None), "fchmod": (91, 52, 1, None),
    "fchmodat": (268, 53, 2, None), "fchmodat2": (452, 452, 2, None),
}  # fmt: skip
_OPENAT2 = 437
_SETUID = 0o4000
_MAKES = 0o100 | 0o20000000  # O_CREAT, and the bit of O_TMPFILE: without one of them open's mode is whatever was there
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_SOCKET = {"x86_64": 41, "aarch64": 198}
_IOCTL = {"x86_64": 16, "aarch64": 29}
_NEW_NAMESPACE = 0x7E020080  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET, and NEWTIME (0x80)
_AF_NETLINK = 16
_REQUESTS = (
    0x5412,  # TIOCSTI: pushes characters into a terminal's input (CVE-2017-5226)
    0x541C,  # TIOCLINUX: the same by way of the console's selection
    0x5423,  # TIOCSETD: loads the module of a line discipline, for anybody (CVE-2017-2636, CVE-2023-6546)
    # btrfs lets anybody make subvolumes and snapshots, which are outside the quota of the one around them, and the
    # owner of one make it read-only, so that root cannot remove it: SUBVOL_CREATE, SNAP_CREATE, their v2, _SETFLAGS
    0x5000940E, 0x50009401, 0x50009418, 0x50009417, 0x4008941A,
)

# what a program needs that reads one stream and writes another: memory, the streams, time, its end (x86_64, aarch64)
_STREAMS: dict[str, tuple[int, int]] = {
    "read": (0, 63), "write": (1, 64), "writev": (20, 66), "lseek": (8, 62), "close": (3, 57), "fstat": (5, 80),
    "newfstatat": (262, 79), "fcntl": (72, 25), "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216),
    "mprotect": (10, 226), "madvise": (28, 233), "brk": (12, 214), "futex": (202, 98), "getrandom": (318, 278),
    "clock_gettime": (228, 113), "getpid": (39, 172), "gettid": (186, 178), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "restart_syscall": (219, 128), "exit": (60, 93),
    "exit_group": (231, 94),
}  # fmt: skip

# and what one needs that reads or writes files in its root, with their modes, times and attributes, or gets them handed
_FILES: dict[str, tuple[int, int]] = {
    "openat": (257, 56), "openat2": (437, 437), "getdents64": (217, 61), "statx": (332, 291), "readlinkat": (267, 78),
    "flistxattr": (196, 13), "fgetxattr": (193, 10), "fsetxattr": (190, 7), "pread64": (17, 67), "pwrite64": (18, 68),
    "mkdirat": (258, 34), "symlinkat": (266, 36), "linkat": (265, 37), "mknodat": (259, 33), "fchownat": (260, 54),
    "fchown": (93, 55), "fchmod": (91, 52), "utimensat": (280, 88), "ftruncate": (77, 46),
    "copy_file_range": (326, 285), "sendmsg": (46, 211), "recvmsg": (47, 212), "dup": (32, 23),
}  # fmt: skip
_FICLONE = 0x40049409

_INSTALLERS = {
    "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "unshare", "setns",
}  # fmt: skip

_LD, _JEQ, _JGT, _JGE, _JSET, _RET = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06


def _op(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, k)


def _deny(number: int) -> bytes:
    return _op(_RET, _ERRNO | number)


def program(machine: str, host_network: bool = False, set_id: bool = False) -> bytes:
    """The program for ``machine`` ("x86_64", "aarch64") as ``struct sock_filter`` instructions.

    host_network: the jail shares the host's network, so that routes may be read (AF_NETLINK, NETLINK_ROUTE). set_id:
    setuid files may be made, as dpkg does, which is no use where an image is built: they do not come into it.
    Socket families: unix, IPv4, IPv6 only. Raise KeyError for an architecture that nobody has reviewed."""
    column = 0 if machine == "x86_64" else 1
    out = [
        _op(_LD, 4),
        # a foreign ABI (32-bit through int 0x80) has other numbers: none of its calls is looked at, so none is made
        _op(_JEQ, _AUDIT_ARCH[machine], 1, 0), _deny(errno.ENOSYS),
        _op(_LD, 0),
        _op(_JGT, REVIEWED, 0, 1), _deny(errno.ENOSYS),  # x32 numbers carry bit 30: this catches them, too
        _op(_JEQ, _CLONE3, 0, 1), _deny(errno.ENOSYS),
        _op(_JEQ, _OPENAT2, 0, 1), _deny(errno.ENOSYS),  # its mode is in memory, where no filter can look
    ]  # fmt: skip
    for modes in () if set_id else _MODES.values():
        number, mode, flags = modes[column], modes[2], modes[3]
        if number is not None:
            out += _setuid(number, mode, flags)
    out += _namespaces(_CLONE[machine]) + _sockets(_SOCKET[machine], host_network) + _terminal(_IOCTL[machine])
    for numbers in _EPERM.values():
        number = numbers[column]
        if number is not None:
            out += [_op(_JEQ, number, 0, 1), _deny(errno.EPERM)]
    out.append(_op(_RET, _ALLOW))
    return b"".join(out)


def streams_only(machine: str) -> bytes:
    """A program under which a process may read and write the descriptors that it has, use memory, and end; every other
    call answers EPERM. newfstatat is that of an open descriptor: with nothing in its root there is no path to ask for.
    Raise KeyError as :func:`program`."""
    column = 0 if machine == "x86_64" else 1
    out = [_op(_LD, 4), _op(_JEQ, _AUDIT_ARCH[machine], 1, 0), _deny(errno.EPERM), _op(_LD, 0)]
    for numbers in _STREAMS.values():
        out += [_op(_JEQ, numbers[column], 0, 1), _op(_RET, _ALLOW)]
    return b"".join([*out, _deny(errno.EPERM)])


def files_only(machine: str) -> bytes:
    """The same for a process that works on files, too: those in its root, and those that it is handed. Of ioctl(2) only
    FICLONE, which shares a file's blocks. Raise KeyError as :func:`program`."""
    column = 0 if machine == "x86_64" else 1
    out = [_op(_LD, 4), _op(_JEQ, _AUDIT_ARCH[machine], 1, 0), _deny(errno.EPERM), _op(_LD, 0)]
    for numbers in (*_STREAMS.values(), *_FILES.values()):
        out += [_op(_JEQ, numbers[column], 0, 1), _op(_RET, _ALLOW)]
    out += [_op(_JEQ, _IOCTL[machine], 0, 3), _argument(1), _op(_JEQ, _FICLONE, 0, 1), _op(_RET, _ALLOW)]
    return b"".join([*out, _deny(errno.EPERM)])


def allowing(machine: str, numbers: list[int]) -> bytes:
    """A program that allows the calls ``numbers``, sockets of IPv4 and IPv6, and nothing else (EPERM): for a process
    of ours whose every call is known. At most 250."""
    tail = [_deny(errno.EPERM), _op(_RET, _ALLOW)]
    tests = [_op(_JEQ, number, len(numbers) - at, 0) for at, number in enumerate(numbers)]  # to the last instruction
    inet = [_argument(0), _op(_JEQ, 2, 2, 0), _op(_JEQ, 10, 1, 0), _deny(errno.EAFNOSUPPORT), _op(_RET, _ALLOW)]
    head = [_op(_LD, 4), _op(_JEQ, _AUDIT_ARCH[machine], 1, 0), _deny(errno.ENOSYS), _op(_LD, 0)]
    return b"".join([*head, _op(_JEQ, _SOCKET[machine], 0, len(inet)), *inet, *tests, *tail])


def installer(machine: str) -> bytes:
    """A program for whoever installs packages as root of a user namespace: mounts, chroot and namespaces are its trade,
    and set-id files, as what it makes lies where nobody runs it. Raise KeyError as :func:`program`."""
    column = 0 if machine == "x86_64" else 1
    out = [_op(_LD, 4), _op(_JEQ, _AUDIT_ARCH[machine], 1, 0), _deny(errno.ENOSYS), _op(_LD, 0)]
    out += [_op(_JGT, REVIEWED, 0, 1), _deny(errno.ENOSYS), _op(_JEQ, _CLONE3, 0, 1), _deny(errno.ENOSYS)]
    out += _sockets(_SOCKET[machine], host_network=True) + _terminal(_IOCTL[machine])
    for name, numbers in _EPERM.items():
        number = numbers[column]
        if number is not None and name not in _INSTALLERS:
            out += [_op(_JEQ, number, 0, 1), _deny(errno.EPERM)]
    return b"".join([*out, _op(_RET, _ALLOW)])


def install(code: bytes) -> None:
    """Install ``code`` on this process for good (seccomp(2), SECCOMP_SET_MODE_FILTER). It needs no_new_privs, or
    CAP_SYS_ADMIN. Raise OSError."""
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: unsigned short len, padding, pointer
    fprog = (ctypes.c_uint64 * 2)(len(code) // 8, ctypes.addressof(buffer))
    syscall("seccomp", 1, 0, ctypes.byref(fprog), what="install the seccomp program")


def _argument(index: int) -> bytes:
    return _op(_LD, 16 + 8 * index)  # the low half: both architectures are little-endian


def _setuid(number: int, mode: int, flags: int | None) -> list[bytes]:
    """No setuid file: in the home, which is the host's, it would let who has no jail run programs as the tenant there.
    Setgid stays, as directories need it."""
    made = [] if flags is None else [_argument(flags), _op(_JSET, _MAKES, 0, 3)]
    body = [*made, _argument(mode), _op(_JSET, _SETUID, 0, 1), _deny(errno.EPERM), _op(_RET, _ALLOW)]
    return [_op(_JEQ, number, 0, len(body)), *body]


def _namespaces(clone: int) -> list[bytes]:
    return [
        _op(_JEQ, clone, 0, 4),
        _argument(0),
        _op(_JSET, _NEW_NAMESPACE, 0, 1),
        _deny(errno.EPERM),
        _op(_RET, _ALLOW),
    ]


def _sockets(socket: int, host_network: bool) -> list[bytes]:
    deny, allow = _op(_RET, _ERRNO | errno.EAFNOSUPPORT), _op(_RET, _ALLOW)
    routes = [_op(_JEQ, _AF_NETLINK, 0, 2), _argument(2), _op(_JEQ, 0, 1, 0)] if host_network else []  # NETLINK_ROUTE
    tail = [*routes, deny, allow]
    families = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6: each jumps to the last instruction
    tests = [_op(_JEQ, family, len(families) - 2 - at + len(tail), 0) for at, family in enumerate(families)]
    body = [_argument(0), *tests, *tail]
    return [_op(_JEQ, socket, 0, len(body)), *body]


def _terminal(ioctl: int) -> list[bytes]:
    """ioctl(2): the request is 32 bits wide in the kernel. Each test jumps to the last instruction."""
    tests = [_op(_JEQ, request, len(_REQUESTS) - at, 0) for at, request in enumerate(_REQUESTS)]
    body = [_argument(1), *tests, _op(_RET, _ALLOW), _deny(errno.EPERM)]
    return [_op(_JEQ, ioctl, 0, len(body)), *body]
