"""Typing into the terminal of who called: TIOCSTI puts characters into its input, and they stay when the jail has
gone.

bubblewrap CVE-2017-5226, #142, #555; coreutils CVE-2016-2781; su and sudo. Attack A053. The session has a terminal of
the jail's own, and the filter refuses TIOCSTI, TIOCLINUX and, as it loads kernel modules, TIOCSETD. Without the
caller's terminal there is no descriptor to type into.
"""

from __future__ import annotations

import secrets
import shlex

import pytest

from ..host import Terminal, wait_for
from .cells import FIRST, Cells, no_such

pytestmark = pytest.mark.host


def as_plain(cells: Cells) -> str:
    return f"setpriv --reuid={cells.plain.uid} --regid={cells.plain.uid} --clear-groups"


def administrator(cells: Cells) -> Terminal:
    terminal = cells.host.terminal(["/bin/bash", "--norc", "--noprofile"])
    terminal.expect(r"# ")
    return terminal


@pytest.mark.parametrize("way", ["su", "su -", "jailctl exec", "jailctl enter"])
def test_a053_into_the_administrators_shell(cells: Cells, way: str) -> None:
    """A shell of root's that runs a command as the user. What is typed would be run when it has ended."""
    flag = f"/var/tmp/typed-{secrets.token_hex(4)}"
    there = cells.host.root / flag[1:]
    for request in (0x5412, 0x100005412):
        typed = cells.once("push", text=f"touch {flag}\n", request=request)
        probe = typed.replace("/var/tmp/probe.py", f"/home/{FIRST}/probe.py")
        if request == 0x5412:
            with administrator(cells) as terminal:
                terminal.sendline(f"{as_plain(cells)} {typed}")  # su -c would start a session of its own
                wait_for(there.exists, 5, "TIOCSTI has no effect: is dev.tty.legacy_tiocsti off?")
                there.unlink()
        with administrator(cells) as terminal:
            if way == "jailctl enter":
                terminal.sendline(f"jailctl enter {FIRST}")
                terminal.expect(r"\$ ")
                terminal.sendline(f"{probe}; exit")
            elif way == "jailctl exec":
                terminal.sendline(f"jailctl exec {FIRST} -- /bin/sh -c {shlex.quote(probe)}")
            else:
                terminal.sendline(f"{way} {FIRST} -c {shlex.quote(probe)}")
            terminal.expect('"errno": "EPERM"')
            terminal.expect("# ")
            terminal.sendline("echo end'ed'")
            terminal.expect("ended")
            no_such(there.exists, 0.2)


def test_a053_no_controlling_terminal_without_a_terminal(cells: Cells) -> None:
    """Standard streams are pipes, but the caller has a terminal: it must not come along behind their back."""
    with administrator(cells) as terminal:
        terminal.sendline(f"{as_plain(cells)} sh -c \"echo g'o't >/dev/tty\" </dev/null 2>&1 | cat")
        terminal.expect("got")
        terminal.sendline(f"jailctl exec {FIRST} -- sh -c \"echo g'o't >/dev/tty\" </dev/null 2>&1 | cat")
        assert terminal.expect(["No such device or address", "got"]) == 0


def test_a053_requests_that_are_refused(cells: Cells) -> None:
    assert cells.plain.ask("discipline", number=0) == 0
    assert cells.first.says("discipline", number=0) == "EPERM"
    assert cells.first.says("discipline", number=13) == "EPERM"
    with cells.host.ssh_terminal(FIRST, cells.once("push", place=f"/home/{FIRST}/probe.py", text="x")) as terminal:
        terminal.expect('"errno": "EPERM"')
