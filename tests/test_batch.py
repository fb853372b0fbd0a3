"""Many jails in one call: as good as one at a time, whoever fails, is killed or comes in between.

What has to happen inside the library's own process is in batch_inside.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.host import Host
from tests.inside import call

pytestmark = pytest.mark.host


def inside(host: Host, command: str, timeout: float = 110, **options: Any) -> Any:
    return call(host, ["provision_inside", "batch_inside"], command, timeout, **options)


@pytest.fixture(scope="module")
def batch() -> Iterator[Host]:
    with Host() as made:
        made.jailctl("setup")
        yield made


def wrong(results: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    return [(result["at"], result["wrong"]) for result in results if result["wrong"]]


def test_three_hundred_with_one_that_cannot_be(batch: Host) -> None:
    """Its home is there already. A range of somebody's in /etc/subuid lies where theirs would be."""
    subordinate = batch.root / "etc/subuid"
    before = subordinate.read_text()
    subordinate.write_text(before + "somebody:700020480:65536\n")
    found = inside(batch, "many", count=300, bad=150, key=batch.public_key("many"))
    subordinate.write_text(before)
    failed = {"many150": "conflict.home-exists"}
    assert found["first"] == {"outcomes": {"added": 299, "failed": 1}, "errors": failed}
    assert found["again"] == {"outcomes": {"same": 299, "failed": 1}, "errors": failed}
    assert found["checks"] == [0, 0]
    assert found["wrong"] == [] and found["left"] == []
    bases = found["bases"]
    assert found["uids"] == len(set(bases)) == 299
    assert all(low + 1024 <= high for low, high in zip(bases, bases[1:], strict=False))
    assert not any(700020480 - 1024 < base < 700020480 + 65536 for base in bases)
    assert any(base < 700020480 for base in bases) and any(base > 700020480 for base in bases)
    gone = {"many150": "missing.jail", "nobody-here": "missing.jail"}
    assert found["gone"] == {"outcomes": {"removed": 299, "failed": 2}, "errors": gone}


def test_what_a_batch_leaves_is_what_a_single_addition_leaves(batch: Host) -> None:
    found = inside(batch, "alike", key=batch.public_key("alike"))
    assert found["aaa"] == found["bbb"]


@pytest.mark.parametrize("removal", [False, True], ids=["adding", "removing"])
def test_a095_killed_at_every_boundary_of_a_chunk(batch: Host, removal: bool) -> None:
    results = inside(batch, "killed", count=3, key=batch.public_key("kill"), removal=removal)
    assert wrong(results) == []
    assert len(results) >= 20


@pytest.mark.parametrize("place", ["/var/lib/jailctl/jails", "/etc/jailctl/jails.d", "/home"])
def test_a094_a_full_disk_fails_those_that_it_has_no_room_for(batch: Host, place: str) -> None:
    results = inside(batch, "full", count=12, place=place, sizes=[4, 32, 64], key=batch.public_key("full"))
    assert [(result["size"], result["wrong"]) for result in results if result["wrong"]] == []
    assert {code for result in results for code in result["codes"]} <= {"io.full", "io.state"}
    assert results[0]["errors"]


def test_a098_twenty_processes_add_and_remove_the_same_and_others(batch: Host) -> None:
    found = inside(batch, "parallel", processes=20, each=3, rounds=2)
    assert found["statuses"] == [0] * 20
    assert found["errors"] == {} and found["open"] == [] and found["wrong"] == []
    assert found["names"] and found["checks"] == [0, 0]
    assert found["uids"] == found["bases"] == found["count"] == 63


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_batch_that_is_stopped_ends_what_it_has_in_hand(batch: Host, jobs: int) -> None:
    """With two jobs the chunks go to processes."""
    found = inside(batch, "stopped", count=1100, jobs=jobs)
    assert found["open"] == [] and found["said"]["errors"] == {}
    assert found["there"] == found["said"]["outcomes"]["added"] <= 256 * (jobs + 1)
    assert found["read"] == (256 if jobs == 1 else 1100 - 76)
    assert found["gone"]["outcomes"] == {"removed": found["there"]}
