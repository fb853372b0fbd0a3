"""What jailkit writes into sshd's and PAM's configuration, made to say more than it should, or to break them for all.

A value with a blank, a quote, a ``%`` or ``Match all`` in a generated fragment widens it or stops sshd. Attack A124.
No name and no path of a user's is in those files at all; what is there comes from --root and is of plain characters.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from ..host import Host
from ..host.host import SSHD
from . import cli, damage
from .world import Pair, changes, pair, state

pytestmark = pytest.mark.host
USER = "rendered"
FILES = ("etc/ssh/sshd_config.d/000-jailctl.conf", "etc/pam.d/common-session",
         "etc/pam.d/common-session-noninteractive", "usr/share/pam-configs/jailctl", "etc/ssh/sshd_config")  # fmt: skip
ROOTS = ["/x y", "/x\ty", "/x\nMatch all", "/x%h", "/x%u", '/x"y', "/x'y", "/x#y", "/x;y", "/x$(id)", "/x\\y", "/x*",
         "/\u00e9", "/x[success=done]", "/x,y", "/x|y", "/x=y", "/x\x1b[2J"]  # fmt: skip


@pytest.fixture(scope="module")
def people() -> Iterator[Pair]:
    with Host() as host:
        host.jailctl("setup")
        yield pair(host, USER)


def texts(host: Host) -> list[bytes]:
    return [(host.root / path).read_bytes() for path in FILES]


def test_a124_a_root_that_means_something_to_sshd_or_pam(people: Pair) -> None:
    """With a plain directory it is planned, with the path in both files; with these nothing is rendered or changed."""
    host = people.host
    for root in ("/srv/plain", *ROOTS):
        for part in ("etc", "templates", "libexec"):
            there = host.root / root.lstrip("/") / "opt/jailctl" / part
            shutil.copytree(host.root / "opt/jailctl" / part, there)
    before = state(host)
    many = [["setup", "--json", "--dry-run", "--root", root] for root in ("/srv/plain", *ROOTS)]
    plain, *others = cli.calls(host, many)
    assert plain.status == 0 and plain.out.count("/srv/plain/opt/jailctl/libexec/") >= 2, plain
    for root, done in zip(ROOTS, others, strict=True):
        assert (done.status, done.out, done.error["code"]) == (5, "", "invalid.root"), (root, done)
    for done in cli.calls(host, [["setup", "--json", "--root", root] for root in ("relative", ".", "/x\0y")]):
        assert done.status in (2, 3, 5) and done.out == "", done
    assert changes(before, host) == []


def test_a124_users_are_not_in_those_files(people: Pair) -> None:
    host = people.host
    before = texts(host)
    for name in ("a.b-c_d", "_x", "match", "all.x", "include"):
        host.jailctl("add-user", name, "--key", f"{host.key(USER)}.pub", "--set", "hostname=match")
        assert host.ssh(name, "id -un", key=host.key(USER)).stdout == f"{name}\n"
    assert texts(host) == before
    out = host.run([SSHD, "-T", "-C", "user=match,host=all,addr=127.0.0.1"], check=True).stdout
    assert "authorizedkeysfile /etc/jailctl/keys/%u" in out and "forcecommand /opt/jailctl/libexec/door" in out


BROKEN = {
    "a word that sshd does not know": ("etc/ssh/sshd_config.d/900-own.conf", "Nonsense yes\n"),
    "an Include of our directory in a Match block": (
        "etc/ssh/sshd_config", "Match User nobody\nInclude /etc/ssh/sshd_config.d/*.conf\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a124_a_host_where_it_would_not_hold(people: Pair, case: str) -> None:
    """Our file has to be written anew, and does not come into the place of the old one; the running sshd is told
    nothing, and takes logins as before."""
    host = people.host
    name, text = BROKEN[case]
    path, ours = host.root / name, host.root / FILES[0]
    kept, mine = path.read_text() if path.exists() else None, ours.read_text()
    path.write_text(text)
    ours.write_text(mine + "# somebody was here\n")
    try:
        done = host.jailctl("setup", "--json", check=False)
        assert done.returncode == 6 and '"hint": ""' not in done.stderr, done
        assert ours.read_text() == mine + "# somebody was here\n"
        assert host.ssh(people.free, "hostname").stdout == "testhost\n"
        assert damage.attempt(people, host.ssh_argv(USER, "COMMAND", opts=["-o", "BatchMode=yes"])).how == "inside"
    finally:
        ours.write_text(mine)
        if kept is None:
            path.unlink()
        else:
            path.write_text(kept)
    assert host.run([SSHD, "-t"]).returncode == 0
    host.jailctl("setup")
