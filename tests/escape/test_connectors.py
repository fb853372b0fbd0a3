"""Ways through the connectors: out of a jail, into another jail, and at the relay that serves them all.

Attacks A011, A016, A044, A048, A051, A135, A147.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..connected import ADDRESS, NAME, Connected, connected
from ..host import wait_for
from ..host.observe import Seen
from ..ways.people import PLAIN, make_plain

pytestmark = pytest.mark.host
PYTHON = "/usr/bin/python3 -I -S -c"
SOCKET = "/run/jailctl/relay/socket"


@pytest.fixture(scope="module")
def net() -> Iterator[Connected]:
    with connected() as made:
        make_plain(made.host)
        yield made


def inside(net: Connected, user: str, code: str) -> str:
    """What a Python program says that the user runs in her jail."""
    (net.host.root / f"home/{user}/code.py").write_text(code)
    return net.says(user, "/usr/bin/python3 -I -S ~/code.py", timeout=60)


def keeper(net: Connected, user: str) -> Seen:
    uid = net.host.ids(user)[0]
    return next(p for p in net.host.processes() if p.name == "keeper" and uid in p.uids)


CONNECT = """
import errno, socket
for path, kind in {paths!r}:
    s = socket.socket(socket.AF_UNIX, kind)
    try:
        s.connect(path)
        print("connected", repr(path))
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


def test_a048_no_abstract_sockets(net: Connected) -> None:
    """Ours would be everybody's who has the host's network."""
    net.says("ann", "true")
    net.served()
    names = [line.split()[-1] for line in Path(f"/proc/{net.host.init}/net/unix").read_text().splitlines()[1:]]
    assert any(name.endswith("/socket") for name in names), "the relay's is there"
    assert [name for name in names if name.startswith("@") and "jail" in name] == []
    canary = f"\0canary-{secrets.token_hex(8)}"
    listen = f"import socket, time; s = socket.socket(socket.AF_UNIX); s.bind({canary!r}); s.listen()\n"
    listen += "print(1, flush=True); time.sleep(60)"
    with net.host.spawn([*PYTHON.split(), listen]) as service:
        assert service.stdout and service.stdout.read(1) == b"1"
        code = CONNECT.format(paths=[(canary, 1)])
        assert net.host.run([*PYTHON.split(), code], user=PLAIN).stdout.startswith("connected")
        assert inside(net, "ann", code) == "ECONNREFUSED\n"


def test_a051_the_relays_own_socket(net: Connected) -> None:
    """Root's alone: from a jail there is none, and other users get no further than its directory."""
    net.says("ann", "true")
    net.served()
    code = CONNECT.format(paths=[(SOCKET, 5), ("/dev/log", 1), ("/dev/log", 5), ("/dev/log", 2)])
    assert net.host.run([*PYTHON.split(), CONNECT.format(paths=[(SOCKET, 5)])]).stdout.startswith("connected")
    assert net.host.run([*PYTHON.split(), code], user=PLAIN).stdout.splitlines()[0] == "EACCES"
    assert inside(net, "ann", code) == "ENOENT\nEPROTOTYPE\nEPROTOTYPE\nconnected '/dev/log'\n"


def test_a051_the_connectors_sockets_are_all(net: Connected) -> None:
    net.says("ann", "true")
    root, found = f"/proc/{keeper(net, 'ann').pid}/root", []
    for here, directories, names in os.walk(root):
        if here == root:
            directories[:] = set(directories) - {"proc", "usr"}
        found += [f"{here}/{name}"[len(root) :] for name in names if stat.S_ISSOCK(os.lstat(f"{here}/{name}").st_mode)]
    assert found == ["/dev/log"], "no server runs"
    assert net.says("ann", "rm -f /dev/log; ln -s /tmp /dev/x; mv /dev/log /tmp").count("Read-only file system") == 3
    assert net.says("ann", "rmdir /run/mysqld; mv /run/postgresql /tmp; touch /run/x").count("Permission denied") == 3


