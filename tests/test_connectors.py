"""Connectors with the real servers: MariaDB, PostgreSQL, dnsmasq, a syslog socket. Each lets its service in, as the
right user, and is nothing without it.

Attacks A051 (sockets of services), A135 (log forging), A147 (one tenant floods the log).
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .connected import ADDRESS, MYSQL, NAME, POSTGRES, WORKER, Connected, connected
from .host import wait_for

pytestmark = pytest.mark.host
MARIADB = "mariadb --batch --skip-column-names"
LOOK = f"getent ahosts {NAME} | cut -d' ' -f1 | sort -u"
"""Not ahostsv4, which leaves an address family out where only loopback devices are (AI_ADDRCONFIG), as on this host."""


@pytest.fixture(scope="module")
def net() -> Iterator[Connected]:
    with connected() as made:
        yield made


def doctor(net: Connected, check: str) -> dict[str, Any]:
    done = net.host.jailctl("--json", "doctor", check, check=False)
    (found,) = json.loads(done.stdout)["checks"]
    assert isinstance(found, dict)
    return found


# -- servers


def test_without_their_servers_a_jail_starts_all_the_same(net: Connected) -> None:
    """Its programs see that there is no such file, and doctor says what is missing."""
    net.host.run(["/bin/rm", "-rf", MYSQL, POSTGRES])
    assert "No such file" in net.says("ann", f"ls {MYSQL}/mysqld.sock {POSTGRES}/.s.PGSQL.5432")
    said = net.says("ann", f"{MARIADB} -e 'select 1'; psql -d postgres -c 'select 1'")
    assert said.count("No such file") + said.count("(2)") == 2, said
    for check in ("connectors.mysql", "connectors.postgresql"):
        found = doctor(net, check)
        assert found["state"] == "warn" and "No such file" in found["findings"][0]["seen"]
        assert found["findings"][0]["mend"].startswith("service ")
    net.host.jailctl("stop", "ann")


def test_a051_mysql_knows_who_comes(net: Connected) -> None:
    server = net.mysql()
    assert net.says("ann", f"{MARIADB} -e 'select current_user()'") == "ann@localhost\n"
    for other in ("ben", "root", "mysql"):
        assert "Access denied" in net.says("ann", f"{MARIADB} -u {other} -e 'select 1'")
    assert "Can't connect" in net.says("cut", f"{MARIADB} -e 'select 1'"), "no connector, no server"
    # what else is there: nothing to be read, nothing to be changed
    tries = f"cat {MYSQL}/*.pid; touch {MYSQL}/x; rm -f {MYSQL}/mysqld.sock; chmod 0 {MYSQL}; ls {MYSQL}"
    inside = net.says("ann", tries)
    assert inside.count("Permission denied") == 1 and inside.count("Read-only file system") == 3
    assert inside.splitlines()[-2:] == ["mysqld.pid", "mysqld.sock"]
    assert doctor(net, "connectors.mysql")["state"] == "ok"
    server.signal(signal.SIGTERM)
    server.wait(20)
    assert "No such file" in net.says("ann", f"ls {MYSQL}/mysqld.sock")
    assert doctor(net, "connectors.mysql")["findings"][0]["seen"].startswith("no server listens")
    again = net.mysql()
    assert net.says("ann", f"{MARIADB} -e 'select current_user()'") == "ann@localhost\n", "the same jail, a new socket"
    again.close()


def test_a051_postgresql_knows_who_comes(net: Connected) -> None:
    with net.postgresql():
        net.host.jailctl("stop", "ann")
        who = "psql -d postgres -Atc 'select current_user'"
        assert net.says("ann", who) == "ann\n"
        for other in ("ben", "postgres"):
            assert "Peer authentication failed" in net.says("ann", f"{who} -U {other}")
        assert "No such file" in net.says("cut", who), "no connector, no server"
        lock = f"{POSTGRES}/.s.PGSQL.5432.lock"
        assert "Permission denied" in net.says("ann", f"cat {lock}")
        assert "Read-only file system" in net.says("ann", f"touch {POSTGRES}/x")
        assert doctor(net, "connectors.postgresql")["state"] == "ok"


def test_a_directory_that_was_made_anew_is_seen_by_doctor(net: Connected) -> None:
    """As for a server whose unit has it as RuntimeDirectory."""
    net.says("ann", "true")
    server = net.mysql()
    old = f"{MYSQL}.old"
    net.shell(f"mv {MYSQL} {old}; install -d -o mysql -g mysql {MYSQL}; mv {old}/* {MYSQL}/; rmdir {old}")
    assert "Can't connect" in net.says("ann", f"{MARIADB} -e 'select 1'")
    (finding,) = doctor(net, "connectors.mysql")["findings"]
    assert "ann" in finding["seen"] and finding["mend"] == "jailctl stop ann"
    net.shell(finding["mend"])
    assert net.says("ann", f"{MARIADB} -e 'select current_user()'") == "ann@localhost\n"
    assert doctor(net, "connectors.mysql")["state"] == "ok"
    server.close()


# -- names


def test_names_resolve_and_nothing_else_gets_out(net: Connected) -> None:
    assert net.host.run(["/bin/sh", "-c", LOOK]).stdout == f"{ADDRESS}\n"
    assert net.says("ann", LOOK) == f"{ADDRESS}\n"
    assert net.says("ann", LOOK.replace(NAME, "db")) == f"{ADDRESS}\n", "the host's search list"
    assert net.says("cut", LOOK) == ""
    assert net.says("ann", "cat /etc/resolv.conf") == "nameserver 127.0.0.1\nsearch example\n"
    assert net.says("cut", "cat /etc/resolv.conf") == ""
    code = (
        "import socket\n"
        "for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n"
        "    for where in (('127.0.0.1', 22), ('192.0.2.7', 53), ('10.0.0.1', 53), ('8.8.8.8', 53)):\n"
        "        try:\n"
        "            s = socket.socket(socket.AF_INET, kind); s.settimeout(2); s.connect(where)\n"
        "            s.send(b'x'); s.recv(1)\n"
        "            print('got', kind, where)\n"
        "        except OSError as error:\n"
        "            print(error.errno)\n"
    )
    (net.host.root / "home/ann/out.py").write_text(code)
    assert set(net.says("ann", "python3 out.py").split()) == {"111", "101"}, "ECONNREFUSED, ENETUNREACH"
    (net.host.root / "home/ann/out.py").unlink()


def test_a_long_answer_comes_by_tcp(net: Connected) -> None:
    code = (
        "import socket\n"
        "q = b'\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\4long\\7example\\0\\0\\x10\\0\\1'\n"
        "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(('127.0.0.1', 53)); u.send(q)\n"
        "a = u.recv(65535)\n"
        "s = socket.create_connection(('127.0.0.1', 53)); s.sendall(len(q).to_bytes(2, 'big') + q)\n"
        "f = s.makefile('rb'); b = f.read(int.from_bytes(f.read(2), 'big'))\n"
        "print(a[2] & 2, len(a) <= 512, b[2] & 2, b.count(b'x' * 250), a[:2] == b[:2] == q[:2])\n"
    )
    assert net.says("ann", f"python3 -c \"{code}\"") == "2 True 0 12 True\n"


def test_a_resolver_that_changes_is_followed(net: Connected) -> None:
    net.resolve("192.0.2.8", "127.0.0.2")
    try:
        wait_for(lambda: net.says("ann", LOOK) == "192.0.2.8\n", 10, "the new resolver is asked")
        assert doctor(net, "connectors.dns")["state"] == "ok"
        assert net.resolver is not None
        net.resolver.close()
        assert net.says("ann", LOOK) == ""
        found = doctor(net, "connectors.dns")
        assert found["state"] == "fail" and "127.0.0.2 does not answer" in found["findings"][0]["seen"]
    finally:
        net.resolve()
    wait_for(lambda: net.says("ann", LOOK) == f"{ADDRESS}\n", 10, "the old one again")


def test_with_the_hosts_network_names_are_the_hosts(net: Connected) -> None:
    net.template("connected-host", ["dns"], network="host")
    net.user("guest", "connected-host")
    assert net.says("guest", f"{LOOK}; cat /etc/resolv.conf") == f"{ADDRESS}\nnameserver 127.0.0.1\nsearch example\n"
    assert "guest" not in net.shell("jailctl doctor connectors.relay")
    net.host.jailctl("remove-user", "guest")


# -- the log


def test_a_line_has_the_jails_name(net: Connected) -> None:
    assert "No such file" in net.says("cut", "ls /dev/log")
    assert net.says("ann", "logger -t prog -p local3.info 'a first line'") == ""
    assert net.host.wait_syslog("a first line").endswith(" jailctl/ann: prog: a first line")
    assert net.host.syslog("a first line")[0].startswith("<158>")
    assert net.says("ben", "python3 -c 'import syslog; syslog.openlog(\"app\"); syslog.syslog(\"from ben\")'") == ""
    assert net.host.wait_syslog("from ben").endswith(" jailctl/ben: app: from ben")


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(net: Connected) -> None:
    assert net.says("ann", "logger one") == ""
    parent, worker = net.served()
    os.kill(worker.pid, signal.SIGSTOP)
    assert net.says("ann", "logger while it stands still") == ""
    os.kill(worker.pid, signal.SIGKILL)
    net.host.wait_syslog("jailctl/ann: ann: while it stands still")
    again, after = net.served()
    assert again.pid == parent.pid and after.pid != worker.pid
    assert net.host.wait_syslog("jailctl-relay: the worker ended")
    assert net.says("ann", LOOK) == f"{ADDRESS}\n"
    found = doctor(net, "connectors.relay")
    assert found["state"] == "warn" and "anew 1 time" in found["findings"][0]["seen"]


def test_a_host_log_that_is_restarted(net: Connected) -> None:
    assert net.says("ann", "logger before the restart") == ""
    net.host.wait_syslog("before the restart")
    with net.host.without_syslog():
        found = doctor(net, "connectors.syslog")
        assert found["state"] == "warn" and found["findings"][0]["mend"]
        began = time.monotonic()
        assert net.says("ann", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do logger lost; done") == ""
        assert time.monotonic() - began < 20, "nobody waits for a log that is not there"
    assert "lines dropped" in net.host.wait_syslog("jailctl-relay/ann: ", timeout=20)
    assert net.says("ann", "logger here again") == ""
    net.host.wait_syslog("jailctl/ann: ann: here again")
    assert doctor(net, "connectors.syslog")["state"] == "ok"
    before = len(net.host.syslog("dropped"))
    for number in range(3):  # at once anew, as by a restart: nothing is lost
        with net.host.without_syslog():
            pass
        assert net.says("ann", f"logger number {number}") == ""
        net.host.wait_syslog(f"jailctl/ann: ann: number {number}")
    assert len(net.host.syslog("dropped")) == before


# -- the relay


def test_it_has_no_rights(net: Connected) -> None:
    net.says("ann", "true")
    parent, worker = net.served()
    assert worker.uids == (WORKER,) * 4 and worker.parent == parent.pid
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines() if ":\t" in line
    )
    for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[field], 16) == 0, field
    assert (status["NoNewPrivs"], status["Seccomp"], status["Groups"].strip()) == ("1", "2", str(WORKER))
    assert os.listdir(f"/proc/{worker.pid}/root") == []
    assert os.listdir(f"/proc/{worker.pid}/cwd") == []
    kinds = {os.readlink(f"/proc/{worker.pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{worker.pid}/fd")}
    assert kinds == {"socket", "anon_inode", "/dev/null"}, "no file, no directory, no pipe"


def test_it_has_left_the_session_that_started_it(net: Connected) -> None:
    net.says("ann", "true")
    parent, _ = net.served()
    text = Path(f"/proc/{parent.pid}/cgroup").read_text()
    assert "jailctl/relay" in text
    assert parent.parent == net.host.init
    fds = {os.readlink(f"/proc/{parent.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{parent.pid}/fd")}
    assert not [name for name in fds if name.startswith("/") and name != "/dev/null"]
    environment = Path(f"/proc/{parent.pid}/environ").read_bytes()
    assert environment == b"PATH=/usr/sbin:/usr/bin:/sbin:/bin\0"


def test_it_is_there_while_it_is_needed(net: Connected) -> None:
    for user in ("ann", "ben", "cut"):
        net.host.jailctl("stop", user)
    wait_for(lambda: net.relay() == [], 5, "it ends with the last jail")
    assert not (net.host.root / "run/jailctl/relay/socket").exists()
    net.says("cut", "true")
    assert net.relay() == [], "a jail without connectors needs none"
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda user: net.says(user, LOOK), ("ann", "ben"))) == [f"{ADDRESS}\n"] * 2
    parent, _ = net.served()
    net.host.jailctl("stop", "ann")
    assert net.says("ben", LOOK) == f"{ADDRESS}\n"
    assert net.served()[0].pid == parent.pid
    for _ in range(5):  # the last ends while the next begins
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            pool.submit(net.host.jailctl, "stop", "ben")
            assert pool.submit(net.says, "ann", LOOK).result() == f"{ADDRESS}\n"
        net.host.jailctl("start", "ben")
        net.host.jailctl("stop", "ann")


def test_jails_that_lost_it_say_so_and_nobody_waits(net: Connected) -> None:
    """Its parent killed: sockets close, loggers go on, lookups fail at once, doctor says what mends it."""
    net.says("ann", "true")
    parent, worker = net.served()
    os.kill(parent.pid, signal.SIGKILL)
    wait_for(lambda: net.relay() == [], 5, "the worker ends with its parent")
    began = time.monotonic()
    assert net.says("ann", f"for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do logger x; done; {LOOK}") == ""
    assert time.monotonic() - began < 20
    found = doctor(net, "connectors.relay")
    mends = [finding["mend"] for finding in found["findings"]]
    assert found["state"] == "fail" and "jailctl stop ann" in mends
    for mend in mends:
        net.shell(mend)
    assert net.says("ann", LOOK) == f"{ADDRESS}\n"
    assert doctor(net, "connectors.relay")["state"] == "ok"


def test_a_relay_that_cannot_be_started_costs_no_login(net: Connected) -> None:
    for user in ("ann", "ben"):
        net.host.jailctl("stop", user)
    wait_for(lambda: net.relay() == [], 5)
    place = net.host.root / "run/jailctl/relay"
    net.shell("rm -r /run/jailctl/relay; touch /run/jailctl/relay")
    try:
        assert net.says("ann", "echo in") == "in\n"
        assert "the connectors of ann are not served" in net.host.wait_syslog("are not served")
        assert doctor(net, "connectors.relay")["state"] == "fail"
    finally:
        place.unlink()
        net.host.jailctl("stop", "ann")
    assert net.says("ann", LOOK) == f"{ADDRESS}\n"


@pytest.mark.slow
def test_two_thousand_jails_on_one(net: Connected) -> None:
    """Every one is served, also by the worker that comes after one that was killed, and its memory is bounded."""
    count = 2000
    script = Path(__file__).with_name("many_connected.py").read_text()
    with net.host.spawn(["/usr/bin/python3", "-I", "-S", "-c", script, str(count)]) as many:
        assert many.stdout and many.stdin and many.stdout.readline().startswith(b'{"registered"')
        for turn in ("first", "second"):
            many.stdin.write(f"{turn} line\n".encode())
            assert many.stdout.readline() == b"{}\n"
            wait_for(lambda: len(net.host.syslog(f": {turn} line")) == count, 30, f"the {turn} lines")  # noqa: B023
            assert len({line.partition("/many-")[2] for line in net.host.syslog(f": {turn} line")}) == count
            parent, worker = net.served()
            for process in (parent, worker):
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                assert pages * os.sysconf("SC_PAGE_SIZE") < 32 << 20
            os.kill(worker.pid, signal.SIGKILL)
            wait_for(lambda: net.relay()[-1].pid not in (parent.pid, worker.pid), 5, "another")  # noqa: B023
        for user in ("ann", "ben"):
            net.host.jailctl("stop", user)
        many.stdin.close()
        many.wait(10)
    wait_for(lambda: net.relay() == [], 5, "it ends with the last")
