"""Lines in the system log that say what did not happen: by line breaks and fields in what we write down, or by writing
to the log oneself.

sudo CVE-2023-28486 (sudo#256), shadow#959: names and commands that were logged as they came. Attack A135, as far as our
own programs log: door, hook and starter, by syslog. A record must be one line, and say what it was about.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

import pytest

from ..host import Host
from . import client, pam
from .world import DULL, Pair, logged, pair

pytestmark = pytest.mark.host
USER = "loglines"
RECORD = re.compile(
    r"<8[34]>(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8} )?jailctl-(?:hook|door|start)\[\d+\]: "
    r"(?:refused user=[!-~]+(?: service=[!-~]*)?(?: rhost=[!-~]*)?(?: uid=\d+)? )?code=[a-z.-]+ [ -~]*"
)
NAMES = [
    "x\n<84>jailctl-hook[1]: refused user=root service=sshd rhost= code=login.disabled",
    "x\r\nx", "x y", "x=y", "x,y", "x\ty", "x\x1b]0;title\x07", "x\x9b31m", "x\\x0a", "x\x7f", "Ünïcode", "x%n%s%s",
    "x" * 5000, " x", "-x", "--root=/", "../../etc", "$(id)", "`id`", ";id", "*", "x\u202eresu", "{{7*7}}",
]  # fmt: skip


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    yield pair(host, USER)


def unescape(text: str) -> bytes:
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), text.encode())


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a135_a117_names_that_reach_the_hook(people: Pair, name: str) -> None:
    """As pam_exec would call it, had a name service such a user in the group."""
    host, mark = people.host, len(people.host.syslog())
    environment = {"PAM_TYPE": "open_session", "PAM_SERVICE": "sshd", "PAM_USER": name}
    done = host.run(["/opt/jailctl/libexec/hook"], env=environment)
    assert (done.returncode, done.stdout) == (1, f"{DULL}\n")
    (line,) = logged(host, mark, "jailctl-hook")
    assert RECORD.fullmatch(line), line
    assert "code=login.bad-name" in line
    written = unescape(line.split("user=")[1].split(" ")[0])
    assert name.encode().startswith(written) and (written == name.encode() or len(name) > 40)


def test_a135_what_pam_itself_says_of_such_a_name(people: Pair) -> None:
    """Who is in no name service is in no group, so the hook is not asked. (Debian's own modules write the name down as
    it is; the daemon of the log has to escape it.)"""
    host, mark = people.host, len(people.host.syslog())
    pam.session(host, "cron", "nobodyhere")
    assert logged(host, mark, "jailctl-", 0) == []


@pytest.mark.parametrize("item", ["rhost", "tty", "ruser"])
def test_a135_items_that_come_from_the_net(people: Pair, item: str) -> None:
    host, mark = people.host, len(people.host.syslog())
    value = f"a\n<84>jailctl-hook[1]: refused user={item}"
    assert pam.session(host, "ftp", USER, items={item: value}).opened != pam.SUCCESS
    (line,) = logged(host, mark, "jailctl-hook")
    assert RECORD.fullmatch(line) and f"user={USER} service=ftp" in line
    if item == "rhost":
        assert value.encode() == unescape(line.split("rhost=")[1].split(" ")[0])


def test_a135_a_service_with_a_name_like_a_record(people: Pair) -> None:
    host, mark = people.host, len(people.host.syslog())
    assert pam.session(host, "a code=login.ok user=root", USER).opened != pam.SUCCESS
    (line,) = logged(host, mark, "jailctl-hook")
    assert RECORD.fullmatch(line) and r"service=a\x20code\x3dlogin.ok\x20user\x3droot " in line


@pytest.mark.parametrize("name", ["a\nb", "a b", "$(id)", "-oProxyCommand=x", "a\x1b[2J", "x" * 3000])
def test_a135_user_names_over_ssh(people: Pair, name: str) -> None:
    """sshd refuses them; none of our programs has a say, and none of its lines is one of ours."""
    host, mark = people.host, len(people.host.syslog())
    done = host.run(host.ssh_argv(USER, "true", opts=["-o", "BatchMode=yes", "-l", name]))
    assert done.returncode == 255
    with client.connection(host, USER) as transport:
        command = b"true\n<84>jailctl-door[1]: refused user=root code=login.x\r\x1b[2J"
        assert client.ask(transport, command).status in (0, 127, 1, 2)
    assert logged(host, mark, "jailctl-", 0) == []


def test_a135_what_the_door_is_given_is_not_in_its_line(people: Pair) -> None:
    """Its line has the record's name, the kernel's uid and its own words: not argv, not the command, not a variable."""
    host, mark, word = people.host, len(people.host.syslog()), secrets.token_hex(8)
    for argv in (["-c", f"{word}\n{word}"], [word], [word, word, word], ["-c", "/opt/jailctl/libexec/door"]):
        environment = {"USER": word, "LOGNAME": word, "SSH_ORIGINAL_COMMAND": f"{word}\n<84>x", "SSH_TTY": word}
        assert host.run(["/opt/jailctl/libexec/door", *argv], user=USER, env=environment).returncode == 1
    lines = logged(host, mark, "jailctl-door", 4)
    assert all(RECORD.fullmatch(line) and word not in line for line in lines), lines


FORGE = """
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect("/dev/log")
s.send(sys.argv[1].encode())
"""


def test_a135_the_jail_has_no_way_to_the_log(people: Pair) -> None:
    host = people.host
    for user, comes in ((people.free, True), (USER, False)):
        mark, word = len(host.syslog()), secrets.token_hex(8)
        script = people.give(user, "forge.py", FORGE)
        line = f"<84>jailctl-hook[1]: refused user={word} service=sshd rhost= code=login.disabled"
        done = host.ssh(user, f"python3 {script} '{line}'; logger '{word}'; echo '{line}' > /dev/kmsg")
        if comes:
            assert logged(host, mark, word, 2)[0] == line  # (the kernel's log is root's, for everybody)
        else:
            assert "FileNotFoundError" in done.stderr
            assert logged(host, mark, word, 0) == []
