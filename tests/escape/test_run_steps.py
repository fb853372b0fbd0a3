"""What a template runs while its image is built, or tests it with: as root, but of a throw-away jail, not of the host.

Attack A129 (iocage#535: root runs the jail's programs), A026 and A017 for builds. Each probe first succeeds as the
host's root, or it would show nothing.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ..host import Host
from ..writable import template
from .cells import Cells

pytestmark = pytest.mark.host

PROBES = {
    "mounts": "mount -t tmpfs none /mnt && umount /mnt",
    "unshares users": "unshare -U true",
    "unshares mounts": "unshare -m true",
    "changes its root": "chroot / /bin/true",
    "makes a device": "mknod /srv/probe c 1 3 && rm /srv/probe",
    "makes a disk": "mknod /srv/probe b 8 0 && rm /srv/probe",
    "opens a sysctl": "true >> /proc/sys/kernel/panic",
    "reads the log of the kernel": "dmesg",
    "lists keys": "grep -q . /proc/keys",
    "opens a packet socket": "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
    "opens a raw socket": "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'",
    "reaches sshd": "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 22), 1)'",
    "enters namespaces of pid 1": "nsenter -t 1 -m true",
    "reads the memory of pid 1": "test -r /proc/1/environ && cat /proc/1/environ",
    "sees other processes": "ps ax | grep -v grep | grep -q sshd",
    "sees files of the host": "test -s /etc/shadow || test -d /opt/jailctl/lib || test -d /root/keys",
    "sees images": "test -d /var/lib/jailctl/images",
    "raises its priority": "nice -n -10 true 2>&1 | grep -c cannot | grep -q 0",
    "sees the network of the host": "test \"$(cat /sys/class/net/*/ifindex | wc -l)\" -ge 1",
}  # fmt: skip


def listed(name: str) -> list[str]:
    return [f"{{ {probe}; }} >/dev/null 2>&1 && echo '{what}' >> {name} || true" for what, probe in PROBES.items()]


def test_a129_a_run_step_is_not_the_hosts_root(cells: Cells) -> None:
    host = cells.host
    outside = host.run(["/usr/bin/unshare", "-m", "/bin/sh", "-c", "\n".join([": > /srv/out", *listed("/srv/out")])])
    done = (host.root / "srv/out").read_text().splitlines()
    (host.root / "srv/out").unlink()
    assert done == list(PROBES), (set(PROBES) - set(done), outside)
    before = cells.canary.digest()
    harm = f"rm -rf {cells.canary.path} /etc/profile /home/* /proc/[0-9]* 2>/dev/null || true"
    script = "\n".join([": > /srv/probes", *listed("/srv/probes"), "id -u > /srv/id", "chmod -R 777 /srv", harm])
    template(host, "escrun", "readonly", f"\n[[run]]\ncommand = {json.dumps(script)}\n")
    root = host.root / "var/lib/jailctl/images" / host.image("escrun") / "root"
    assert (root / "srv/id").read_text() == "0\n" and (root / "srv/probes").read_text() == ""
    assert cells.canary.digest() == before
    assert (host.root / "etc/profile").stat().st_size > 0


def test_a129_what_a_step_makes_is_normal(cells: Cells) -> None:
    host = cells.host
    step = (
        "cp /bin/true /srv/suid; chmod 6755 /srv/suid; mkfifo /srv/fifo; touch /srv/theirs; chown 1234:99 /srv/theirs; "
        'chmod 666 /srv/theirs; python3 -c \'import os; os.setxattr("/srv/theirs", "user.x", b"1")\''
    )
    template(host, "escrun", "readonly", f"\n[[run]]\ncommand = {json.dumps(step)}\n")
    root = host.root / "var/lib/jailctl/images" / host.image("escrun") / "root"
    assert sorted(path.name for path in (root / "srv").iterdir()) == ["suid", "theirs", "work"]
    for name, mode in (("suid", 0o755), ("theirs", 0o644)):
        status = (root / "srv" / name).stat()
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (mode, 0, 0)
    log = (host.root / "var/lib/jailctl/logs/escrun.log").read_text()
    for line in ("/srv/fifo: is a FIFO", "/srv/suid: its set-id bits", "/srv/theirs: its attribute user.x"):
        assert line in log


def ids_of_builds(host: Host) -> list[int]:
    return [process.pid for process in host.processes() if 699_934_464 <= process.uids[0] < 700_000_000]


def test_an_update_stops_at_a_smoke_test_that_fails(host: Host) -> None:
    template(host, "escsmoke", "readonly")
    before = host.image("escsmoke")
    path = Path(f"{host.root}/etc/jailctl/templates/escsmoke/template.toml")
    text = re.sub(r"^smoke = \[.*?^\]$", "", path.read_text(), flags=re.M | re.S)
    tests = "smoke = ['test $(id -u) != 0 && echo x > ~/x', 'echo so it says; exit 7']\n"
    path.write_text(text.replace('shell = "/bin/bash"', tests + 'shell = "/bin/bash"\nlinger = 61', 1).replace(
        "linger = 60", "# linger"))  # fmt: skip
    done = host.jailctl("update", "escsmoke", check=False)
    assert done.returncode == 5 and "exit 7" in done.stderr and "status 7" in done.stderr, done
    assert "so it says" in done.stderr
    assert host.image("escsmoke") == before and ids_of_builds(host) == []
    path.write_text(path.read_text().replace("exit 7", "exit 0"))
    host.jailctl("update", "escsmoke")
    assert host.image("escsmoke") != before
