"""Limits of disk and inodes, by effect: on btrfs in a loop device, as the kernels of test machines have no project
quotas (tests/lab/quotas proves those). One jail's home and layer are there, and fill up; another's beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from . import loops, writable
from .host import Host, wait_for

pytestmark = pytest.mark.host
MIB = 1 << 20
LIMIT = 24 * MIB
TOP = "/home/quoted"

SUBVOLUME = """
import fcntl, os, struct, sys
fd = os.open(".", os.O_RDONLY)
try:
    # BTRFS_IOC_SUBVOL_CREATE, struct btrfs_ioctl_vol_args
    fcntl.ioctl(fd, 0x5000940E, bytearray(struct.pack("=q4088s", 0, sys.argv[1].encode())))
    print("made")
except OSError as error:
    print(error.strerror)
"""


@pytest.fixture(scope="module")
def quoted(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """``qfull`` has a limit, and her layer on the same file system; ``qfree`` has none."""
    image = tmp_path_factory.mktemp("quotas") / "btrfs.img"
    with loops.device(image, 400 * MIB, "mkfs.btrfs", "-q") as device:
        loops.mount(host, device, TOP, "btrfs")
        refused = add(host, "qfull", "shell", disk="24M", check=False)
        assert "no quotas enabled" in refused["error"]["message"] and "btrfs quota enable" in refused["error"]["hint"]
        host.run(["/usr/bin/btrfs", "quota", "enable", TOP], check=True)
        writable.template(host, "tight", "overlay")
        # her jail's own directory as well, though those of the others are in memory
        own = "/var/lib/jailctl/jails/qfull"
        refused = add(host, "qfull", "tight", disk="24M", check=False)
        assert "(tmpfs) has no quotas" in refused["error"]["message"]
        loops.bind(host, [(f"{TOP}/.own", own)])
        add(host, "qfull", "tight", disk="24M")
        add(host, "qfree", "shell")
        yield host
        host.jailctl("stop", "qfull", "qfree")
        host.run(["/bin/umount", own], check=True)
        for name in ("qfull", "qfree"):
            host.jailctl("remove-user", name)
        host.run(["/bin/umount", TOP], check=True)


def add(host: Host, name: str, template: str, check: bool = True, **limits: str) -> Any:
    words = [word for key, value in limits.items() for word in ("--set", f"limits.{key}={value}")]
    key = host.key(name) + ".pub"
    done = host.jailctl(
        "--json", "add-user", name, "--template", template, "--key", key, "--set", f"home={TOP}/{name}", *words,
        check=check,
    )  # fmt: skip
    return json.loads(done.stdout or done.stderr.splitlines()[-1])


def fill(host: Host, user: str, path: str, size: int) -> tuple[int, str]:
    """Bytes that the user could write to ``path``, and what dd(1) said."""
    done = host.ssh(user, f"dd if=/dev/urandom of={path} bs=64k count={size >> 16} conv=fsync 2>&1")
    return int(host.ssh(user, f"stat -c %s {path}").stdout), done.stdout


def free(host: Host) -> int:
    found = os.statvfs(host.root / TOP[1:])
    return found.f_bavail * found.f_frsize


def used(host: Host, name: str) -> dict[str, int | None]:
    host.run(["/bin/sync", "-f", TOP], check=True)
    disk = json.loads(host.jailctl("--json", "usage", name).stdout)["jails"][0]["disk"]
    assert isinstance(disk, dict)
    return disk


def change(host: Host, name: str, **limits: str) -> Any:
    words = [f"limits.{key}={value}" for key, value in limits.items()]
    done = host.jailctl("--json", "set", name, *words, check=False)
    return json.loads(done.stdout or done.stderr.splitlines()[-1])


def test_a180_a_full_disk_is_hers_alone(quoted: Host) -> None:
    before = free(quoted)
    done, said = fill(quoted, "qfull", "hog", 2 * LIMIT)
    assert LIMIT // 2 < done <= LIMIT and "Disk quota exceeded" in said
    assert before - free(quoted) < LIMIT + 32 * MIB, "metadata beside it, and no more"
    layer = quoted.ssh("qfull", f"dd if=/dev/zero of={writable.HERS}/x bs=1M count=2 2>&1").stdout
    assert "Disk quota exceeded" in layer, "her layer has the same limit"
    done, said = fill(quoted, "qfree", "much", 2 * LIMIT)
    assert (done, "exceeded" in said) == (2 * LIMIT, False), "who has no limit writes on"
    assert quoted.ssh("qfull", "echo in").stdout == "in\n", "and she still gets in"
    now = used(quoted, "qfull")
    assert now["bytes_limit"] == LIMIT and LIMIT // 2 < (now["bytes"] or 0) <= LIMIT

    with quoted.ssh_spawn("qfull", "while ! dd if=/dev/urandom of=hog2 bs=1M count=8 conv=fsync; do sleep .1; done"):
        operations = change(quoted, "qfull", disk="48M")["jails"][0]["operations"]
        assert "set-quota" in [operation["op"] for operation in operations]
        wait_for(lambda: quoted.ssh("qfull", "stat -c %s hog2").stdout == f"{8 * MIB}\n", 10)
    assert change(quoted, "qfull", disk="48M")["jails"][0]["operations"] == []
    assert quoted.ssh("qfull", f"rm hog hog2 {writable.HERS}/x; echo gone").stdout == "gone\n"


def test_a180_a_subvolume_would_be_outside(quoted: Host) -> None:
    """Whoever owns a directory on btrfs may make one, and what is in it counts for nobody."""
    (quoted.root / "tmp/subvolume.py").write_text(SUBVOLUME)
    outside = quoted.run(["/usr/bin/python3", "/tmp/subvolume.py", "sub"], user="qfree", cwd=f"{TOP}/qfree")
    assert outside.stdout == "made\n", outside.stderr
    (quoted.root / TOP[1:] / "qfree/subvolume.py").write_text(SUBVOLUME)
    assert quoted.ssh("qfree", "python3 subvolume.py inside").stdout == "Operation not permitted\n"
    assert quoted.ssh("qfree", "touch sub/file; ls sub").stdout == "file\n"


def test_what_cannot_be_held_is_refused(quoted: Host) -> None:
    error = change(quoted, "qfree", inodes="1000")["error"]
    assert error["code"] == "host.quota" and "btrfs cannot limit the number of files" in error["message"]
    done = quoted.jailctl("--json", "doctor", "quota", check=False)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    states = {check["id"]: check["state"] for check in found["checks"]}
    assert states == {"quota.file-systems": "ok", "quota.held": "ok", "quota.counted": "ok"}


def test_an_account_that_is_there(quoted: Host) -> None:
    """Its home is a plain directory, which btrfs cannot limit; then a subvolume, with one in it that she made."""
    home = f"{TOP}/qold"
    quoted.run(["/usr/sbin/useradd", "-M", "-d", home, "-s", "/bin/bash", "qold"], check=True)
    quoted.run(["/usr/bin/install", "-d", "-o", "qold", "-g", "qold", "-m", "700", home], check=True)
    words = ["add-user", "qold", "--existing", "--key", quoted.key("qold") + ".pub", "--set", "limits.disk=16M"]
    done = quoted.jailctl("--json", *words, check=False)
    assert "is a plain directory" in json.loads(done.stderr)["error"]["message"]
    quoted.run(["/bin/rmdir", home], check=True)
    quoted.run(["/usr/bin/btrfs", "subvolume", "create", home], check=True)
    quoted.run(["/bin/chown", "qold:", home], check=True)
    quoted.run(["/usr/bin/python3", "/tmp/subvolume.py", "sub"], user="qold", cwd=home, check=True)
    for place in (home, f"{home}/sub"):
        quoted.run(["/bin/sh", "-c", f"head -c 5M /dev/urandom >{place}/data"], user="qold", check=True)
    quoted.jailctl(*words)
    assert 10 * MIB <= (used(quoted, "qold")["bytes"] or 0) < 11 * MIB
    size, said = fill(quoted, "qold", "sub/more", 10 * MIB)
    assert size < 7 * MIB and "exceeded" in said
    quoted.jailctl("remove-user", "qold")
    quoted.run(["/usr/sbin/userdel", "qold"], check=True)


def test_removal_clears(quoted: Host) -> None:
    add(quoted, "qgone", "shell", disk="16M")
    base = json.loads(quoted.jailctl("--json", "show", "qgone").stdout)["jail"]["base"]
    groups = ["/usr/bin/btrfs", "qgroup", "show", TOP]
    assert f"1/{base}" in quoted.run(groups, check=True).stdout
    quoted.jailctl("remove-user", "qgone")
    assert f"1/{base}" not in quoted.run(groups, check=True).stdout
    assert not (quoted.root / TOP[1:] / "qgone").exists()


def test_what_is_restored_or_moved_counts_in_its_new_place(quoted: Host) -> None:
    """Beside the home that it replaces it would not fit into the limit; in its place it has to."""
    add(quoted, "qback", "shell", disk="16M")
    assert quoted.ssh("qback", "head -c 10M /dev/urandom >data; mkdir -p a/b; echo x >a/b/c").returncode == 0
    quoted.jailctl("backup", "qback", "/root/qback.tar.zst")
    quoted.jailctl("restore", "qback", "/root/qback.tar.zst")
    back = used(quoted, "qback")
    assert back["bytes_limit"] == 16 * MIB and 10 * MIB <= (back["bytes"] or 0) < 12 * MIB
    size, said = fill(quoted, "qback", "more", 10 * MIB)
    assert size < 7 * MIB and "Disk quota exceeded" in said
    quoted.ssh("qback", "rm more")
    done = quoted.jailctl("--json", "move-home", "--stop", "qback", "/home/qback-elsewhere", check=False)
    assert json.loads(done.stderr.splitlines()[-1])["error"]["code"] == "host.quota", "in memory nothing limits it"
    quoted.jailctl("move-home", "--stop", "qback", f"{TOP}/qmoved")
    assert 10 * MIB <= (used(quoted, "qback")["bytes"] or 0) < 12 * MIB
    quoted.jailctl("remove-user", "qback")
