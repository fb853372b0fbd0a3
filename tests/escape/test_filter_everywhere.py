"""One way in, or one kind of program, that the filter does not reach.

Attack A205. For every way in: tests/test_ways_in.py compares filter, no_new_privs and capabilities. Here: what they
have is what the recipe's program says, it holds for what a session starts, also for a 32-bit program and for a further
filter of the tenant's own, and it is on the keeper.
"""

from __future__ import annotations

import base64
import struct

import pytest

from ..ways.ways import WAYS
from .cells import FIRST, PLAIN, Cells
from .numbers import MACHINE, numbers

pytestmark = pytest.mark.host
SOME = [way for way in WAYS if way.name in ("ssh-tt-command", "sftp-external", "su-login-command")]


def test_a205_the_same_on_other_routes(cells: Cells) -> None:
    reference = next(p for p in cells.host.processes() if p.pid == cells.first.pid)
    assert (reference.seccomp, reference.seccomp_filters, reference.no_new_privs) == (2, 1, True)
    keeper = cells.keeper(FIRST)
    assert (keeper.seccomp, keeper.seccomp_filters, keeper.no_new_privs, keeper.caps) == (2, 1, True, reference.caps)
    for way in SOME:
        with way.open(cells.host, PLAIN) as process:
            assert (process.seccomp, process.no_new_privs) == (0, False)
        with way.open(cells.host, FIRST) as process:
            assert (process.seccomp, process.seccomp_filters, process.no_new_privs) == (2, 1, True), way.name
            assert process.caps == reference.caps


def test_a205_after_further_execs(cells: Cells) -> None:
    n = numbers()
    inner = cells.once("call", place=f"/home/{FIRST}/probe.py", steps=[[n["unshare"], 0x10000000]])
    for argv in (["/bin/sh", "-c", inner], ["/usr/bin/env", "-i", "/usr/bin/setsid", "-w", "/bin/sh", "-c", inner],
                 ["/usr/bin/nohup", "/bin/sh", "-c", f"({inner}) & wait"]):  # fmt: skip
        assert '"EPERM"' in cells.first.ask("run", argv=argv)[1], argv


def elf32() -> bytes:
    """A whole 32-bit program: exit(42) by int 0x80; then, if that did nothing, an undefined instruction."""
    code = b"\xb8\x01\x00\x00\x00\xbb\x2a\x00\x00\x00\xcd\x80\x0f\x0b"
    base, head = 0x08048000, 52 + 32
    size = head + len(code)
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + head, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    return header + struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 0x1000) + code


def test_a205_a_32_bit_program(cells: Cells) -> None:
    """It has system calls by the other table only, and each is refused: it cannot even end by itself."""
    if MACHINE != "x86_64":
        return  # 32-bit ARM programs need a kernel and a processor for them; the filter refuses their table as well
    text = base64.b64encode(elf32()).decode()
    script = "f=$1/p32; echo $2 | base64 -d >$f && chmod 755 $f && $f; echo status $?; rm $f"
    outside = cells.plain.ask("run", argv=["/bin/sh", "-c", script, "sh", f"/home/{PLAIN}", text])
    assert outside[1].endswith("status 42\n"), outside
    inside = cells.first.ask("run", argv=["/bin/sh", "-c", script, "sh", f"/home/{FIRST}", text])
    assert inside[1].endswith("status 132\n"), inside  # 128 + SIGILL


def test_a205_a_filter_of_her_own_takes_nothing_away(cells: Cells) -> None:
    """One that allows everything, on top: the strictest answer counts."""
    n = numbers()
    allow = struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000).hex()
    # struct sock_fprog with a pointer into memory that only the process knows: so in one step with its program
    code = (
        "import ctypes, errno, struct\n"
        f"program = ctypes.create_string_buffer(bytes.fromhex({allow!r}), 8)\n"
        "fprog = (ctypes.c_uint64 * 2)(1, ctypes.addressof(program))\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"print(libc.syscall({n['seccomp']}, 1, 0, ctypes.byref(fprog)), libc.syscall({n['unshare']}, 0x10000000),\n"
        "      errno.errorcode[ctypes.get_errno()])\n"
    )
    said = cells.first.ask("run", argv=["/usr/bin/python3", "-I", "-S", "-c", code])
    assert said[1] == "0 -1 EPERM\n", said
