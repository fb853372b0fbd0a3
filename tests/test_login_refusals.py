"""What leads past a jail on other hosts, tried on this one: forwarding, files that sshd or PAM read in the home, the
client's environment, other PAM services, a login with a part of the product gone.

Each is done first as an ordinary user, on an sshd that allows all of it, and must succeed there; then as a jailed one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .host import Host, wait_for
from .host.host import Result
from .ways.people import make_jailed, make_plain

pytestmark = pytest.mark.host
JAILED, PLAIN = "refused", "allowed"
PORT = 2203
LAX = """
PermitUserEnvironment yes
AcceptEnv *
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
AllowAgentForwarding yes
X11Forwarding yes
GatewayPorts yes
PermitTunnel yes
PermitUserRC yes
"""
PAM_CLIENT = Path(__file__).with_name("ways") / "pam_client.py"
SERVER = """
import socket, sys, threading, os
def serve(s):
    while True:
        c, _ = s.accept()
        open("/run/canary-met", "a").close()
        c.sendall(b"canary\\n"); c.close()
tcp = socket.create_server(("127.0.0.1", 9000))
unix = socket.socket(socket.AF_UNIX); unix.bind("/run/canary.sock"); unix.listen(); os.chmod("/run/canary.sock", 0o666)
threading.Thread(target=serve, args=(tcp,), daemon=True).start(); print("ready", flush=True); serve(unix)
"""


@pytest.fixture(scope="module")
def both(host: Host) -> Iterator[Host]:
    make_plain(host, PLAIN)
    make_jailed(host, JAILED)
    with (
        host.sshd_on(
            PORT, host.stock_sshd_config.replace("X11Forwarding yes", "").replace("AcceptEnv LANG LC_*", "") + LAX
        ),
        host.spawn(["/usr/bin/python3", "-c", SERVER]) as server,
    ):
        assert server.stdout and server.stdout.read(5) == b"ready"
        yield host


def met(host: Host) -> bool:
    """Whether anything reached the canary since the last question."""
    seen = (host.root / "run/canary-met").exists()
    (host.root / "run/canary-met").unlink(missing_ok=True)
    return seen


def lax(host: Host, user: str, command: str | None, *opts: str, env: dict[str, str] | None = None) -> Result:
    argv = host.ssh_argv(user, command, opts=["-o", "BatchMode=yes", *opts], port=PORT)
    argv[argv.index("IdentityAgent=none")] = "IdentityAgent=SSH_AUTH_SOCK"
    return host.run(argv, env=env, timeout=15)


def read_from(host: Host, address: str) -> str:
    """What a client in the host reads there: ``9001`` of 127.0.0.1, or a socket's path."""
    where = (
        f"(socket.AF_UNIX).connect('{address}')" if address.startswith("/") else f".connect(('127.0.0.1', {address}))"
    )
    made = "s = socket.socket" + ("(socket.AF_UNIX); s" if address.startswith("/") else "(); s")
    connect = where.replace("(socket.AF_UNIX)", "")
    script = f"import socket; {made}{connect}; s.settimeout(3); print(s.recv(99).decode(), end='')"
    return host.run(["/usr/bin/python3", "-c", script]).stdout


# -- forwarding (A058, A060)


def test_tcp_to_the_hosts_loopback(both: Host) -> None:
    met(both)
    assert lax(both, PLAIN, None, "-W", "127.0.0.1:9000").stdout == "canary\n" and met(both)
    refused = lax(both, JAILED, None, "-W", "127.0.0.1:9000")
    assert refused.returncode != 0 and "forwarding failed" in refused.stderr and not met(both)


FORWARDINGS = [
    (["-L", "7001:127.0.0.1:9000"], "7001"),
    (["-R", "7002:127.0.0.1:9000"], "7002"),
    (["-L", "7003:/run/canary.sock"], "7003"),
    (["-R", "/tmp/canary-{user}:127.0.0.1:9000"], "/tmp/canary-{user}"),
]


