"""Sockets of the host's services: whoever reaches one of them asks a root process for what the kernel refuses.

containers/bubblewrap#560. Attack A051. /run of a jail is its own and empty. The test host has no services, so the test
listens where they would, for everybody.
"""

from __future__ import annotations

import contextlib
import os
import stat

import pytest

from ..host.host import PYTHON
from .cells import PLACE, SECOND, Cells

pytestmark = pytest.mark.host
SOCKETS = ("/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/journal/stdout", "/run/docker.sock",
           "/run/containerd/containerd.sock", "/run/snapd.socket", "/run/nscd/socket", "/run/systemd/notify",
           "/run/systemd/userdb/io.systemd.DynamicUser", "/run/user/{uid}/bus", "/run/user/{uid}/systemd/private",
           "/run/jailctl/api.sock", "/tmp/.X11-unix/X0", "/var/lib/libvirt/sock", "/dev/log")  # fmt: skip


def test_a051_sockets_of_services(cells: Cells) -> None:
    host = cells.host
    paths = [path.format(uid=cells.first.uid) for path in SOCKETS[:-1]]
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(cells.open([PYTHON, "-I", "-S", PLACE, "{}"]))  # in the host's own mounts
        made = []
        for path in paths:
            for directory in reversed([*(host.root / path[1:]).parents]):
                if not directory.exists():
                    directory.mkdir()
                    directory.chmod(0o755)
                    made.append(directory)
            stack.enter_context(root.held("listen", family=1, address=path, greeting=cells.canary.secret))
            stack.callback((host.root / path[1:]).unlink)
        for path in paths:
            assert cells.plain.ask("connect", family=1, address=path) == cells.canary.secret, path
            assert cells.first.says("connect", family=1, address=path) == "ENOENT", path
        assert cells.plain.says("connect", family=1, address="/dev/log", kind=2) in ("", "ETIMEDOUT")
        assert cells.first.says("connect", family=1, address="/dev/log", kind=2) == "ENOENT"
    for directory in reversed(made):
        directory.rmdir()


def test_a051_there_is_no_socket_at_all(cells: Cells) -> None:
    """In what a fresh jail shows, its own tmux or agent sockets aside."""
    assert sockets(cells) == []
    with cells.second.held("listen", family=1, address="/tmp/own.sock"):
        assert sockets(cells) == ["/tmp/own.sock"]
        cells.second.ask("make", kind="unlink", path="/tmp/own.sock")


def sockets(cells: Cells) -> list[str]:
    """Those of the second jail, seen from outside."""
    root, found = f"/proc/{cells.keeper(SECOND).pid}/root", []
    for here, directories, names in os.walk(root):
        if here == root:
            directories[:] = set(directories) - {"proc", "usr"}
        found += [
            f"{here}/{name}".removeprefix(root) for name in names if stat.S_ISSOCK(os.lstat(f"{here}/{name}").st_mode)
        ]
    return found


def test_a051_programs_that_ask_services(cells: Cells) -> None:
    """Whatever the user says, they find nobody to ask."""
    for argv in (["/usr/bin/loginctl"], ["/usr/bin/systemd-run", "--user", "true"], ["/usr/bin/busctl", "list"],
                 ["/usr/bin/systemctl", "status"], ["/usr/bin/at", "now"], ["/usr/bin/crontab", "-l"]):  # fmt: skip
        if (cells.host.root / argv[0][1:]).exists():
            assert cells.first.ask("run", argv=argv)[0] != 0, argv