def test_a011_no_descriptor_of_the_sockets_in_the_jail(net: Connected) -> None:
    net.host.jailctl("stop", "ann")
    assert net.says("ann", "ls -l /proc/self/fd | grep -c socket:") in ("0\n", "1\n", "3\n"), "ssh's own at most"
    assert os.listdir(f"/proc/{keeper(net, 'ann').pid}/fd") == []


def test_a016_descriptors_sent_to_the_log(net: Connected) -> None:
    """They are not taken: the relay holds no more than before."""
    net.says("ann", "logger first")
    net.host.wait_syslog("jailctl/ann: ann: first")
    worker = net.served()[1].pid
    before = len(os.listdir(f"/proc/{worker}/fd"))
    code = (
        "import _socket as s, struct, os\n"
        "c = s.socket(s.AF_UNIX, s.SOCK_DGRAM); c.connect('/dev/log')\n"
        "fds = [os.open('/dev/null', 0) for _ in range(50)]\n"
        "rights = [(s.SOL_SOCKET, s.SCM_RIGHTS, struct.pack('50i', *fds))]\n"
        "for n in range(100): c.sendmsg([b'<13>take these'], rights)\n"
        "print('sent')\n"
    )
    assert inside(net, "ann", code) == "sent\n"
    wait_for(lambda: len(net.host.syslog("take these")) == 100, 10, "all lines came")
    assert len(os.listdir(f"/proc/{worker}/fd")) == before


def test_a044_the_relay_is_out_of_reach(net: Connected) -> None:
    net.says("ann", "true")
    parent, worker = net.served()
    code = (
        "import os\n"
        f"for pid in ({parent.inner_pids[0]}, {worker.inner_pids[0]}, {parent.pid}, {worker.pid}):\n"
        "    try:\n"
        "        os.kill(pid, 9); print('killed', pid, os.getpid())\n"
        "    except OSError as error: print(error.errno)\n"
    )
    assert set(inside(net, "ann", code).split()) <= {"1", "3"}
    plain = net.host.run([*PYTHON.split(), f"import os; os.kill({worker.inner_pids[-1]}, 9)"], user=PLAIN)
    assert "Operation not permitted" in plain.stderr
    assert [p.pid for p in net.relay()] == [parent.pid, worker.pid]


FORGED = [
    "<13>Nov 24 03:00:00 jailctl/ben: I am ben",
    "<13>jailctl/ben: I am ben, too",
    "<13>x\n<13>Nov 24 03:00:00 jailctl/ben: I am ben on a line of my own",
    "<13>x\r\n<86>Nov 24 03:00:00 sshd[1]: Accepted password for root from 192.0.2.1",
    "<86>Nov 24 03:00:00 sshd[1]: Accepted password for root",
    "<0>Nov 24 03:00:00 kernel: panic",
    "<13>Nov 24 03:00:00 \x1b]0;title\x07\x1b[2Jclear",
    "<13>x\x00<13>jailctl/ben: behind a NUL",
    "<13>\u2028jailctl/ben: \u202eright to left",
    "<13>jailctl-relay/ben: 7 lines dropped",
]


def test_a135_forged_lines(net: Connected) -> None:
    """One line each, of the jail that it is from, in no facility that the host's own watchers read."""
    mark = secrets.token_hex(4)
    before = len(net.host.syslog())
    sent = [line + mark for line in FORGED] + ["<13>" + mark + "y" * 60000]
    code = (
        "import _socket as s\n"
        "c = s.socket(s.AF_UNIX, s.SOCK_DGRAM); c.connect('/dev/log')\n"
        f"for line in {sent!r}: c.send(line.encode())\n"
    )
    assert net.says("ann", "true") == "" and inside(net, "ann", code) == ""
    wait_for(lambda: len(net.host.syslog(mark)) == len(sent), 5, lambda: str(net.host.syslog(mark)))
    lines = [line for line in net.host.syslog()[before:] if "jailctl" in line]
    assert len(lines) == len(sent), "no line of its own"
    for line in lines:
        priority, _, rest = line.partition(">")
        assert int(priority[1:]) // 8 == 1 and int(priority[1:]) % 8 >= 2
        assert rest[16:].startswith("jailctl/ann: ") and line.isprintable() and len(line.encode()) <= 2048


