"""Accounts: what stands of one, and the changes that operations make, by accountfiles.py.

Local files are read here as they are, because a name service cache may be minutes old; accounts of a directory (LDAP)
are asked from the name service."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import JailkitError
from ..kernel import disk
from ..paths import CHROOT_GROUP, GROUP, Paths
from . import accountfiles, tools
from .accountfiles import Changed, New, Point, Renamed

USERDEL = "/usr/sbin/userdel"
GROUPADD = "/usr/sbin/groupadd"

SUBORDINATE = ("/etc/subuid", "/etc/subgid")
_BUSY = ("cannot lock", "try again later", "existing lock file")


@dataclass(frozen=True)
class Entry:
    """A line of passwd(5). local: it stands in /etc/passwd; else a directory service has it."""

    name: str
    uid: int
    gid: int
    gecos: str
    home: str
    shell: str
    local: bool


def _change(paths: Paths, argv: list[str]) -> None:
    """Run a tool that writes the account files. Raise ``host.account``, ``busy.accounts``.

    Ours take turns on one lock, because the tools themselves try for seconds only; somebody else's is tried again."""
    with _turn(paths):
        for attempt in range(6):
            status, text = tools.run(argv)
            if status == 0:
                return
            if not any(sign in text for sign in _BUSY):
                break
            time.sleep(0.2 * (attempt + 1))
    last = text.splitlines()[-1] if text else f"status {status}"
    if status < 0:
        last = f"ended by signal {-status}"
    code = "busy.accounts" if any(sign in text for sign in _BUSY) else "host.account"
    raise JailkitError(code, f"{os.path.basename(argv[0])} failed: {last}", "ls -l /etc/*.lock; df -h /etc; pwck -r")


def _turn(paths: Paths) -> contextlib.AbstractContextManager[None]:
    return disk.turn(f"{paths.var}/accounts.lock")


# -- looking


def _lines(path: str, name: str) -> list[str]:
    """Fields of the line of ``name`` in one of the account files; [] where there is none."""
    try:
        with open(path, "rb") as file:
            data = b"\n" + file.read()
    except FileNotFoundError:
        return []
    start = data.find(b"\n" + name.encode(errors="surrogateescape") + b":") + 1
    if start == 0:
        return []
    end = data.find(b"\n", start)
    return data[start : end if end > 0 else None].decode(errors="surrogateescape").split(":")


def find(name: str) -> Entry | None:
    """The account ``name``: the local file first, then the name service."""
    fields = _lines("/etc/passwd", name)
    if len(fields) >= 7 and fields[2].isdigit() and fields[3].isdigit():
        return Entry(name, int(fields[2]), int(fields[3]), fields[4], fields[5], fields[6], True)
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    if found.pw_name != name:  # a directory that ignores case must not give us somebody else
        return None
    return Entry(name, found.pw_uid, found.pw_gid, found.pw_gecos, found.pw_dir, found.pw_shell, False)


def is_member(name: str, group: str = GROUP) -> bool:
    """Whether ``name`` is a member of the local group, by /etc/group itself."""
    fields = _lines("/etc/group", group)
    return len(fields) >= 4 and name in fields[3].split(",")


def group_exists(name: str) -> bool:
    if _lines("/etc/group", name):
        return True
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""


def groups_of(name: str, gid: int) -> list[str]:
    """Names of all groups of ``name``, the primary one with them, sorted."""
    return sorted({group_name(number) or str(number) for number in os.getgrouplist(name, gid)})


def password_field(name: str) -> str | None:
    """The second field of shadow(5); None where there is no line."""
    fields = _lines("/etc/shadow", name)
    return fields[1] if len(fields) > 1 else None


# -- changing


def ensure_groups(paths: Paths) -> None:
    """Make the system groups that the PAM line and sshd's Match blocks look at, where they are missing."""
    for group in (GROUP, CHROOT_GROUP):
        if not group_exists(group):
            _change(paths, [GROUPADD, "--system", "--", group])


def change(
    paths: Paths, add: Sequence[New] = (), remove: Sequence[tuple[str, int]] = (), alter: Sequence[Changed] = (),
    rename: Sequence[Renamed] = (), point: Point = lambda label: None,
) -> dict[str, JailkitError]:  # fmt: skip
    """See accountfiles.change. Ours take turns on one lock, which is fairer than trying for the system's."""
    with _turn(paths):
        return accountfiles.change(add, remove, alter, rename, point=point)


def _one(refused: dict[str, JailkitError]) -> None:
    for error in refused.values():
        raise error


def new(paths: Paths, name: str, uid: int, home: str, chroot: bool) -> New:
    """The account of a jail, with everything at once: at no instant is there one that has another shell than the door,
    is not a member of the group, or could log in without a password ("*" matches none, proftpd's and sshd's rules
    included)."""
    return New(name, uid, home, paths.door, (GROUP, CHROOT_GROUP) if chroot else (GROUP,))


def create(paths: Paths, account: New, point: Point = lambda label: None) -> None:
    """Add the account, or complete a half-made one. No home, no mail box, no subordinate ids: those of useradd(8) run
    out at some 9,000 users. Raise ``conflict.account-exists``, ``conflict.group-exists``, ``busy.accounts``."""
    _one(change(paths, add=[account], point=point))


def delete(paths: Paths, name: str, uid: int, point: Point = lambda label: None) -> None:
    """Remove the account and its own group, whatever of them is there. The home is not touched."""
    if _lines("/etc/passwd", name) and any(_lines(file, name) for file in SUBORDINATE):
        _change(paths, [USERDEL, "--", name])  # somebody gave her subordinate ids, whose files have more to them
    _one(change(paths, remove=[(name, uid)], point=point))


def with_subordinates(names: Iterable[str]) -> set[str]:
    """Those of ``names`` that somebody gave ranges in subuid(5) or subgid(5)."""
    found: set[str] = set()
    for path in SUBORDINATE:
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8", errors="surrogateescape") as file:
            found.update(line.partition(":")[0] for line in file)
    return found & set(names)


def rename(
    paths: Paths, old: str, name: str, uid: int, home: str, point: Point = lambda label: None
) -> None:
    """Give the account ``old`` and its group another name, or complete that. Raise ``missing.account``,
    ``conflict.group-exists``, ``conflict.subordinate``, ``busy.accounts``."""
    if any(_lines(file, old) for file in SUBORDINATE):
        raise JailkitError(
            "conflict.subordinate", f"{old} has subordinate ids, which go by the name", "ls -l /etc/subuid /etc/subgid"
        )
    _one(change(paths, rename=[Renamed(old, name, uid, home)], point=point))


def set_shell(paths: Paths, name: str, shell: str) -> None:
    _one(change(paths, alter=[Changed(name, shell=shell)]))


def set_home(paths: Paths, name: str, home: str) -> None:
    _one(change(paths, alter=[Changed(name, home=home)]))


def join(paths: Paths, name: str, group: str = GROUP) -> None:
    """Make ``name``, which may be a user that only a directory service knows, a member of the local group."""
    _one(change(paths, alter=[Changed(name, join=(group,))]))


def leave(paths: Paths, name: str, group: str = GROUP) -> None:
    _one(change(paths, alter=[Changed(name, leave=(group,))]))


def set_password_hash(paths: Paths, name: str, hashed: str) -> None:
    _one(change(paths, alter=[Changed(name, password=hashed)]))
