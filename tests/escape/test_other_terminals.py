"""Terminals of others: to write to, to read from, to hang up, to use up.

Attack A055. Each jail has an instance of devpts. How many terminals there may be is one number for the whole machine
(kernel.pty.max), so each instance has a share of it only.
"""

from __future__ import annotations

import os
import secrets

import pytest

from ..host import Terminal
from .cells import FIRST, PLAIN, Cells

pytestmark = pytest.mark.host


def named(terminal: Terminal) -> str:
    """The next name of a terminal that it shows."""
    terminal.expect(r"/dev/pts/\d+")
    return str(terminal.after)


def test_a055_a_terminal_of_the_host(cells: Cells) -> None:
    """One that everybody may write to (mesg y, and more)."""
    with cells.host.terminal(["/bin/sh", "-c", "tty; exec sleep 60"], user=PLAIN) as terminal:
        name = named(terminal)
        (cells.host.root / name[1:]).chmod(0o666)
        word = secrets.token_hex(6)
        assert cells.plain.says("write", path=name, data=f"control-{word}\n") == ""
        terminal.expect(f"control-{word}")
        assert cells.first.says("write", path=name, data=f"jailed-{word}\n") == "ENOENT"
        for argv in (["/usr/bin/wall", f"jailed-{word}"], ["/usr/bin/write", PLAIN]):
            if cells.first.says("stats", path=argv[0]) == "":
                cells.first.ask("run", argv=argv, input=f"jailed-{word}\n")
        cells.plain.ask("write", path=name, data="last\n")
        terminal.expect("last")
        assert "jailed" not in str(terminal.before)


def test_a055_a_terminal_of_another_jail(cells: Cells) -> None:
    with cells.host.ssh_terminal(FIRST) as terminal:
        terminal.expect(r"\$ ")
        terminal.sendline("tty")
        name = named(terminal)
        assert cells.second.says("write", path=name, data="hers\n") == "ENOENT"
        assert cells.second.ask("names", path="/dev/pts") == ["ptmx"]
        assert cells.first.says("write", path=name, data="own\n") == ""
        terminal.expect("own")
    devices = {os.stat(f"/proc/{cells.keeper(user).pid}/root/dev/pts").st_dev for user in (FIRST, "esc2")}
    assert len(devices) == 2


def test_a055_taking_all_there_are(cells: Cells) -> None:
    """With the machine's last one gone, nobody else's login gets a terminal."""
    most = int(cells.root.ask("read", path="/proc/sys/kernel/pty/max"))
    assert cells.plain.ask("terminals", most=400) == [400, ""]
    number, said = cells.first.ask("terminals", most=most)
    assert said == "ENOSPC" and 64 <= number <= most // 8
    with cells.first.held("terminals", most=most):
        assert cells.second.ask("terminals", most=100) == [100, ""]
        with cells.host.ssh_terminal("esc2", "tty") as terminal:
            terminal.expect("/dev/pts/0")
