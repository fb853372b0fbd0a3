"""Control groups by what they do to processes, on the machine as it is: groups of the test's own, below ``jailctl``."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator

import pytest

from jailkit.kernel import blockdev, cgroup
from jailkit.kernel.cgroup import Amounts

NAME = f"test-{os.getpid()}"
needs_groups = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access(os.path.dirname(cgroup.base() or "/nowhere/x"), os.W_OK), reason="no groups"
)


@pytest.fixture
def group() -> Iterator[Callable[[Amounts], list[str]]]:
    """Makes the groups that hold some amounts."""

    def make(amounts: Amounts) -> list[str]:
        made = cgroup.make(NAME, amounts)
        assert cgroup.limit(NAME, amounts) == []
        return made

    yield make
    places = cgroup.directories(NAME)
    for place in places:
        assert cgroup.kill(place)
        cgroup.remove(place)
    assert cgroup.directories(NAME) == []


def run(groups: list[str], body: Callable[[], object]) -> int:
    """Wait status of a child in ``groups``."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for place in groups:
                cgroup.add(place, os.getpid())
            body()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def writes(path: str, flags: int) -> float:
    """Seconds that three MiB take."""
    page = mmap.mmap(-1, 1 << 20)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    begin = time.monotonic()
    for _ in range(3):
        os.write(fd, page)
    os.fsync(fd)
    os.close(fd)
    return time.monotonic() - begin


@needs_groups
def test_only_what_is_asked_for_is_made(group: Callable[[Amounts], list[str]]) -> None:
    first = group(Amounts())
    assert group(Amounts(processes=5)) == first
    more = group(Amounts(cpu=900_000))
    assert len(more) == len(first) + (1 if cgroup.version() == 1 else 0)
    assert sorted(group(Amounts())) == sorted(more), "what is there stays, lifted"


@needs_groups
@pytest.mark.skipif("write" not in cgroup.held() or not blockdev.disks("/var/tmp"), reason="no disk that can be slowed")
def test_writes_are_slowed(group: Callable[[Amounts], list[str]]) -> None:
    """Those that go to the disk at once: on v1 no others are."""
    path = f"/var/tmp/jailkit-{NAME}"
    try:
        free = writes(path, os.O_DIRECT)
        groups = group(Amounts(write=2 << 20, devices=blockdev.disks("/var/tmp")))
        found: list[float] = []
        os.pipe()
        begin = time.monotonic()
        assert run(groups, lambda: writes(path, os.O_DIRECT)) == 0
        found.append(time.monotonic() - begin)
        assert found[0] > 1.2 > free or found[0] > 3 * free
    finally:
        os.unlink(path)


@needs_groups
def test_what_is_in_use_is_a_limit_at_least(group: Callable[[Amounts], list[str]]) -> None:
    """A limit below what processes have: v1 cannot take it back, v2 ends them; none has more than before."""
    groups = group(Amounts(memory=160 << 20))
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        for place in groups:
            cgroup.add(place, os.getpid())
        kept = mmap.mmap(-1, 40 << 20)
        kept.write(b"x" * (40 << 20))
        os.write(tell, b"r")
        time.sleep(60)
        os._exit(0)
    try:
        assert os.read(ready, 1) == b"r"
        problems = cgroup.limit(NAME, Amounts(memory=8 << 20))
        assert bool(problems) == (cgroup.version() == 1)
        assert not problems or "in use" in problems[0]
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)


@needs_groups
def test_all_are_gathered(group: Callable[[Amounts], list[str]]) -> None:
    """A limit that comes later is for those that run already, and what they start."""
    first = group(Amounts(processes=50))
    children = []
    for _ in range(5):
        child = os.fork()
        if child == 0:
            cgroup.add(first[0], os.getpid())
            os.fork()
            time.sleep(60)
            os._exit(0)
        children.append(child)
    while len(cgroup.members(first[0])) < 10:
        time.sleep(0.01)
    places = group(Amounts(memory=1 << 28, cpu=900_000))
    cgroup.gather(places)
    for place in places:
        assert sorted(cgroup.members(place)) == sorted(cgroup.members(first[0])), place
    assert cgroup.kill(first[0])
    for child in children:
        os.waitpid(child, 0)


def test_disks_of_paths() -> None:
    assert blockdev.disks("/dev/shm") == [], "memory is no disk"
    for path in ("/", "/var/tmp"):
        for disk in blockdev.disks(path):
            assert not os.path.exists(f"/sys/dev/block/{disk}/partition"), "the whole of it"
    assert blockdev.disks("/no/such/path") == blockdev.disks("/")
