"""Template shell, seen by its user over ssh: the host's programs work, and the host's secrets are not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.host import Host


@pytest.fixture(scope="module")
def shell(host: Host) -> Iterator[Host]:
    host.jailctl("add-user", "tess", "--key", host.key("tess") + ".pub")
    yield host
    host.jailctl("remove-user", "tess")


PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
COMMIT = "git init -q r && cd r && echo a > a && git add a && git -c user.name=t -c user.email=t@t commit -qm m"
SSL = "import ssl, sqlite3; print(ssl.create_default_context().cert_store_stats()['x509'] > 50)"
WORKS = {
    "bash": ("bash -lc 'echo $PATH $HOME; umask'", f"{PATH} /home/tess\n0022\n"),
    "names": ("id -un; id -gn; hostname; getent hosts tess | wc -l", "tess\ntess\ntess\n1\n"),
    "owners": ("ls -ld /usr/bin/env | cut -d' ' -f1,3,4", "-rwxr-xr-x root root\n"),
    "merged": ("readlink /bin /lib /sbin", "usr/bin\nusr/lib\nusr/sbin\n"),
    "locale": ("LC_ALL=C.UTF-8 locale charmap", "UTF-8\n"),
    "time": ('test -n "$(date +%Z)" && ls -d /etc/localtime', "/etc/localtime\n"),
    "python": (f'python3 -c "{SSL}"', "True\n"),
    "perl": ("perl -MPOSIX -e 'print strftime(\"%Y\", gmtime 0)'", "1970"),
    "git": (f"{COMMIT} && git log --format=%s", "m\n"),
    "vim": ("echo a > v && vim -es -c 's/a/b/' -c wq v; cat v", "b\n"),
    "less": ("echo hi | less | cat", "hi\n"),
    "man": ("man -w ls && man ls | grep -c 'list directory contents'", "/usr/share/man/man1/ls.1.gz\n1\n"),
    "terminfo": ("tput -T xterm-256color colors", "256\n"),
    # screen -dm returns before its server listens
    "screen": (
        "screen -dm sleep 30; for i in $(seq 99); do screen -ls | grep -c Detached && exit; sleep 0.1; done | tail -n1",
        "1\n",
    ),
    "tmux": ("tmux new -d 'sleep 9'; tmux ls | grep -c windows", "1\n"),
    "rsync": ("mkdir -p s && echo a > s/a && rsync -a s/ d/ && cat d/a", "a\n"),
    "scratch": ("for d in /tmp /var/tmp /dev/shm; do echo x > $d/f && cat $d/f; done", "x\nx\nx\n"),
    "links": ("grep -c ' / ' /etc/mtab; grep -c ^ID= /etc/os-release; readlink /var/run", "1\n1\n/run\n"),
}


@pytest.mark.parametrize("what", WORKS)
def test_the_hosts_programs_work(shell: Host, what: str) -> None:
    command, expected = WORKS[what]
    done = shell.ssh("tess", command)
    assert (done.stdout, done.returncode) == (expected, 0), done.stderr


HIDDEN = {
    "there": ["/etc/shadow", "/etc/ssh", "/etc/pam.d", "/etc/jailctl", "/opt/jailctl", "/run/jailctl"],
    "perhaps": ["/etc/gshadow", "/etc/shadow-", "/etc/sudoers", "/etc/ssl/private", "/etc/machine-id", "/boot", "/sys"],
}


@pytest.mark.parametrize("path", [*HIDDEN["there"], *HIDDEN["perhaps"]])
def test_a197_what_is_the_hosts_own_is_not_there(shell: Host, path: str) -> None:
    if path in HIDDEN["there"]:
        assert (shell.root / path.lstrip("/")).exists(), "the host has it"
    done = shell.ssh("tess", f"ls -d {path}")
    assert done.returncode == 2
    assert "No such file" in done.stderr


def test_a197_the_jail_knows_three_accounts(shell: Host) -> None:
    assert shell.ssh("tess", "getent passwd | cut -d: -f1").stdout == "root\nnobody\ntess\n"
    groups = shell.ssh("tess", "getent group | cut -d: -f1").stdout.split()
    assert groups == ["root", "tty", "mail", "utmp", "staff", "nogroup", "tess"]
    assert len((shell.root / "etc/passwd").read_text().splitlines()) > 10


def test_nothing_of_the_root_can_be_written(shell: Host) -> None:
    paths = "/x /etc/x /etc/passwd /usr/x /home/x /run/x /dev/x /var/x"
    done = shell.ssh("tess", f"for f in {paths}; do (echo x > $f) 2>/dev/null && echo wrote $f; done; true")
    assert (done.stdout, done.returncode) == ("", 0)
