"""The seccomp program, judged by the kernel itself: each call is first shown to get past the entry without it."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from jailkit.kernel import seccomp
from jailkit.kernel.libc import syscall

LIB = ctypes.CDLL(None, use_errno=True)
LIB.syscall.restype = ctypes.c_long
MACHINE = os.uname().machine
COLUMN = 0 if MACHINE == "x86_64" else 1


def install(code: bytes) -> None:
    LIB.prctl(38, 1, 0, 0, 0)
    buffer = ctypes.create_string_buffer(code, len(code))
    fprog = (ctypes.c_uint64 * 2)(len(code) // 8, ctypes.addressof(buffer))
    syscall("seccomp", 1, 0, ctypes.byref(fprog))


def answer(number: int, *args: int, host_network: bool = False, filtered: bool = True, set_id: bool = False) -> int:
    """errno (0: success) of one system call made by a child under the program."""
    pid = os.fork()
    if pid == 0:
        if filtered:
            install(seccomp.program(MACHINE, host_network, set_id))
        values = [ctypes.c_long(a) for a in args] + [ctypes.c_long(0)] * (6 - len(args))
        result = LIB.syscall(ctypes.c_long(number), *values)
        os._exit(0 if result >= 0 else min(ctypes.get_errno(), 255))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("name", sorted(seccomp._EPERM))
def test_listed_calls_answer_eperm(name: str) -> None:
    number = seccomp._EPERM[name][COLUMN]
    if number is None:
        return  # the architecture has no such call, so there is nothing to refuse
    # as root and with zero arguments: what the kernel itself would answer is something else for each of them
    # (EFAULT, EINVAL, ENOSYS, success), or it is EPERM for want of a capability, which the filter makes no difference
    # to
    assert answer(number) == errno.EPERM


def answer_under(code: bytes, number: int, *args: int) -> int:
    pid = os.fork()
    if pid == 0:
        LIB.prctl(38, 1, 0, 0, 0)
        seccomp.install(code)
        values = [ctypes.c_long(a) for a in args] + [ctypes.c_long(0)] * (6 - len(args))
        result = LIB.syscall(ctypes.c_long(number), *values)
        os._exit(0 if result >= 0 else min(ctypes.get_errno(), 255))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a202_who_reads_an_archive_may_make_no_other_call() -> None:
    allowed = {numbers[COLUMN] for numbers in seccomp._STREAMS.values()}
    never = {0x3B if COLUMN == 0 else 221, 0x101 if COLUMN == 0 else 56}  # execve, openat
    assert not never & allowed
    code = seccomp.streams_only(MACHINE)
    # uretprobe and uprobe of x86_64: no filter sees them, and whoever is not on a probe's trampoline gets SIGILL
    uprobes = {335, 336} if COLUMN == 0 else set()
    for number in sorted({*range(seccomp.REVIEWED + 20), 0x40000000, 0x7FFFFFFF} - allowed - uprobes):
        assert answer_under(code, number) == errno.EPERM, number
    getpid = seccomp._STREAMS["getpid"][COLUMN]
    assert answer_under(code, getpid) == 0


def test_a202_who_installs_packages_may_mount_and_not_much_more_than_a_jail() -> None:
    code = seccomp.installer(MACHINE)
    for name, numbers in seccomp._EPERM.items():
        number = numbers[COLUMN]
        if number is not None and name not in seccomp._INSTALLERS:
            assert answer_under(code, number) == errno.EPERM, name
    chroot = seccomp._EPERM["chroot"][COLUMN]
    assert chroot is not None and answer_under(code, chroot) == errno.EFAULT
    assert answer_under(code, seccomp.REVIEWED + 1) == errno.ENOSYS
    assert answer_under(code, seccomp._SOCKET[MACHINE], 38, 5, 0) == errno.EAFNOSUPPORT  # AF_ALG


def test_the_refusal_is_the_filters() -> None:
    unshare = seccomp._EPERM["unshare"][COLUMN]
    assert unshare is not None
    assert answer(unshare, 0x08000000, filtered=False) == 0
    assert answer(unshare, 0x08000000) == errno.EPERM


def test_a202_numbers_nobody_reviewed_are_unknown() -> None:
    for number in (seccomp.REVIEWED + 1, seccomp.REVIEWED + 1000, 0x7FFFFFFF):
        assert answer(number) == errno.ENOSYS


@pytest.mark.skipif(MACHINE != "x86_64", reason="x32 is an ABI of x86_64")
def test_a202_x32_numbers_are_unknown() -> None:
    assert answer(0x40000000 | 39) == errno.ENOSYS


def test_clone_with_namespaces_is_refused_and_without_is_not() -> None:
    clone = seccomp._CLONE[MACHINE]
    assert answer(clone, 0x10000000 | 17) == errno.EPERM
    assert answer(clone, 17) == 0
    assert answer(seccomp._CLONE3) == errno.ENOSYS


@pytest.mark.parametrize(
    ("family", "kind", "protocol", "alone", "host"),
    [
        (1, 1, 0, 0, 0),
        (2, 1, 0, 0, 0),
        (10, 2, 0, 0, 0),
        (16, 3, 0, errno.EAFNOSUPPORT, 0),
        (16, 3, 9, errno.EAFNOSUPPORT, errno.EAFNOSUPPORT),  # NETLINK_AUDIT
        (17, 3, 0x300, errno.EAFNOSUPPORT, errno.EAFNOSUPPORT),  # AF_PACKET
        (38, 5, 0, errno.EAFNOSUPPORT, errno.EAFNOSUPPORT),  # AF_ALG
        (40, 1, 0, errno.EAFNOSUPPORT, errno.EAFNOSUPPORT),  # AF_VSOCK
    ],
)
def test_a204_socket_families(family: int, kind: int, protocol: int, alone: int, host: int) -> None:
    socket = seccomp._SOCKET[MACHINE]
    assert answer(socket, family, kind, protocol) == alone
    assert answer(socket, family, kind, protocol, host_network=True) == host


def test_a053_pushing_into_a_terminal_is_refused() -> None:
    master, slave = os.openpty()
    ioctl = seccomp._IOCTL[MACHINE]
    char = ctypes.c_char(b"x")
    address = ctypes.addressof(char)
    for request in (0x5412, 0x541C, 0x5412 | (1 << 40)):  # the kernel looks at 32 bits of the request
        assert answer(ioctl, slave, request, address) == errno.EPERM
    assert answer(ioctl, slave, 0x5413, ctypes.addressof(ctypes.create_string_buffer(8))) == 0  # TIOCGWINSZ
    os.close(master)
    os.close(slave)


def test_both_architectures_have_a_program() -> None:
    for machine in ("x86_64", "aarch64"):
        for host in (False, True):
            assert 0 < len(seccomp.program(machine, host)) // 8 < 256
    with pytest.raises(KeyError):
        seccomp.program("riscv64")


def test_setuid_modes_only_where_an_image_is_built(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "program", os.O_RDWR | os.O_CREAT)
    fchmod = seccomp._MODES["fchmod"][COLUMN]
    assert fchmod is not None
    assert answer(fchmod, fd, 0o755) == answer(fchmod, fd, 0o2755) == 0
    assert answer(fchmod, fd, 0o4755) == errno.EPERM and os.fstat(fd).st_mode & 0o7777 == 0o2755
    assert answer(fchmod, fd, 0o4755, set_id=True) == 0 and os.fstat(fd).st_mode & 0o7777 == 0o4755
    assert answer(seccomp._EPERM["mount"][COLUMN] or 0, set_id=True) == errno.EPERM
    os.close(fd)
