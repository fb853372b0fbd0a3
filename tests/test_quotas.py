"""Limits of disk and inodes, by effect, on btrfs in a loop device (the kernels of test machines have no project
quotas; tests/lab/quotas proves those). Home and writable layer are on one file system, which fills up."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from . import loops, writable
from .host import Host

pytestmark = pytest.mark.host
MIB = 1 << 20
SIZE, LIMIT = 400 * MIB, 24 * MIB


@pytest.fixture(scope="module")
def quoted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    image = tmp_path_factory.mktemp("quotas") / "btrfs.img"
    with Host() as host, loops.device(image, SIZE, "mkfs.btrfs", "-q") as device:
        loops.mount(host, device, "/home", "btrfs")
        host.run(["/usr/bin/btrfs", "quota", "enable", "/home"], check=True)
        loops.bind(host, [("/home/.jails", "/var/lib/jailctl/jails")])
        host.jailctl("setup")
        writable.template(host, "tight", "overlay", f'\n[limits]\ndisk = "{LIMIT // MIB}M"\n')
        host.jailctl("add-user", "full", "--template", "tight", "--key", host.key("full") + ".pub")
        host.jailctl("add-user", "free", "--key", host.key("free") + ".pub")
        yield host


def fill(host: Host, user: str, path: str, size: int) -> tuple[int, str]:
    """Bytes that the user could write to ``path``, and what the last dd(1) said."""
    done = host.ssh(user, f"dd if=/dev/urandom of={path} bs=64k count={size >> 16} conv=fsync 2>&1")
    return int(host.ssh(user, f"stat -c %s {path}").stdout), done.stdout


def free(host: Host) -> int:
    found = os.statvfs(host.root / "home")
    return found.f_bavail * found.f_frsize


def show(host: Host, name: str) -> dict[str, object]:
    done = host.run(["/usr/bin/btrfs", "qgroup", "show", "--raw", "-re", "/home"], check=True)
    base = json.loads(host.jailctl("show", name, "--json").stdout)["base"]
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(f"1/{base} ")]
    return {"used": int(rows[0][1]), "limit": rows[0][3]} if rows else {}


def test_a180_a_full_disk_is_hers_alone(quoted: Host) -> None:
    before = free(quoted)
    done, said = fill(quoted, "full", "hog", 2 * LIMIT)
    assert LIMIT // 2 < done <= LIMIT and "Disk quota exceeded" in said
    assert before - free(quoted) < LIMIT + 32 * MIB, "metadata beside it, and no more"
    layer = quoted.ssh("full", f"dd if=/dev/zero of={writable.HERS}/x bs=1M count=2 2>&1").stdout
    assert "Disk quota exceeded" in layer, "her layer has the same limit"
    done, said = fill(quoted, "free", "much", 2 * LIMIT)
    assert (done, "exceeded" in said) == (2 * LIMIT, False), "who has no limit writes on"
    assert quoted.ssh("full", "echo in").stdout == "in\n", "and she still gets in"
    assert quoted.ssh("full", "rm hog more; echo gone").stdout == "gone\n"
