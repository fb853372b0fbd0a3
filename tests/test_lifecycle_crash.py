"""Changes of jails that are there (set, suspend, rename, move-home), killed at every boundary, failing at every
boundary, or made by many at once. What happens inside the library's own process is in life_inside.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.host import Host

from .inside import call

pytestmark = pytest.mark.host


def inside(host: Host, command: str, **options: Any) -> Any:
    return call(host, ["provision_inside", "life_inside"], command, 110, **options)


@pytest.fixture(scope="module")
def own() -> Iterator[Host]:
    with Host() as made:
        made.jailctl("setup")
        made.run(["/usr/sbin/groupadd", "others"], check=True)
        made.run(["/bin/mkdir", "/home/disk"], check=True)
        made.run(["/bin/mount", "-t", "tmpfs", "none", "/home/disk", "-o", "mode=755"], check=True)
        yield made


STEPS = {"set": 3, "suspend": 3, "move": 8, "copy": 8, "rename": 9}


@pytest.mark.parametrize("what", STEPS)
def test_a095_killed_and_failing_at_every_boundary_of(own: Host, what: str) -> None:
    """A095, A003: and nobody gets in where the home or the name is under way, however it was left. A copy differs from
    a move in two steps."""
    only = [2, 7] if what == "copy" else []
    found = inside(own, "crash", what=what, name=f"cr-{what}", logins=what in ("suspend", "rename"), only=only)
    assert found["wrong"] == []
    assert found["changed"]
    assert len(found["targets"]) >= 3 * STEPS[what]
    outside = f"in:{own.run(['/usr/bin/readlink', '/proc/self/ns/mnt'], check=True).stdout.strip()}"
    last = found["targets"][-1][0]
    for (number, label), reached in found["logins"]:
        assert outside not in reached
        if what == "suspend":
            shut = (number, label) != (0, "doing")
        else:
            shut = number > 1 and (number, label) not in ((last, "applied"), (last, "done"))
        if shut:
            assert reached == "refused refused", (number, label, reached)
    assert own.run(["/usr/sbin/pwck", "-q", "-r"]).returncode == 0
    assert own.run(["/usr/sbin/grpck", "-q", "-r"]).returncode == 0


def test_a098_renamed_and_changed_by_many_at_once(own: Host) -> None:
    names = [f"par{number}" for number in range(3)]
    for name in names:
        own.jailctl("add-user", name)
    found = inside(own, "renamed_by_many", names=names)
    assert found["statuses"] == [0] * 6, found
    mine = [name for name in found["names"] if name.startswith("par")]
    assert sorted(name.removesuffix("-new") for name in mine) == names
    assert found["uids"] == len(found["names"])
    assert found["left"] == [] and found["open"] == []
    assert own.run(["/usr/sbin/pwck", "-q", "-r"]).returncode == 0
    assert own.run(["/usr/sbin/grpck", "-q", "-r"]).returncode == 0
