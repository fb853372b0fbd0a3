"""Names that are not in the file system: abstract sockets, System V memory, message queues.

containerd CVE-2020-15257 (its shim listened on one, for every container that shared the host's network). Attack A048. A
jail has network and ipc namespaces of its own. Not so with ``network = "host"``, which gives the host's abstract names
along with its network: that is what the option means, and said in the documentation.
"""

from __future__ import annotations

import os
import secrets

import pytest

from .cells import FIRST, Cells
from .numbers import numbers

pytestmark = pytest.mark.host
UNIX, STREAM, DGRAM = 1, 1, 2


def test_a048_an_abstract_socket_of_the_host(cells: Cells) -> None:
    name, secret = f"\0esc{secrets.token_hex(8)}", cells.canary.secret
    with cells.plain.held("listen", family=UNIX, address=name, greeting=secret):
        assert cells.plain.ask("connect", family=UNIX, address=name) == secret
        assert cells.first.says("connect", family=UNIX, address=name) == "ECONNREFUSED"
        assert name[1:] in cells.plain.ask("read", path="/proc/net/unix")
        assert name[1:] not in cells.first.ask("read", path="/proc/net/unix")
    with cells.second.held("listen", family=UNIX, address=name, greeting="hers"):
        assert cells.first.says("connect", family=UNIX, address=name) == "ECONNREFUSED"
        assert cells.second.ask("connect", family=UNIX, address=name) == "hers"


def test_a048_the_product_has_none(cells: Cells) -> None:
    """Nor any other socket that listens."""
    host = cells.host
    inodes = set()
    for process in host.processes():
        if process.name in ("keeper", "hook", "door"):
            inodes |= {name for name in process.fds.values() if name.startswith("socket:")}
    lines = cells.root.ask("read", path="/proc/net/unix").splitlines()[1:]
    own = [line for line in lines if f"socket:[{line.split()[6]}]" in inodes]
    assert [line for line in own if len(line.split()) > 7 or line.split()[3] == "00010000"] == []
    assert [line for line in lines if "jail" in line] == []


def test_a048_shared_memory_and_queues(cells: Cells) -> None:
    n = numbers()
    key = 0x65736300 + secrets.randbelow(200)
    shm = [[n["shmget"], key, 4096, 0o1666]]
    queue, mode = {"s": "escqueue"}, os.O_CREAT | os.O_RDWR
    try:
        assert cells.plain.calls(*shm) == [""] and cells.root.calls([n["shmget"], key, 0, 0]) == [""]
        assert cells.plain.calls([n["mq_open"], queue, mode, 0o666, 0]) == [""]
        assert cells.root.calls([n["mq_open"], queue, os.O_RDONLY, 0, 0]) == [""]
        assert (
            cells.first.calls([n["shmget"], key, 0, 0], [n["semget"], key, 0, 0], [n["msgget"], key, 0])
            == ["ENOENT"] * 3
        )
        assert cells.first.calls([n["mq_open"], queue, os.O_RDONLY, 0, 0]) == ["ENOENT"]
        assert cells.first.ask("read", path="/proc/sysvipc/shm").count("\n") == 1
        assert cells.first.calls(*shm) == [""], "her own she may have"
        assert cells.second.calls([n["shmget"], key, 0, 0]) == ["ENOENT"]
    finally:
        ids = cells.root.ask("call", steps=[[n["shmget"], key, 0, 0]])[0][0]
        cells.root.calls([n["shmctl"], ids, 0, 0], [n["mq_unlink"], queue])
    assert cells.keeper(FIRST).namespaces["ipc"] != cells.host.processes()[0].namespaces["ipc"]