@pytest.mark.parametrize(("options", "address"), FORWARDINGS, ids=["local", "remote", "local-socket", "remote-socket"])
@pytest.mark.parametrize("session", [True, False], ids=["session", "no-session"])
def test_forwarded_ports_and_sockets(both: Host, options: list[str], address: str, session: bool) -> None:
    def command(user: str) -> list[str]:
        forward = [part.format(user=user) for part in options]
        return both.ssh_argv(
            user, "sleep 60" if session else None, opts=[*forward, *([] if session else ["-N"])], port=PORT
        )

    met(both)
    with both.spawn(command(PLAIN)):
        wait_for(lambda: read_from(both, address.format(user=PLAIN)) == "canary\n", 10, "not without a jail either")
    assert met(both)
    mark = len(both.syslog())
    with both.spawn(command(JAILED)):
        both.wait_syslog(f"Accepted publickey for {JAILED}", after=mark)
        for _ in range(8):
            assert read_from(both, address.format(user=JAILED)) == ""
            time.sleep(0.1)
    assert not met(both)
    both.run(["/bin/rm", "-f", f"/tmp/canary-{PLAIN}"])


def test_the_agent(both: Host) -> None:
    with both.spawn(["/usr/bin/ssh-agent", "-D", "-a", "/run/agent"]):
        wait_for(lambda: (both.root / "run/agent").exists(), 5)
        ask = ['echo "<$SSH_AUTH_SOCK>"; ls /tmp', "-A"]
        env = {"PATH": "/usr/bin:/bin", "HOME": "/root", "SSH_AUTH_SOCK": "/run/agent"}
        assert "</tmp/ssh-" in lax(both, PLAIN, *ask, env=env).stdout
        done = lax(both, JAILED, *ask, env=env)
        assert (done.stdout, done.returncode) == ("<>\n", 0)
    uid = both.ids(JAILED)[0]
    assert [path for path in (both.root / "tmp").iterdir() if path.lstat().st_uid == uid] == []


def test_x11(both: Host) -> None:
    env = {"PATH": "/usr/bin:/bin", "HOME": "/root", "DISPLAY": "127.0.0.1:0"}
    ask = ['echo "<$DISPLAY>"', "-o", "ForwardX11=yes", "-o", "ForwardX11Trusted=yes"]
    assert lax(both, PLAIN, *ask, env=env).stdout.startswith("<localhost:1")
    assert lax(both, JAILED, *ask, env=env).stdout == "<>\n"


# -- files in the home that the host's programs read (A065, A072)


def plant(host: Host, user: str, name: str, text: str) -> None:
    path = host.root / "home" / user / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(text)
    host.run(["/bin/chown", "-R", f"{user}:", str(Path("/home", user, name).parent)], check=True)


def test_the_users_rc_file(both: Host) -> None:
    for user in (PLAIN, JAILED):
        plant(both, user, ".ssh/rc", f"id -u > /home/{user}/rc-ran; touch /tmp/rc-{user}\n")
        assert lax(both, user, "true").returncode == 0
    assert (both.root / f"tmp/rc-{PLAIN}").exists() and (both.root / f"home/{PLAIN}/rc-ran").exists()
    assert not (both.root / f"tmp/rc-{JAILED}").exists() and not (both.root / f"home/{JAILED}/rc-ran").exists()


@pytest.mark.parametrize("file", [".ssh/environment", ".pam_environment"])
def test_files_with_an_environment(both: Host, file: str) -> None:
    line = "FROM_FILE=planted\n" if file.startswith(".ssh") else "FROM_FILE DEFAULT=planted\n"
    for user, expected in ((PLAIN, "<planted>\n"), (JAILED, "<>\n")):
        plant(both, user, file, line)
        try:
            assert lax(both, user, 'echo "<$FROM_FILE>"').stdout == expected
        finally:
            (both.root / "home" / user / file).unlink()


def test_a_key_in_the_home_opens_nothing(both: Host) -> None:
    second = both.key("planted")
    for user in (PLAIN, JAILED):
        plant(
            both, user, ".ssh/authorized_keys2", f'environment="X=1",command="/bin/sh" {both.public_key("planted")}\n'
        )
    argv = [
        both.ssh_argv(user, "echo in", key=second, opts=["-o", "BatchMode=yes"], port=PORT) for user in (PLAIN, JAILED)
    ]
    assert both.run(argv[0], input="echo $X").stdout == "1\n"
    refused = both.run(argv[1], input="echo $X")
    assert refused.returncode == 255 and refused.stdout == "" and "Permission denied" in refused.stderr


