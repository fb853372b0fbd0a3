"""Secrets of the host and of neighbours in what a jailed user can read.

Attack A197. Every readable byte of the jail is searched, the host's /usr aside (it is readable to every user of the
host, and nothing of the test's is in it); an account's list of names is part of what is not to be known.
"""

from __future__ import annotations

import os
import secrets

import pytest

from .cells import FIRST, PLAIN, SECOND, Cells

pytestmark = pytest.mark.host
CLOSED = ("/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/sudoers", "/etc/passwd-", "/etc/ssh", "/etc/pam.d",
          "/etc/jailctl", "/var/lib/jailctl", "/var/log/wtmp", "/var/log/lastlog", "/run/utmp",
          "/root/.ssh")  # fmt: skip


def plant(cells: Cells) -> tuple[list[str], list[str]]:
    """Words in places where secrets are, open to everybody on the host, so that only the jail's border is in the
    way."""
    host = cells.host
    places = ["/etc/ssh/ssh_host_esc_key", "/etc/esc-shadow", "/root/.pgpass", "/var/lib/jailctl/esc.db", "/boot/esc",
              "/run/esc-token", "/var/log/esc.log", "/var/mail/esc", "/var/spool/cron/esc", f"/home/{SECOND}/.netrc",
              f"/home/{PLAIN}/.netrc", "/etc/jailctl/jails.d/esc.toml", f"/var/lib/jailctl/jails/{SECOND}/esc",
              "/tmp/esc-secret", "/var/tmp/esc-secret", "/dev/shm/esc-secret", "/srv/esc-secret"]  # fmt: skip
    words = []
    for place in places:
        words.append(secrets.token_hex(12))
        path = host.root / place[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"token = {words[-1]}\n")
        path.chmod(0o644)
    return places, words


def test_a197_every_readable_byte(cells: Cells) -> None:
    places, words = plant(cells)
    shadow = (cells.host.root / "etc/shadow").read_text().splitlines()
    words += [line.split(":")[1] for line in shadow if len(line.split(":")[1]) > 12]
    key = cells.host.root / "etc/ssh/ssh_host_ed25519_key"
    words.append(key.read_text().splitlines()[3])
    needles = [word[::-1] for word in words]
    tops = ["/etc", "/root", "/var", "/boot", "/run", "/home", "/tmp", "/dev/shm", "/srv"]
    skip = ["/var/lib/dpkg", "/var/cache"]
    try:
        found = cells.root.ask("search", tops=tops, skip=skip, needles=needles)
        assert set(found["hits"]) >= set(places)
        assert len(cells.plain.ask("search", tops=["/tmp", "/srv"], skip=[], needles=needles)["hits"]) >= 2
        found = cells.first.ask("search", tops=["/"], skip=["/usr", "/proc", "/dev"], needles=needles)
        assert found["hits"] == [] and found["files"] > 60
        found = cells.first.ask("search", tops=["/proc", "/dev/shm"], skip=["/proc/sys"], needles=needles)
        assert found["hits"] == []
        cells.first.ask("write", path="/tmp/own", data=words[0], create=True)
        assert cells.first.ask("search", tops=["/tmp"], skip=[], needles=needles)["hits"] == ["/tmp/own"]
    finally:
        cells.first.says("make", kind="unlink", path="/tmp/own")
        for place in places:
            (cells.host.root / place[1:]).unlink()


def test_a197_names_of_accounts(cells: Cells) -> None:
    passwd = [line.split(":")[0] for line in cells.first.ask("read", path="/etc/passwd").splitlines()]
    assert passwd == ["root", "nobody", FIRST]
    group = [line.split(":") for line in cells.first.ask("read", path="/etc/group").splitlines()]
    assert {line[0] for line in group} <= {"root", "tty", "mail", "utmp", "staff", "nogroup", FIRST}
    assert all(line[3] == "" for line in group)
    for path in CLOSED:
        said = cells.first.says("stats", path=path)
        assert said in ("ENOENT", "EACCES"), path
        assert said == "ENOENT" or path.startswith("/root/")
    assert cells.plain.says("stats", path="/etc/shadow") == ""
    for argv in (
        ["/usr/bin/getent", "passwd"],
        ["/usr/bin/who"],
        ["/usr/bin/last"],
        ["/usr/bin/getent", "passwd", SECOND],
    ):
        if (cells.host.root / argv[0][1:]).exists():
            out = cells.first.ask("run", argv=argv)[1]
            assert SECOND not in out and PLAIN not in out, argv


def test_a197_the_environment(cells: Cells) -> None:
    """Of the session, and what is left on the stack of the keeper, which the tenant may read."""
    agent = next(p for p in cells.host.processes() if p.pid == cells.first.pid)
    assert set(agent.environ) <= {
        "HOME", "USER", "LOGNAME", "SHELL", "PATH", "XDG_RUNTIME_DIR", "SSH_CONNECTION", "SSH_CLIENT", "TERM", "LANG",
        "SSH_ORIGINAL_COMMAND", "PWD", "SHLVL", "OLDPWD", "_", "LC_ALL",
    }  # fmt: skip
    assert cells.first.ask("read", path="/proc/1/environ") == ""
    assert cells.first.ask("read", path="/proc/1/cmdline") == "keeper\0"
    assert os.readlink(f"/proc/{cells.keeper(FIRST).pid}/cwd") == "/"
