"""Connections instead of a shell: whoever may forward has the host's network, its unix sockets and its agents.

Debian's sshd lets every account forward, also one whose shell is /bin/false; DisableForwarding left X11 and the agent
open before OpenSSH 10.0 (CVE-2025-32728). Attacks A058, A060.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
from collections.abc import Iterator
from dataclasses import dataclass

import paramiko
import pytest
from paramiko.common import OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

from ..host import Host, Process, wait_for
from ..host.host import SSHD
from . import client
from .world import Flag, Pair, pair

pytestmark = pytest.mark.host
USER, PORT, WEAK_PORT = "forward", 22, 2231
LISTENER = """
import os, socket, sys
where, secret = sys.argv[1], sys.argv[2].encode()
s = socket.socket(socket.AF_UNIX if where[0] == "/" else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(where if where[0] == "/" else ("127.0.0.1", int(where)))
if where[0] == "/":
    os.chmod(where, 0o666)
s.listen(16)
print("up", flush=True)
while True:
    c, _ = s.accept()
    c.sendall(secret)
    c.close()
    print("met", flush=True)
"""


@dataclass
class Listener:
    """A service of the host that greets with a secret, and counts whom it has met."""

    process: Process
    where: str
    secret: bytes
    met: int = 0

    def count(self) -> int:
        """Whom it has met since the last count. Its line is written before the connection is taken as over."""
        assert self.process.stdout
        while select.select([self.process.stdout], [], [], 0.2)[0]:
            self.met += os.read(self.process.stdout.fileno(), 4096).count(b"met")
        met, self.met = self.met, 0
        return met


@contextlib.contextmanager
def listener(host: Host, where: str) -> Iterator[Listener]:
    secret = secrets.token_hex(16)
    with host.spawn(["/usr/bin/python3", "-I", "-c", LISTENER, where, secret]) as process:
        assert process.stdout and process.stderr
        assert process.stdout.read(3) == b"up\n", process.stderr.read().decode()
        yield Listener(process, where, secret.encode())


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    """The second sshd has our fragment without the line that forbids all forwarding at once."""
    both = pair(host, USER)
    xauth = host.root / "usr/local/bin/xauth-flag"
    xauth.write_text('#!/bin/sh\necho "$DISPLAY $*" > /var/tmp/flag-xauth-$(id -un)\n')
    xauth.chmod(0o755)
    fragment = (host.root / "etc/ssh/sshd_config.d/000-jailctl.conf").read_text()
    weak = fragment.replace("DisableForwarding yes", "")
    assert weak != fragment
    stock = host.stock_sshd_config
    text = stock.replace("Include /etc/ssh/sshd_config.d/*.conf", "XAuthLocation /usr/local/bin/xauth-flag") + weak
    with host.sshd_on(WEAK_PORT, text):
        yield both


@pytest.mark.parametrize("port", [PORT, WEAK_PORT])
def test_a058_to_a_service_on_the_loopback(people: Pair, port: int) -> None:
    with listener(people.host, "7101") as service:
        with client.connection(people.host, people.free, port=port) as transport:
            channel = transport.open_channel("direct-tcpip", ("127.0.0.1", 7101), ("127.0.0.1", 1), timeout=20)
            assert channel.recv(100) == service.secret
            assert service.count() == 1
        with client.connection(people.host, people.tenant, port=port) as transport:
            with pytest.raises(paramiko.ChannelException) as refused:
                transport.open_channel("direct-tcpip", ("127.0.0.1", 7101), ("127.0.0.1", 1), timeout=20)
            assert refused.value.code == OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
            assert client.ask(transport, b"id -un").out == b"forward\n"  # the connection itself serves
        assert service.count() == 0


@pytest.mark.parametrize("port", [PORT, WEAK_PORT])
def test_a058_back_from_the_host(people: Pair, port: int) -> None:
    def ports() -> set[str]:
        lines = (people.host.root / f"proc/{people.host.processes()[0].inner_pid}/net/tcp").read_text().splitlines()
        return {line.split()[1] for line in lines if line.split()[3] == "0A"}

    before = ports()
    with client.connection(people.host, people.free, port=port) as transport:
        given = transport.request_port_forward("127.0.0.1", 0)
        assert ports() - before == {f"0100007F:{given:04X}"}
    wait_for(lambda: ports() == before, 5)
    with client.connection(people.host, people.tenant, port=port) as transport:
        with pytest.raises(paramiko.SSHException, match="denied"):
            transport.request_port_forward("127.0.0.1", 0)
        assert ports() == before


def test_a058_to_a_unix_socket_of_the_host(people: Pair) -> None:
    """Also with ``ssh -N``, which asks for no session at all."""
    with listener(people.host, "/srv/service.sock") as service:
        for user, met in ((people.free, 1), (people.tenant, 0)):
            options = ["-N", "-L", "127.0.0.1:7102:/srv/service.sock"]
            with people.host.ssh_spawn(user, opts=options) as tunnel:
                got = b""
                for _ in range(50):
                    with contextlib.suppress(ConnectionRefusedError):
                        with client.dial(people.host, 7102) as end:
                            got = end.recv(100)
                        break
                    assert tunnel.wait(0.1) is None, tunnel.stderr and tunnel.stderr.read()
                assert got == (service.secret if met else b"")
            assert service.count() == met


def test_a058_a_unix_socket_on_the_host(people: Pair) -> None:
    for user, works in ((people.free, True), (people.tenant, False)):
        options = ["-N", "-o", "ExitOnForwardFailure=yes", "-R", f"/home/{user}/made.sock:127.0.0.1:22"]
        with people.host.ssh_spawn(user, opts=options) as tunnel:
            if works:
                wait_for((people.home(user) / "made.sock").is_socket, 10, "no socket: the probe does not work")
            else:
                assert tunnel.wait(10) == 255
        assert (people.home(user) / "made.sock").exists() == works


@pytest.mark.parametrize("port", [PORT, WEAK_PORT])
def test_a060_agent(people: Pair, port: int) -> None:
    def sockets() -> list[str]:
        return [str(path) for path in (people.host.root / "tmp").glob("ssh-*/*")]

    for user, works in ((people.free, True), (people.tenant, False)):
        with client.connection(people.host, user, port=port) as transport:
            channel = transport.open_session(timeout=20)
            assert channel.request_forward_agent(lambda *_: None)  # it does not wait for an answer
            channel.exec_command("echo $SSH_AUTH_SOCK; read line")
            line = b""
            while not line.endswith(b"\n"):
                line += channel.recv(1)
            assert bool(line.strip()) == works
            assert bool(sockets()) == works
            channel.sendall(b"\n")
            client.read(channel)


@pytest.mark.parametrize("port", [WEAK_PORT])
def test_a060_x11(people: Pair, port: int) -> None:
    """sshd runs xauth with the user's ids, outside, before the command."""
    for user, works in ((people.free, True), (people.tenant, False)):
        flag = people.host.root / f"var/tmp/flag-xauth-{user}"
        with client.connection(people.host, user, port=port) as transport:
            channel = transport.open_session(timeout=20)
            if works:
                channel.request_x11(handler=lambda *_: None)
            else:
                with pytest.raises(paramiko.SSHException):
                    channel.request_x11(handler=lambda *_: None)
                channel = transport.open_session(timeout=20)
            channel.exec_command("echo display=$DISPLAY; cat ~/.Xauthority")
            answer = client.read(channel)
            assert answer.out.startswith(b"display=localhost:" if works else b"display=\n"), answer
        assert flag.exists() == works


FORCED = {
    "disableforwarding": "yes", "allowtcpforwarding": "no", "allowstreamlocalforwarding": "no",
    "allowagentforwarding": "no", "x11forwarding": "no", "permittunnel": "no", "gatewayports": "no",
    "permitopen": "none", "permitlisten": "none", "permituserrc": "no",
}  # fmt: skip
DEBIAN = {"allowtcpforwarding": "yes", "allowagentforwarding": "yes", "x11forwarding": "yes", "permituserrc": "yes"}


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.9", "2001:db8::9"])
def test_a060_each_setting_by_itself(people: Pair, address: str) -> None:
    def effective(user: str) -> dict[str, str]:
        who = f"user={user},host=client.example,addr={address}"
        out = people.host.run([SSHD, "-T", "-C", who], check=True).stdout
        return dict(line.split(" ", 1) for line in out.splitlines() if " " in line)

    assert effective(people.free).items() >= DEBIAN.items()
    assert effective(people.tenant).items() >= FORCED.items()


def test_a058_a_key_alone_opens_nothing(people: Pair) -> None:
    """ssh -N stays connected and has nothing: no process of hers, and no flag in her name."""
    flag = Flag(people.host)
    with people.host.ssh_spawn(people.tenant, opts=["-N", "-o", f"LocalCommand=touch {flag.path}"]) as idle:
        people.host.wait_syslog(f"session opened for user {people.tenant}")
        assert idle.wait(0.3) is None
        uid = people.host.ids(people.tenant)[0]
        host_side = [p for p in people.host.processes() if uid in p.uids and p.inner_pid != 1]
        assert [p.name for p in host_side] in ([], ["sshd"])
    assert not flag.raised()