def test_the_clients_environment(both: Host) -> None:
    """A064: also values that look right and are not, such as a function for an old bash."""
    sent = ["-o", "SetEnv=EVIL=1 BASH_ENV=/x LD_PRELOAD=/x PYTHONPATH=/x IFS=x LC_TIME=C", "-o", "LogLevel=QUIET"]
    odd = ["-o", "SetEnv=LC_ALL='() { :;}; touch /tmp/shellshock' LC_MESSAGES=" + "x" * 60000]
    names = {"EVIL", "BASH_ENV", "LD_PRELOAD", "PYTHONPATH"}
    outside, inside = (environment(lax(both, user, "env -0", *sent)) for user in (PLAIN, JAILED))
    assert names <= set(outside)
    assert not names & set(inside) and inside["LC_TIME"] == "C"
    assert "LC_ALL" in environment(lax(both, PLAIN, "env -0", *odd))
    inside = environment(lax(both, JAILED, "env -0", *odd))
    assert not {"LC_ALL", "LC_MESSAGES"} & set(inside)
    assert not (both.root / "tmp/shellshock").exists()


def environment(done: Result) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return dict(entry.partition("=")[::2] for entry in done.stdout.split("\0") if entry)


def test_the_wanted_command_is_evaluated_inside_only(both: Host) -> None:
    """A069."""
    commands = ["$(TOUCH)", "`TOUCH`", "x; TOUCH", "x\nTOUCH", "-c 'TOUCH'", "%(TOUCH)", "() { :;}; TOUCH"]
    for number, command in enumerate(commands):
        lax(both, JAILED, command.replace("TOUCH", f"touch /tmp/a069-{number}"))
    assert not list((both.root / "tmp").glob("a069-*"))
    assert "a069-2" in both.ssh(JAILED, "ls /tmp").stdout, "the probe must reach the shell inside"


# -- other services (A076, A077)


def cron(host: Host, user: str) -> None:
    (host.root / "run/crond.reboot").unlink(missing_ok=True)
    crontab = host.root / "var/spool/cron/crontabs" / user
    crontab.write_text(f"@reboot touch /tmp/service-{user}\n")
    host.run(["/bin/chown", f"{user}:crontab", f"/var/spool/cron/crontabs/{user}"], check=True)
    crontab.chmod(0o600)
    with host.spawn(["/usr/sbin/cron", "-f"]):
        settled(host, user)
    crontab.unlink()


def at(host: Host, user: str) -> None:
    """The job is put in by a process that plays one of hers outside the jail."""
    host.run(["/usr/bin/at", "now"], user=user, input=f"touch /tmp/service-{user}\n", check=True)
    with host.spawn(["/usr/sbin/atd", "-f"]):
        settled(host, user)


def sudo(host: Host, user: str) -> None:
    host.run(["/usr/bin/sudo", "-n", "-u", user, "/bin/touch", f"/tmp/service-{user}"])


def su_with_a_shell(host: Host, user: str) -> None:
    host.run(["/bin/su", "-s", "/bin/sh", user, "-c", f"touch /tmp/service-{user}"])


def su_that_keeps_the_environment(host: Host, user: str) -> None:
    env = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    host.run(["/bin/su", "-m", user, "-c", f"touch /tmp/service-{user}"], env=env)


def settled(host: Host, user: str) -> None:
    """Until the job ran or was refused."""
    canary, mark = host.root / f"tmp/service-{user}", len(host.syslog())
    wait_for(lambda: canary.exists() or any("refused" in line for line in host.syslog()[mark:]), 15, "neither")


SERVICES = {
    "cron": cron,
    "atd": at,
    "sudo": sudo,
    "su": su_with_a_shell,
    "su (kept environment)": su_that_keeps_the_environment,
}


@pytest.mark.parametrize("service", SERVICES)
def test_services_that_do_not_lead_to_the_jail(both: Host, service: str) -> None:
    canaries = [both.root / f"tmp/service-{user}" for user in (PLAIN, JAILED)]
    SERVICES[service](both, PLAIN)
    assert canaries[0].exists()
    mark = len(both.syslog())
    SERVICES[service](both, JAILED)
    line = both.wait_syslog(f"refused user={JAILED}", after=mark)
    assert f"service={service.split(' ')[0]}" in line and "code=login." in line
    assert not canaries[1].exists()
    assert [
        process for process in both.processes() if both.ids(JAILED)[0] in process.uids and process.name == "touch"
    ] == []
    canaries[0].unlink()