def test_a147_a_flood(net: Connected) -> None:
    """Of one: all of the other's lines are there, hers are cut and counted, the relay rests most of the time, and its
    memory is what it was."""
    assert net.says("ann", "logger a") == net.says("ben", "logger b") == ""
    worker = net.served()[1].pid
    before = resident(worker)
    began, used = time.monotonic(), busy(worker)
    flood = (
        "import _socket as s, time\n"
        "c = s.socket(s.AF_UNIX, s.SOCK_DGRAM); c.connect('/dev/log'); c.setblocking(False)\n"
        "end, sent, refused = time.monotonic() + 6, 0, 0\n"
        "while time.monotonic() < end:\n"
        "    try: c.send(b'<13>flood ' + b'x' * 1000); sent += 1\n"
        "    except BlockingIOError: refused += 1\n"
        "print(sent, refused)\n"
    )
    (net.host.root / "home/ann/code.py").write_text(flood)
    with net.host.spawn(net.host.ssh_argv("ann", "/usr/bin/python3 -I -S ~/code.py")) as session:
        for number in range(40):
            assert net.says("ben", f"logger b-{number:02}") == ""
            if session.poll() is not None:
                break
        assert session.wait(30) == 0 and session.stdout
        sent, refused = map(int, session.stdout.read().split())
    share = (busy(worker) - used) / (time.monotonic() - began)
    assert number >= 3 and refused > 10_000
    for each in range(number + 1):
        net.host.wait_syslog(f"jailctl/ben: ben: b-{each:02}")
    wait_for(lambda: dropped(net) + passed(net) == sent, 20, lambda: f"{sent} sent: {passed(net)} + {dropped(net)}")
    assert passed(net) < sent / 2
    assert share < 0.25
    assert resident(worker) - before < 2 << 20


def passed(net: Connected) -> int:
    return len(net.host.syslog("jailctl/ann: flood "))


def dropped(net: Connected) -> int:
    lines = net.host.syslog("jailctl-relay/ann: ")
    return sum(int(line.partition(": ")[2].split()[0]) for line in lines)


def busy(pid: int) -> float:
    """Seconds of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_one_jail_cannot_answer_anothers_question(net: Connected) -> None:
    """It has a port 53 of its own, which is taken; what it sends to any port of its loopback device stays there."""
    code = (
        "import _socket as s\n"
        "for address in ('127.0.0.1', '0.0.0.0', '127.0.0.2'):\n"
        "    for kind in (s.SOCK_DGRAM, s.SOCK_STREAM):\n"
        "        c = s.socket(s.AF_INET, kind)\n"
        "        for option in (s.SO_REUSEADDR, s.SO_REUSEPORT): c.setsockopt(s.SOL_SOCKET, option, 1)\n"
        "        try: c.bind((address, 53)); print('bound')\n"
        "        except OSError as error: print(error.errno)\n"
        "c = s.socket(s.AF_INET, s.SOCK_DGRAM)\n"
        "for port in range(32768, 61000):\n"
        "    try: c.sendto(b'\\0\\0\\x81\\x80\\0\\1\\0\\0\\0\\0\\0\\0', ('127.0.0.1', port))\n"
        "    except OSError: pass\n"
    )
    look = f"getent ahosts {NAME} | cut -d' ' -f1 | sort -u"
    with contextlib.ExitStack() as stack:
        (net.host.root / "home/ann/code.py").write_text(code)
        session = stack.enter_context(net.host.spawn(net.host.ssh_argv("ann", "python3 -I -S ~/code.py")))
        for _ in range(5):
            assert net.says("ben", look) == f"{ADDRESS}\n"
        assert session.wait(30) == 0 and session.stdout
        assert set(session.stdout.read().split()) <= {b"13", b"98"}, "EACCES, EADDRINUSE"
    assert net.says("ann", look) == f"{ADDRESS}\n"
