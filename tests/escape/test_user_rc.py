"""Files of the user's that sshd itself reads or runs before the command: ~/.ssh/rc, environment, authorized_keys.

PermitUserRC is on by default; options before a key (command=, environment=) were a way past ForceCommand in history,
and environment= with LD_PRELOAD one past any shell. Attack A065.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from ..host import Host, wait_for
from . import client
from .world import Flag, Pair, pair

pytestmark = pytest.mark.host
USER, PORT = "userrc", 2234
SHOW = b"cat /proc/self/environ"


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    """The second sshd reads ~/.ssh/environment and environment=, as an administrator may have it."""
    both = pair(host, USER)
    with host.sshd_on(PORT, host.stock_sshd_config + "\nPermitUserEnvironment yes\n"):
        yield both


def test_a065_rc(people: Pair) -> None:
    """sshd runs it with sh, on the host, before the command."""
    for user, runs in ((people.free, True), (people.tenant, False)):
        flag = Flag(people.host)
        script = people.give(user, ".ssh/rc", f"touch {flag.path} ~/rc-ran\n", 0o755)
        for command in ("true", "exit"):
            assert people.host.ssh(user, command).returncode == 0
        people.host.sftp(user, "pwd\n")
        (people.host.root / script.lstrip("/")).unlink()
        assert flag.raised() == runs
        assert (people.home(user) / "rc-ran").exists() == runs


def test_a065_environment_file(people: Pair) -> None:
    mark = secrets.token_hex(8)
    for user, read in ((people.free, True), (people.tenant, False)):
        people.give(user, ".ssh/environment", f"PERL5LIB=/{mark}\nBASH_ENV=/{mark}\nLD_BIND_NOT=/{mark}\n")
        with client.connection(people.host, user, port=PORT) as transport:
            assert (mark.encode() in client.ask(transport, SHOW).out) == read
        (people.home(user) / ".ssh/environment").unlink()


def test_a065_keys_in_the_home_count_for_nothing(people: Pair) -> None:
    """Also with every option that a key can have. The same line serves in the ordinary user's home."""
    flag = Flag(people.host)
    options = f'command="touch {flag.path}",environment="BASH_ENV=/x",port-forwarding,pty,user-rc'
    new = people.host.public_key("userrc-own")
    for user, works in ((people.free, True), (people.tenant, False)):
        before = (people.home(user) / ".ssh/authorized_keys").read_text() if works else ""
        for name in (".ssh/authorized_keys", ".ssh/authorized_keys2"):
            people.give(user, name, f"{before}{options} {new}\n", 0o600)
        done = people.host.ssh(user, "true", key=people.host.key("userrc-own"))
        assert done.returncode == (0 if works else 255)
        assert works or "Permission denied" in done.stderr
        assert flag.raised() == works
        if works:
            flag.lower()
            people.give(user, ".ssh/authorized_keys", before, 0o600)
    assert people.host.ssh(people.tenant, "true").returncode == 0


def test_a065_options_in_our_own_key_file_change_nothing(people: Pair) -> None:
    """add-user refuses them (test_admin_refusals.py); were one there, ForceCommand is the one that holds."""
    flag, mark = Flag(people.host), secrets.token_hex(8)
    own = people.host.root / f"etc/jailctl/keys/{USER}"
    kept = own.read_text()
    key = people.host.public_key(USER)
    try:
        own.write_text(f'command="touch {flag.path}",environment="BASH_ENV=/{mark}",port-forwarding,user-rc {key}\n')
        people.give(USER, ".ssh/rc", f"touch {flag.path}\n")
        with client.connection(people.host, USER, port=PORT) as transport:
            answer = client.ask(transport, SHOW)
        assert b"HOME=/home/userrc\0" in answer.out and mark.encode() not in answer.out
    finally:
        own.write_text(kept)
    assert not flag.raised()


def test_a065_login_files_are_read_inside(people: Pair) -> None:
    """.hushlogin, .profile, .bashrc, .bash_logout: the shell's own business, where the shell is."""
    for user, outside in ((people.free, True), (people.tenant, False)):
        flag = Flag(people.host)
        for name in (".profile", ".bashrc", ".bash_logout"):
            people.give(user, name, f"echo {name} >> {flag.path}\n")
        people.give(user, ".hushlogin", "")
        with people.host.ssh_terminal(user) as terminal:
            terminal.sendline(f"cat {flag.path}; exit")
            terminal.expect(r"\.profile")
            wait_for(lambda: terminal.process.poll() is not None, 10)
        assert flag.raised() == outside
