"""Families of sockets that nobody needs, each with its own code in the kernel, loaded on demand for anybody.

Attack A204. A jail has unix, IPv4 and IPv6; one with the host's network has rtnetlink as well.
"""

from __future__ import annotations

import pytest

from .cells import Cells
from .numbers import numbers

pytestmark = pytest.mark.host
UNIX, INET, NETLINK, INET6, PACKET, VSOCK, XDP = 1, 2, 16, 10, 17, 40, 44
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5


def test_a204_every_family(cells: Cells) -> None:
    families, kinds = list(range(48)), [STREAM, DGRAM, RAW, SEQPACKET]
    unjailed = cells.root.ask("sockets", families=families, kinds=kinds)
    can = {family for family in families if "" in unjailed[str(family)]}
    assert can >= {UNIX, INET, INET6, NETLINK, PACKET} and len(can) >= 6
    assert "" in cells.plain.ask("sockets", families=[NETLINK], kinds=[RAW])[str(NETLINK)]
    said = cells.first.ask("sockets", families=families, kinds=kinds)
    for family in families:
        if family not in (UNIX, INET, INET6):
            assert said[str(family)] == ["EAFNOSUPPORT"] * 4, family
    for family in (UNIX, INET, INET6):
        assert said[str(family)][:2] == ["", ""], family
    for family in (INET, INET6):
        assert said[str(family)][2] in ("EPERM", "EPROTONOSUPPORT"), "no raw sockets"
    assert cells.root.ask("sockets", families=[INET], kinds=[RAW], protocol=1)[str(INET)] == [""]
    assert cells.first.ask("sockets", families=[INET, INET6], kinds=[RAW], protocol=1) == {
        "2": ["EPERM"],
        "10": ["EPERM"],
    }


def test_a204_the_upper_half_of_the_family(cells: Cells) -> None:
    """The kernel takes 32 bits of it, so must the filter."""
    n = numbers()
    for family in (PACKET, NETLINK, VSOCK):
        assert cells.first.calls([n["socket"], family | 1 << 32, RAW, 0]) == ["EAFNOSUPPORT"]
    assert cells.first.calls([n["socket"], UNIX | 1 << 32, STREAM, 0]) == [""]
    assert cells.root.calls([n["socket"], NETLINK | 1 << 32, RAW, 0]) == [""]


def test_a204_with_the_hosts_network(cells: Cells) -> None:
    """Routes may be read (NETLINK_ROUTE); nothing else of netlink, and nothing of the host's network may be changed."""
    user, route = "escnet", 0
    cells.make(user, "--set=network=host")
    kinds = {"audit": 9, "xfrm": 6, "netfilter": 12, "connector": 11, "uevent": 15, "generic": 16}
    with cells.enter(user) as cell:
        for protocol in kinds.values():
            unjailed = cells.root.ask("sockets", families=[NETLINK], kinds=[RAW], protocol=protocol)
            assert unjailed == {"16": [""]} or protocol == kinds["xfrm"]  # where it is built in
            assert cell.ask("sockets", families=[NETLINK], kinds=[RAW], protocol=protocol) == {"16": ["EAFNOSUPPORT"]}
        assert cell.ask("sockets", families=[NETLINK], kinds=[RAW], protocol=route) == {"16": [""]}
        assert cell.ask("sockets", families=[PACKET, VSOCK], kinds=[RAW, DGRAM])["17"] == ["EAFNOSUPPORT"] * 2
        change = ["/bin/ip", "link", "set", "lo", "mtu", "9000"]
        before = cells.root.ask("run", argv=["/bin/ip", "link", "show", "lo"])
        assert cell.ask("run", argv=["/bin/ip", "link", "show", "lo"])[1] == before[1]
        assert cell.ask("run", argv=change)[0] != 0
        assert cells.root.ask("run", argv=["/bin/ip", "link", "show", "lo"]) == before
        assert cell.ask("openable", tops=["/proc/sys/net"], skip=[]) == []
        assert len(cells.root.ask("openable", tops=["/proc/sys/net"], skip=[])) > 20
    cells.host.jailctl("stop", user)