@pytest.mark.parametrize("include", ["common-session", "common-session-noninteractive"])
def test_an_ftp_server_with_debians_sessions(both: Host, include: str) -> None:
    (both.root / "etc/pam.d/ftp-probe").write_text(f"account required pam_permit.so\n@include {include}\n")
    (both.root / "var/tmp/pam_client.py").write_bytes(PAM_CLIENT.read_bytes())
    client = ["/usr/bin/python3", "-I", "-S", "/var/tmp/pam_client.py", "ftp-probe"]
    assert both.run([*client, PLAIN]).stdout == "0\n"
    mark = len(both.syslog())
    assert both.run([*client, JAILED]).stdout.strip() in ("4", "6", "14")
    assert "service=ftp-probe" in both.wait_syslog(f"refused user={JAILED}", after=mark)


# -- with a part of the product gone, a jailed user is refused and the others are not affected


@pytest.fixture
def damaged(fresh_host: Host) -> Host:
    fresh_host.jailctl("setup", "--no-login-test")
    make_plain(fresh_host, PLAIN)
    make_jailed(fresh_host, JAILED)
    assert fresh_host.ssh(JAILED, "echo in").stdout == "in\n"
    return fresh_host


def remove_hook(host: Host) -> None:
    (host.root / "opt/jailctl/libexec/hook").unlink()


def replace_hook(host: Host, script: str) -> None:
    hook = host.root / "opt/jailctl/libexec/hook"
    hook.unlink()  # one that waits for the end of a jail's linger time may still run
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)


def break_hook(host: Host) -> None:
    """It dies of a signal."""
    replace_hook(host, "kill -SEGV $$")


def remove_pam_line(host: Host) -> None:
    for name in ("common-session", "common-session-noninteractive"):
        path = host.root / "etc/pam.d" / name
        ours = ("/opt/jailctl/", "notingroup jailed")
        path.write_text("".join(line for line in path.read_text().splitlines(True) if not any(o in line for o in ours)))


def remove_records(host: Host) -> None:
    """As after a crash that took /run along, with the start recipe gone as well."""
    uid = host.ids(JAILED)[0]
    host.run(["/bin/rm", "-rf", f"/run/jailctl/jails/{uid}", f"/run/jailctl/names/{JAILED}"], check=True)
    host.run(["/bin/rm", "-rf", f"/var/lib/jailctl/jails/{JAILED}"], check=True)


def remove_images(host: Host) -> None:
    host.jailctl("stop", JAILED)
    host.run(["/bin/rm", "-rf", "/var/lib/jailctl/images"], check=True)


def remove_door(host: Host) -> None:
    (host.root / "opt/jailctl/libexec/door").unlink()


@pytest.mark.parametrize(
    "damage",
    [remove_hook, break_hook, remove_pam_line, remove_records, remove_images, remove_door],
    ids=lambda f: f.__name__,
)
def test_a_damaged_installation_refuses(damaged: Host, damage: object) -> None:
    assert callable(damage)
    damage(damaged)
    for way in (damaged.ssh(JAILED, "echo in"), damaged.run(["/bin/su", "-", JAILED, "-c", "echo in"])):
        assert way.returncode != 0 and "in\n" not in way.stdout
        assert "Traceback" not in way.stdout + way.stderr and "/opt/jailctl/venv" not in way.stdout + way.stderr
    assert damaged.sftp(JAILED, "ls\n").returncode != 0
    uid = damaged.ids(JAILED)[0]
    wait_for(
        lambda: {p.name for p in damaged.processes() if uid in p.uids} <= {"keeper"}, 5, "somebody of hers is left"
    )
    assert damaged.ssh(PLAIN, "echo in").stdout == "in\n"
    assert damaged.run(["/bin/su", "-", PLAIN, "-c", "echo in"]).stdout == "in\n"


def test_nothing_of_ours_runs_for_others(damaged: Host) -> None:
    ran = damaged.root / "run/hook-ran"
    ran.touch()
    replace_hook(damaged, "echo $PAM_USER >> /run/hook-ran; exit 1")
    assert damaged.ssh(PLAIN, "echo in").stdout == "in\n"
    assert damaged.run(["/bin/su", "-", PLAIN, "-c", "true"]).returncode == 0
    assert PLAIN not in ran.read_text().split()  # an earlier session of JAILED may be closing just now
    assert damaged.ssh(JAILED, "echo in").returncode != 0
    assert set(ran.read_text().split()) == {JAILED}
