"""A host that is broken in one place at a time, and what a login says to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..host import Host, wait_for
from .world import DULL, Flag, Pair, keeper, outside

Repair = Callable[[], None]
Damage = Callable[[Host], Repair]
"""Breaks something; what it returns puts it right again."""


@dataclass(frozen=True)
class Outcome:
    """How one way in ended: "inside" or "refused". said: all that the user read."""

    how: str
    said: str


def attempt(people: Pair, argv: list[str], timeout: float = 30) -> Outcome:
    """Run a login of the tenant's that raises a flag and says where it is. What it must never do is checked here: run
    outside, or leave a process there."""
    host, flag = people.host, Flag(people.host)
    done = host.run([word.replace("COMMAND", f"touch {flag.path}; hostname") for word in argv], timeout=timeout)
    assert not flag.raised(), f"it ran outside: {argv}"
    assert outside(host, people.tenant) == []
    if done.returncode == 0:
        assert done.stdout == f"{people.tenant}\n"
        return Outcome("inside", done.stdout)
    said = done.stdout + done.stderr
    assert people.tenant not in said.replace(f"{people.tenant}@127.0.0.1", ""), "it ran, and failed afterwards"
    return Outcome("refused", said)


def ssh(people: Pair) -> Outcome:
    return attempt(people, people.host.ssh_argv(people.tenant, "COMMAND", opts=["-o", "BatchMode=yes"]))


def su(people: Pair) -> Outcome:
    return attempt(people, ["/bin/su", people.tenant, "-c", "COMMAND"])


def sftp(people: Pair) -> Outcome:
    """Refused, or served from the jail, where the host's /srv is not."""
    host = people.host
    (host.root / "srv/only-outside").touch()
    done = host.sftp(people.tenant, "ls /srv/only-outside\n")
    assert "/srv/only-outside\n" not in done.stdout.replace("sftp> ls /srv/only-outside\n", "")
    assert outside(host, people.tenant) == []
    return Outcome("inside" if "sftp>" in done.stdout else "refused", done.stderr)


def dull(outcome: Outcome) -> bool:
    """Nothing that she reads tells her why: our line, or what sshd and su say of any session that fails."""
    ours = {DULL, "", "su: cannot open session: System error", "su: cannot open session: Module is unknown",
            "su: Critical error - immediate abort"}  # fmt: skip
    lines = [line.strip() for line in outcome.said.replace("\r", "").split("\n")]
    return all(line in ours or line.startswith(ALLOWED) for line in lines)


ALLOWED = ("Permission denied", "Connection closed", "tenant@127.0.0.1: Permission denied", "su: failed to execute",
           "su: Cannot execute")  # fmt: skip


def others_are_fine(people: Pair, *neighbours: str) -> None:
    """At the same moment: the ordinary user, the administrator, and those in jails of their own."""
    for user in (people.free, "root", *neighbours):
        expected = user if user in neighbours else "testhost"
        assert people.host.run(["/bin/su", "-", user, "-c", "hostname"]).stdout == f"{expected}\n", user


def chill(host: Host, user: str) -> None:
    """No jail runs any more, and nothing says that one did."""
    uid = host.ids(user)[0]
    record = host.root / f"run/jailctl/jails/{uid}/entry"
    if record.exists():
        pid = keeper(host, user).pid
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 5)
        record.unlink()


# -- damages


def gone(path: str) -> Damage:
    def damage(host: Host) -> Repair:
        real, aside = host.root / path, host.root / f"{path}.aside"
        os.rename(real, aside)
        return lambda: replace_by(real, aside)

    return damage


def replace_by(real: Path, aside: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if real.is_dir() and not real.is_symlink():
            shutil.rmtree(real)
        else:
            real.unlink()
    os.rename(aside, real)


def mode(path: str, bits: int) -> Damage:
    def damage(host: Host) -> Repair:
        real = host.root / path
        before = real.stat().st_mode & 0o7777
        real.chmod(bits)
        return lambda: real.chmod(before)

    return damage


def owner(path: str, uid: int, gid: int) -> Damage:
    def damage(host: Host) -> Repair:
        real = host.root / path
        status = real.lstat()
        os.chown(real, uid, gid, follow_symlinks=False)
        return lambda: os.chown(real, status.st_uid, status.st_gid, follow_symlinks=False)

    return damage


def content(path: str, text: str | bytes | Callable[[str], str], bits: int | None = None) -> Damage:
    """Another file in its place; text: what it says, or a change of what it said."""

    def damage(host: Host) -> Repair:
        real, aside = host.root / path, host.root / f"{path}.aside"
        before = real.read_bytes()
        os.rename(real, aside)
        new = text(before.decode()) if callable(text) else text
        assert (new if isinstance(new, bytes) else new.encode()) != before
        real.write_bytes(new if isinstance(new, bytes) else new.encode())
        shutil.copystat(aside, real)
        status = aside.stat()
        os.chown(real, status.st_uid, status.st_gid)
        if bits is not None:
            real.chmod(bits)
        return lambda: replace_by(real, aside)

    return damage


def link(path: str, target: str) -> Damage:
    def damage(host: Host) -> Repair:
        real, aside = host.root / path, host.root / f"{path}.aside"
        os.rename(real, aside)
        real.symlink_to(target)
        return lambda: replace_by(real, aside)

    return damage


def both(*damages: Damage) -> Damage:
    def damage(host: Host) -> Repair:
        repairs = [each(host) for each in damages]

        def repair() -> None:
            for each in reversed(repairs):
                each()

        return repair

    return damage


def covered(path: str, size: str = "1m", full: bool = False, *options: str) -> Damage:
    """An empty file system mounted there: what is below is out of reach, as when a disk is not mounted yet, or is
    another's. full: without a free block."""

    def damage(host: Host) -> Repair:
        mount = ["/bin/mount", "-t", "tmpfs", "-o", ",".join((f"size={size},mode=755", *options)), "none", f"/{path}"]
        host.run(mount, check=True)
        if full:
            host.run(["/bin/dd", "if=/dev/zero", f"of=/{path}/filler", "bs=4k"])

        def repair() -> None:
            host.run(["/bin/umount", "-l", f"/{path}"], check=True)

        return repair

    return damage


@contextlib.contextmanager
def broken(people: Pair, damage: Damage, *, cold: bool = False) -> Iterator[None]:
    """With the jail warm, or cold. Whole again, she logs in, without any help."""
    host = people.host
    if cold:
        chill(host, people.tenant)
    else:
        assert su(people).how == "inside"
    repair = damage(host)
    try:
        yield
    finally:
        repair()
    again = su(people)
    assert again.how == "inside", (again, host.syslog()[-5:])
