"""Template minimal, seen by its user over ssh: BusyBox under all its names, and no program of the host."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.host import Host

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def minimal(host: Host) -> Iterator[Host]:
    host.jailctl("update", "minimal", timeout=120)  # with its smoke tests
    host.jailctl("add-user", "minna", "--template", "minimal", "--key", host.key("minna") + ".pub")
    yield host
    host.jailctl("remove-user", "minna")


WORKS = {
    "shell": ("echo $0 $((6 * 7)); umask", "sh 42\n0022\n"),
    "names": ("id -un; id -gn; hostname; whoami", "minna\nminna\nminna\nminna\n"),
    "home": ("echo hi > f && cat f && pwd && rm f", "hi\n/home/minna\n"),
    "pipes": ("seq 5 | sort -rn | head -2 | tr '\\n' ' '", "5 4 "),
    "awk": ("echo a b | awk '{ print $2 }'", "b\n"),
    "sed": ("echo a | sed s/a/b/", "b\n"),
    "find": ("mkdir -p d/e && find d -type d | sort && rm -r d", "d\nd/e\n"),
    "tar": ("echo x > a && tar czf a.tgz a && rm a && tar xzf a.tgz && cat a && rm a a.tgz", "x\n"),
    "processes": ("ps | grep -c '[k]eeper'; cat /proc/1/comm", "1\nkeeper\n"),
    "mounts": ("grep -c ' /tmp ' /etc/mtab; df / | grep -c /$", "1\n1\n"),
    "scratch": ("for d in /tmp /var/tmp /dev/shm; do echo x > $d/f && cat $d/f; done", "x\nx\nx\n"),
    "sums": ("printf x | sha256sum | cut -c1-8", "2d711642\n"),
}  # fmt: skip


@pytest.mark.parametrize("what", WORKS)
def test_busybox_works(minimal: Host, what: str) -> None:
    command, expected = WORKS[what]
    done = minimal.ssh("minna", command)
    assert (done.stdout, done.returncode) == (expected, 0), done.stderr


def test_an_interactive_login_on_a_terminal(minimal: Host) -> None:
    with minimal.ssh_terminal("minna") as terminal:
        terminal.expect(r"\$ ")
        terminal.sendline("vi note")
        terminal.expect("note")
        terminal.send("ihello")
        terminal.expect("hello")
        terminal.send("\x1b")
        time.sleep(0.3)  # an escape key is one when nothing follows at once
        terminal.sendline(":wq")
        terminal.expect(r"\$ ")
        terminal.sendline("echo $(cat note) $((1000 + 1))")
        terminal.expect("hello 1001")


def test_every_program_is_busybox(minimal: Host) -> None:
    done = minimal.ssh("minna", "for f in /usr/bin/*; do readlink -f $f; done | sort -u; ls /usr")
    assert done.stdout.splitlines()[0] == "/usr/bin/busybox" and "/usr/sbin" not in done.stdout
    for path in ("/usr/bin/python3", "/usr/bin/git", "/usr/share/doc", "/usr/lib/openssh/sftp-server"):
        assert (minimal.root / path.lstrip("/")).exists(), "the host has it"
        assert minimal.ssh("minna", f"ls -d {path}").returncode == 1


def test_nothing_of_the_root_can_be_written(minimal: Host) -> None:
    paths = "/x /etc/x /etc/passwd /usr/x /usr/bin/busybox /home/x /run/x /dev/x /var/x"
    done = minimal.ssh("minna", f"for f in {paths}; do (echo x > $f) 2>/dev/null && echo wrote $f; done; true")
    assert (done.stdout, done.returncode) == ("", 0)
