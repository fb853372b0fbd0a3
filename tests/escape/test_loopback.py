"""Services that trust who comes over the loopback device.

Attack A052. A jail without a network has a loopback of its own. (One with ``network = "host"`` has the host's, with all
who listen there: that is what is asked for.)
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .cells import FIRST, Cells

pytestmark = pytest.mark.host
INET, INET6, STREAM, DGRAM = 2, 10, 1, 2


@pytest.mark.parametrize(("family", "address"), [(INET, "127.0.0.1"), (INET6, "::1")])
@pytest.mark.parametrize("kind", [STREAM, DGRAM])
def test_a052_a_service_of_the_host(cells: Cells, family: int, address: str, kind: int) -> None:
    secret = cells.canary.secret
    with cells.plain.held("listen", family=family, address=[address, 0], kind=kind, greeting=secret) as (name, _):
        where = [address, name[1]]
        assert cells.plain.ask("connect", family=family, address=where, kind=kind) == secret
        said = cells.first.says("connect", family=family, address=where, kind=kind)
        assert said in ("ECONNREFUSED", "ENETUNREACH", "EADDRNOTAVAIL"), said
        with cells.first.held("listen", family=family, address=where, kind=kind, greeting="hers"):
            assert cells.first.ask("connect", family=family, address=where, kind=kind) == "hers"
            assert cells.plain.ask("connect", family=family, address=where, kind=kind) == secret


def test_a052_other_addresses_and_sshd_itself(cells: Cells) -> None:
    assert cells.plain.ask("connect", family=INET, address=["127.0.0.1", 22]).startswith("SSH-2.0")
    for address in ("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "169.254.169.254", "8.8.8.8"):
        said = cells.first.says("connect", family=INET, address=[address, 22])
        assert said in ("ECONNREFUSED", "ENETUNREACH"), (address, said)
    devices = Path(f"/proc/{cells.keeper(FIRST).pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]
    assert cells.keeper(FIRST).namespaces["net"] != cells.host.processes()[0].namespaces["net"]
