"""Each method of authentication, as each may take another way through sshd and PAM.

A hook in PAM's auth stack is not run for keys; a certificate brings a command of its own (force-command) and asks no
key file. And none may tell strangers who is there (user enumeration). Attacks A068, A071.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import paramiko
import pytest

from ..host import Host
from ..host.host import SSHD
from . import client
from .world import DULL, Flag, Pair, in_jail, outside, pair, sleeper

pytestmark = pytest.mark.host
USER, OTHER, PORT, PASSWORD = "authways", "authoff", 2235, "Correct-horse-7"
CERTIFICATE = "/root/keys/authways-cert"


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    """The second sshd takes keyboard-interactive and certificates of a CA as well."""
    both = pair(host, USER)
    host.run(["/usr/sbin/chpasswd"], input="".join(f"{u}:{PASSWORD}\n" for u in (USER, both.free)), check=True)
    authority = host.key("authority")
    text = f"\nTrustedUserCAKeys {authority}.pub\n"
    config = host.stock_sshd_config.replace("KbdInteractiveAuthentication no", "KbdInteractiveAuthentication yes")
    assert config != host.stock_sshd_config
    with host.sshd_on(PORT, config + text):
        yield both


def certify(host: Host, user: str, *options: str) -> list[str]:
    """A key that no file names, with a certificate for the user; the client's options that use it."""
    key = host.key(f"certified-{user}")
    sign = ["/usr/bin/ssh-keygen", "-q", "-s", host.key("authority"), "-I", "test", "-n", user]
    host.run([*sign, *options, f"{key}.pub"], check=True)
    return ["-o", f"CertificateFile={key}-cert.pub", "-i", key]


Authenticate = Callable[[paramiko.Transport, str], object]
METHODS: dict[str, Authenticate] = {
    "password": lambda transport, user: transport.auth_password(user, PASSWORD, fallback=False),
    "keyboard-interactive": lambda transport, user: transport.auth_interactive(
        user, lambda _title, _text, prompts: [PASSWORD for _ in prompts]
    ),
}


@contextlib.contextmanager
def session(people: Pair, user: str, method: str, seconds: str) -> Iterator[None]:
    host = people.host
    if method in METHODS:
        transport = paramiko.Transport(client.dial(host, PORT))
        try:
            transport.start_client(timeout=20)
            METHODS[method](transport, user)
            channel = transport.open_session(timeout=20)
            channel.exec_command(f"exec sleep {seconds}")
            yield
        finally:
            transport.close()
    else:
        key = host.key(user) if method == "publickey" else "/nonexistent"
        options = certify(host, user) if method == "certificate" else []
        argv = host.ssh_argv(user, f"exec sleep {seconds}", key=key, opts=["-o", "BatchMode=yes", *options], port=PORT)
        with host.spawn(argv):
            yield


@pytest.mark.parametrize("method", ["publickey", "certificate", *METHODS])
def test_a068_each_method_ends_in_the_same_jail(people: Pair, method: str) -> None:
    number = 8300 + ["publickey", "certificate", *METHODS].index(method)
    with session(people, people.free, method, str(number)):
        assert sleeper(people.host, str(number)).root == people.host.processes()[0].root
    with session(people, people.tenant, method, str(number + 100)):
        process = sleeper(people.host, str(number + 100))
        assert in_jail(people.host, process, people.tenant)
        assert outside(people.host, people.tenant) == []


def test_a068_a_certificates_own_command_and_rights(people: Pair) -> None:
    """force-command, and the extensions for forwarding, of a certificate: for the ordinary user they count."""
    host = people.host
    for user, works in ((people.free, True), (people.tenant, False)):
        flag = Flag(host)
        own = ["-O", f"force-command=touch {flag.path}; hostname", "-O", "permit-port-forwarding"]
        options = certify(host, user, *own)
        done = host.ssh(user, "id -un", key="/nonexistent", opts=options, port=PORT)
        assert done.stdout == ("testhost\n" if works else f"{user}\n")
        assert flag.raised() == works
        tunnel = host.ssh(user, key="/nonexistent", opts=[*options, "-W", "127.0.0.1:22"], port=PORT, input="x\n")
        assert tunnel.stdout.startswith("SSH-2.0-") == works


def test_a068_a_certificate_for_somebody_else(people: Pair) -> None:
    """Its principal is the ordinary user; asked for is the tenant's account, and the other way round."""
    host = people.host
    options = {user: certify(host, user) for user in (people.free, people.tenant)}
    for user, other in ((people.free, people.tenant), (people.tenant, people.free)):
        assert host.ssh(user, "true", key="/nonexistent", opts=options[user], port=PORT).returncode == 0
        assert host.ssh(user, "true", key="/nonexistent", opts=options[other], port=PORT).returncode == 255


def test_a068_the_other_methods_are_off(people: Pair) -> None:
    out = people.host.run([SSHD, "-T", "-C", f"user={USER},host=localhost,addr=127.0.0.1"], check=True).stdout
    assert {"hostbasedauthentication no", "gssapiauthentication no", "permitemptypasswords no"} <= set(out.splitlines())


def test_a071_strangers_learn_nothing(people: Pair) -> None:
    """Wrong password, and a key that is not theirs: one text for all, whoever they are."""
    host = people.host
    host.jailctl("add-user", OTHER, "--key", f"{host.key(OTHER)}.pub")
    recipe = host.root / f"var/lib/jailctl/jails/{OTHER}/recipe"
    recipe.write_text(recipe.read_text().replace("disabled \n", "disabled by the test\n"))
    host.run(["/usr/sbin/useradd", "-m", "authexpired"], check=True)
    host.run(["/usr/sbin/usermod", "-e", "1", "authexpired"], check=True)
    names = ["nobodyhere", people.tenant, OTHER, "authexpired"]

    def attempt(name: str) -> str:
        transport = paramiko.Transport(client.dial(host, PORT))
        try:
            transport.start_client(timeout=20)
            transport.auth_password(name, "wrong", fallback=False)
        except paramiko.SSHException as error:
            return f"{type(error).__name__}: {error} {getattr(error, 'allowed_types', '')}"
        finally:
            transport.close()
        raise AssertionError(f"{name} is in")

    with ThreadPoolExecutor(len(names)) as pool:
        answers = list(pool.map(attempt, names))
    assert len(set(answers)) == 1 and "Authentication failed" in answers[0], answers
    stranger = host.key("stranger")
    keyed = {host.ssh(name, "true", key=stranger).stderr.replace(name, "NAME") for name in names}
    assert len(keyed) == 1 and "Permission denied" in keyed.pop()


def test_a071_only_who_has_the_key_learns_that_it_is_disabled(people: Pair) -> None:
    done = people.host.ssh(OTHER, "true")
    assert (done.returncode, done.stdout, done.stderr) == (254, f"{DULL}\n", "")
    people.host.wait_syslog(f"refused user={OTHER} service=sshd rhost=127.0.0.1 code=login.disabled")
    assert people.host.ssh(people.free, "true").returncode == 0
