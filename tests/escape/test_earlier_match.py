"""A Match block, or a file of sshd_config.d, that sshd reads before ours and whose value therefore wins.

sshd_config(5): the first value found holds. Attack A067.

What an earlier block can give back is forwarding (then the host's network is in reach, no process of hers) and, as sshd
serves that itself, ``ForceCommand internal-sftp``: files outside. Nothing at login can see that: so setup refuses such
a host and doctor fails on it, by name and line. All other values still end in the jail or in a refusal, as the
account's shell is the door.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ..host import Host
from .world import Flag, Pair, Secret, failures, pair

pytestmark = pytest.mark.host
USER = "earlier"
BLOCKS = {
    "none": f"Match User {USER}\n  ForceCommand none\n",
    "shell": f"Match User {USER}\n  ForceCommand /bin/bash -c \"$SSH_ORIGINAL_COMMAND\"\n",
    "address": "Match Address 127.0.0.0/8\n  ForceCommand none\n  AuthorizedKeysFile .ssh/authorized_keys\n",
    "forwarding": f"Match User {USER}\n  DisableForwarding no\n  AllowTcpForwarding yes\n",
    "keys": f"Match User {USER}\n  AuthorizedKeysFile .ssh/authorized_keys\n",
    "rc": "Match Group jailed\n  PermitUserRC yes\n",
    "chroot": f"Match User {USER}\n  ForceCommand none\n  ChrootDirectory /srv\n",
}


@pytest.fixture(scope="module")
def people() -> Iterator[Pair]:
    with Host() as host:
        host.jailctl("setup")
        yield pair(host, USER)


@pytest.fixture
def clean(people: Pair) -> Iterator[Pair]:
    yield people
    (people.host.root / "etc/ssh/sshd_config.d/000-earlier.conf").unlink(missing_ok=True)
    people.host.sshd_restart(people.host.stock_sshd_config)


def put(host: Host, block: str, place: str) -> str:
    """Before our file, in the main one or in one that sorts before it; return where."""
    if place == "main":
        host.sshd_restart(f"{block}Match all\n{host.stock_sshd_config}")
        return "/etc/ssh/sshd_config:"
    (host.root / "etc/ssh/sshd_config.d/000-earlier.conf").write_text(block)
    host.sshd_restart()
    return "/etc/ssh/sshd_config.d/000-earlier.conf:"


def test_a067_without_one_nothing_fails(clean: Pair) -> None:
    assert failures(clean.host) == []


@pytest.mark.parametrize(("case", "place"), [("none", "main"), *((case, "file") for case in BLOCKS)])
def test_a067_doctor_fails_and_the_login_stays_inside(clean: Pair, case: str, place: str) -> None:
    host, flag = clean.host, Flag(clean.host)
    where = put(host, BLOCKS[case], place)
    found = failures(host)
    assert found and {finding.check for finding in found} <= {"sshd.effective", "sshd.global", "sshd.fragment"}
    assert any(where in finding.seen for finding in found), found
    clean.give(USER, ".ssh/rc", f"touch {flag.path}\n")
    clean.give(USER, ".ssh/authorized_keys", host.public_key(USER) + "\n", 0o600)
    ways = [host.ssh(USER, f"touch {flag.path}; hostname"), host.ssh(USER, input=f"touch {flag.path}; hostname\n")]
    if case == "chroot":
        assert all(done.returncode != 0 and USER not in done.stdout for done in ways)
        assert host.ssh(clean.free, "true").returncode == 0
        return
    if case == "rc":  # sshd starts it by the account's shell, so it is the jail's
        assert host.run(["/usr/bin/stat", flag.path]).returncode != 0
    assert ways[0].stdout == f"{USER}\n"
    assert ways[1].stdout.endswith(f"{USER}\n") or case == "shell"  # which then runs nothing
    assert not flag.raised()
    assert host.ssh(clean.free, f"touch {flag.path}").returncode == 0 and flag.raised()


@pytest.mark.parametrize("block", ["ForceCommand internal-sftp", "ForceCommand none"])
def test_a067_what_sshd_serves_itself_is_doctors_to_find(clean: Pair, block: str) -> None:
    """With ``Subsystem sftp internal-sftp`` and no ForceCommand, or ForceCommand alone: shown to be real, and found."""
    host = clean.host
    secret = Secret(host)
    internal = host.stock_sshd_config.replace("/usr/lib/openssh/sftp-server", "internal-sftp")
    host.sshd_restart(internal)
    assert host.sftp(USER, f"get {secret.path} /root/got\n").returncode != 0  # ours holds
    host.sshd_restart(f"Match User {USER}\n  {block}\nMatch all\n{internal}")
    assert host.sftp(USER, f"get {secret.path} /root/got\n").returncode == 0
    assert secret.text in (host.root / "root/got").read_text()
    (host.root / "root/got").unlink()
    (found,) = [each for each in failures(host) if "forcecommand" in each.seen and "addr=127.0.0.1" in each.seen]
    assert USER in found.seen and "/etc/ssh/sshd_config:" in found.seen and found.mend


def test_a067_setup_refuses_such_a_host(fresh_host: Host) -> None:
    host = fresh_host
    before = (host.root / "etc/pam.d/common-session").read_text()
    earlier = host.root / "etc/ssh/sshd_config.d/000-earlier.conf"
    earlier.write_text("Match Group users,jailed,nogroup\n  ForceCommand internal-sftp\n")
    done = host.jailctl("setup", "--json", check=False)
    assert done.returncode not in (0, 1)
    error = json.loads(done.stderr)["error"]
    assert "forcecommand" in error["message"] and "000-earlier.conf:" in error["message"]
    assert error["hint"]
    assert not (host.root / "etc/ssh/sshd_config.d/000-jailctl.conf").exists()
    assert (host.root / "etc/pam.d/common-session").read_text() == before
