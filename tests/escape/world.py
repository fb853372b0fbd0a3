"""What the tests share: an account with a jail beside one without, things to be found outside, looks at both."""

from __future__ import annotations

import json
import os
import secrets
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from ..host import Host, wait_for
from ..host.observe import Seen
from ..ways.people import make_jailed, make_plain

FREE = "freeman"
"""An ordinary account of the host, whom jailkit must neither confine nor disturb."""
DULL = "This account is not available at the moment."


def free(host: Host) -> str:
    """The ordinary account, made when it is first asked for."""
    if f"\n{FREE}:" not in (host.root / "etc/passwd").read_text():
        make_plain(host, FREE)
    return FREE


@dataclass(frozen=True)
class Pair:
    """Two users of one host: ``tenant`` has a jail, ``free`` has none."""

    host: Host
    tenant: str
    free: str

    def home(self, user: str) -> Path:
        """As seen from outside the host."""
        return self.host.root / "home" / user

    def give(self, user: str, name: str, content: str | bytes, mode: int = 0o644) -> str:
        """Put a file of the user's own into her home; return its path there."""
        path = self.home(user) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        uid, gid, _ = self.host.ids(user)
        for each in (path, *path.relative_to(self.home(user)).parents[:-1]):
            os.chown(self.home(user) / each, uid, gid)
        return f"/home/{user}/{name}"


def pair(host: Host, tenant: str, *options: str) -> Pair:
    """``options`` are add-user's."""
    make_jailed(host, tenant, *options)
    return Pair(host, tenant, free(host))


class Flag:
    """A path on the host that everybody there may write, with a name that nobody can guess: what runs outside can raise
    it. The jail has a /var/tmp of its own, so what runs inside cannot, whatever it does."""

    def __init__(self, host: Host) -> None:
        self.path = f"/var/tmp/flag-{secrets.token_hex(8)}"
        self._seen = host.root / self.path.lstrip("/")

    def raised(self) -> bool:
        return self._seen.exists()

    def text(self) -> str:
        return self._seen.read_text()

    def lower(self) -> None:
        """Show that it was up, and take it down for the next."""
        self._seen.unlink()


class Secret:
    """A file outside with random content, for everybody to read who can reach it. ``intact``: nobody wrote to it."""

    def __init__(self, host: Host, directory: str = "/srv") -> None:
        self.path = f"{directory}/secret-{secrets.token_hex(8)}"
        self.text = secrets.token_hex(16)
        self._seen = host.root / self.path.lstrip("/")
        self._seen.write_text(self.text + "\n")
        self._seen.chmod(0o666)

    @property
    def intact(self) -> bool:
        return self._seen.read_text() == self.text + "\n"


def keeper(host: Host, user: str) -> Seen:
    """Pid 1 of the user's running jail, seen from outside."""
    uid = host.ids(user)[0]
    for process in host.processes():
        if process.uids[0] == uid and process.inner_pid == 1 and len(process.inner_pids) > 1:
            return process
    raise AssertionError(f"no jail of {user} runs")


def in_jail(host: Host, process: Seen, user: str) -> bool:
    """Root directory and all namespaces are those of the user's jail, nothing of the host's rights is left."""
    first, init = keeper(host, user), host.processes()[0]
    return (
        process.root == first.root != init.root
        and process.namespaces == first.namespaces
        and not set(process.namespaces.values()) & set(init.namespaces.values())
        and set(process.caps.values()) == {0}
        and process.no_new_privs
    )


def outside(host: Host, user: str) -> list[Seen]:
    """Processes of the user's uid outside her jail, sshd's own children and the door's parent aside, which cannot be
    traced (not dumpable: /proc gives them to root)."""
    uid, init = host.ids(user)[0], host.processes()[0]
    found = []
    for process in host.processes():
        if uid not in process.uids or process.namespaces["user"] != init.namespaces["user"]:
            continue
        try:
            untraceable = os.stat(f"/proc/{process.pid}/environ").st_uid == 0
        except FileNotFoundError:
            continue
        if not (untraceable and process.name in ("sshd", "door")):
            found.append(process)
    return found


def all_closed(host: Host, user: str) -> None:
    """Wait until the hook has taken the last session's record away: sshd does so after its client has gone."""
    sessions = host.root / f"run/jailctl/jails/{host.ids(user)[0]}/sessions"
    wait_for(lambda: not any(sessions.iterdir()), 10, f"a session of {user} stays open")


def sleeper(host: Host, seconds: str) -> Seen:
    """The process ``sleep SECONDS``, waited for."""
    found: list[Seen] = []

    def look() -> bool:
        found[:] = [process for process in host.processes() if process.argv == ("sleep", seconds)]
        return bool(found)

    wait_for(look, 10, lambda: f"no sleep {seconds}; the log says:\n" + "\n".join(host.syslog()[-12:]))
    return found[0]


@dataclass(frozen=True)
class Finding:
    check: str
    seen: str
    mend: str


def failures(host: Host) -> list[Finding]:
    """What doctor calls a failure, its exit status being the right one."""
    done = host.jailctl("doctor", "--json", check=False)
    found = [
        Finding(check["id"], finding["seen"], finding["mend"])
        for check in json.loads(done.stdout)["checks"]
        for finding in check["findings"]
        if finding["state"] == "fail"
    ]
    assert (done.returncode == 21) == bool(found), done
    return found


KEPT = ("etc", "home", "var/lib/jailctl", "var/spool/cron", "usr/local", "opt/jailctl/templates", "root/keys")


State = dict[str, tuple[int, ...]]


def state(host: Host) -> State:
    """Every file that provisioning could change, by path: what lstat(2) says of it. Nobody can set the change time
    back, so it stands for the content."""
    found = {}
    for top in KEPT:
        for directory, names, files in os.walk(host.root / top):
            for name in (*names, *files):
                path = f"{directory}/{name}"
                status = os.lstat(path)
                kept = (status.st_mode, status.st_uid, status.st_gid, status.st_ino)
                changed = () if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_ctime_ns)
                found[path.removeprefix(str(host.root))] = kept + changed
    return found


def changes(before: State, host: Host) -> list[str]:
    """Paths that differ from then. Locks, and SQLite's own files beside the database, come and go with readers."""
    now = state(host)
    return sorted(
        path for path in before.keys() | now.keys()
        if before.get(path) != now.get(path) and not path.endswith(("-wal", "-shm", ".lock"))
    )  # fmt: skip


def logged(host: Host, mark: int, containing: str, count: int = 1) -> list[str]:
    """The log's lines from number ``mark`` on (``len(host.syslog())`` before) that contain the text: exactly so many,
    after a moment in which there could come more."""

    def lines() -> list[str]:
        return [line for line in host.syslog()[mark:] if containing in line]

    wait_for(lambda: len(lines()) >= count, 5, lambda: "\n".join(host.syslog()[mark:]))
    time.sleep(0.02)
    assert len(lines()) == count, lines()
    return lines()
