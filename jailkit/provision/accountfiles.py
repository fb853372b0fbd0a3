"""Many accounts in one rewrite of /etc/passwd, /etc/group, /etc/shadow and /etc/gshadow.

Why not useradd(8), userdel(8), usermod(8), gpasswd(1), chpasswd(8) for each: every call reads, sorts out and writes all
four files, so the n-th account costs n; and each replaces its files one after the other in an order of its own, so that
one that is killed leaves a user who is not yet in the group that confines her. Here a chunk of hundreds costs what one
costs, a rewrite can be killed between any two instructions, and what a single add-user or remove-user leaves is what a
batch leaves: there is one writer, and one set of half-done states to recover from. What the tools give is kept: their
locks (accountlock.py), their files byte for byte (a test compares), their backup (``passwd-``), their line in the log,
the caches that they tell. Not done: the administrator's hooks in /etc/shadow-maint.

What is ours is spliced into the old bytes; lines of others, broken ones too, are never taken apart and put together
again. Only lines that are new or changed can be wrong by our doing, so pwck(8) and grpck(8) are shown these alone,
before anything is replaced: over the whole files they need 1.6 s each at 10,000 accounts, growing with the square, and
would say again what they have always said of others.

The order of the renames is what makes a kill harmless. An account exists from the moment that it stands in passwd(5).
Adding: gshadow, group, shadow, then passwd: at that instant she is a member of her groups, has a shadow line, and the
door as her shell. Removing: passwd first, then the rest. Changing: groups that are joined, then the shell, then
groups that are left. Renaming: as adding, but that the old line of passwd goes at the same instant; then what is left
of the old name. What a kill leaves in the other files is a name that nobody has; the next rewrite about that name
puts it right (:func:`change` takes any of these states)."""

from __future__ import annotations

import contextlib
import os
import syslog
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import JailkitError
from ..kernel.disk import sync_names
from . import accountlock, tools
from .accountfile import AccountFile, ageing

PASSWD, SHADOW, GROUP, GSHADOW = "passwd", "shadow", "group", "gshadow"
_LOCK_ORDER = (PASSWD, SHADOW, GROUP, GSHADOW)
_ADDING = (GSHADOW, GROUP, SHADOW, PASSWD)
_REMOVING = (PASSWD, SHADOW, GROUP, GSHADOW)
_PWCK, _GRPCK = "/usr/sbin/pwck", "/usr/sbin/grpck"
_CACHES = (("/usr/sbin/nscd", "-i", "passwd"), ("/usr/sbin/nscd", "-i", "group"), ("/usr/sbin/sss_cache", "-UG"))
Point = Callable[[str], None]
"""For crash tests: called before each rename with the file's name, and after the last with "renamed"."""


@dataclass(frozen=True)
class New:
    """An account to be made, with a group of its own name and number. groups: local ones that it joins. password: a
    field of shadow(5); ``*`` matches none."""

    name: str
    uid: int
    home: str
    shell: str
    groups: tuple[str, ...] = ()
    gecos: str = ""
    password: str = "*"


@dataclass(frozen=True)
class Changed:
    """What becomes of an account. None and empty: as it is. join, leave: local groups; the account may be one that only
    a directory service knows. password: a hash (crypt(5))."""

    name: str
    shell: str | None = None
    password: str | None = None
    join: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    home: str | None = None


@dataclass(frozen=True)
class Renamed:
    """An account that gets another name, with its group, and ``home`` for a home; its uid is the same."""

    old: str
    name: str
    uid: int
    home: str


def encoded(value: str) -> bytes:
    """``value`` as a field. The only way that text comes into these files. Raise ``invalid.field`` for what would end
    a field or a line, and for control characters (useradd's CVE-2023-29383)."""
    if any(ord(c) < 32 or 127 <= ord(c) < 160 or c in ":\u2028\u2029" or 0xD800 <= ord(c) < 0xE000 for c in value):
        raise JailkitError("invalid.field", f"{value[:40]!r} cannot be a field of passwd(5)", "leave ':' out")
    return value.encode()


class _Files:
    """All four, and what is gathered for lists of members, which are changed once for all accounts."""

    def __init__(self, etc: str) -> None:
        self.etc = etc
        self.passwd, self.shadow = AccountFile(etc, PASSWD), AccountFile(etc, SHADOW)
        self.group, self.gshadow = AccountFile(etc, GROUP), AccountFile(etc, GSHADOW)
        if self.passwd.status is None or self.group.status is None or self.shadow.status is None:
            raise JailkitError("host.accounts", f"{etc} has no passwd, group or shadow", "pwconv; grpconv")
        self.uids, self.gids = set[bytes](), set[bytes]()  # of those that are added
        self.ageing = ageing(etc)
        self.joining: dict[bytes, list[bytes]] = {}
        self.parting: dict[bytes, set[bytes]] = {}
        self.leaving: set[bytes] = set()

    def each(self, order: Sequence[str]) -> list[AccountFile]:
        by_name = {file.name: file for file in (self.passwd, self.shadow, self.group, self.gshadow)}
        return [by_name[name] for name in order]

    def has_uid(self, number: bytes) -> bool:
        return number in self.uids or self.passwd.has_number(number)

    def has_gid(self, number: bytes) -> bool:
        return number in self.gids or self.group.has_number(number)

    def require_groups(self, groups: Iterable[bytes]) -> None:
        for group in groups:
            fields = self.group.get(group)
            if fields is None or len(fields) != 4:
                raise JailkitError("missing.group", f"there is no group {group.decode()}", "jailctl setup")

    def settle(self) -> None:
        """Write the lists of members, in both files that have them."""
        for file in (self.group, self.gshadow):
            for group in {**self.joining, **self.parting}:
                fields = file.get(group)
                if fields is not None and len(fields) == 4:
                    kept = list(filter(None, fields[3].split(b",")))
                    if parting := self.parting.get(group):
                        kept = [name for name in kept if name not in parting]
                    have = set(kept)
                    file.put_list(fields, 3, kept + [one for one in self.joining.get(group, ()) if one not in have])
        if self.leaving:
            for file, columns in ((self.group, (3,)), (self.gshadow, (2, 3))):
                file.without(self.leaving, columns)


def change(
    add: Iterable[New] = (), remove: Iterable[tuple[str, int]] = (), alter: Iterable[Changed] = (),
    rename: Iterable[Renamed] = (), *, etc: str = "/etc", seconds: float = 30.0, point: Point = lambda label: None,
) -> dict[str, JailkitError]:  # fmt: skip
    """First what is removed, then what is changed, then what is added; each part is a rewrite of its own, as each has
    an order of its own, under one turn of the locks. Return those that are refused, by name, each with its error; the
    others are carried out.

    remove: names with their uids; whatever stands of such an account, whole or half, goes. ``conflict.account-exists``:
    the name has another uid, so it is somebody else's; or, in ``add``, the uid is another name's. What is half there of
    an account in ``add``, with the same name and uid, is completed. ``conflict.group-exists``: the same for its group.
    ``missing.account``, ``missing.group``, ``invalid.field``. All are judged under the lock.

    Raise ``busy.accounts``, ``host.accounts``, ``unsafe.file``, OSError: nothing of that part is done then."""
    refused: dict[str, JailkitError] = {}
    removed, altered, renamed, added = list(remove), list(alter), list(rename), list(add)
    leaving = [Changed(one.name, leave=one.leave) for one in altered if one.leave]
    altered = [replace(one, leave=()) for one in altered]
    parts: list[tuple[Sequence[Any], Callable[[_Files, Any], None], Sequence[str]]] = [
        (removed, _remove, _REMOVING), (altered, _alter, _ADDING), (leaving, _alter, _ADDING),
        (renamed, _rename, _ADDING), (renamed, _forget, _REMOVING), (added, _add, _ADDING),
    ]  # fmt: skip
    with accountlock.locked(etc, _LOCK_ORDER, seconds):
        for wanted, edit, order in parts:
            if wanted:
                files = _Files(etc)
                _edit(files, wanted, edit, refused)
                _replace(files, order, point)
    if etc == "/etc":
        _log([one for one in added if one.name not in refused], [one for one in removed if one[0] not in refused])
        _tell_caches()
    return refused


def _edit(
    files: _Files, wanted: Sequence[Any], edit: Callable[[_Files, Any], None], refused: dict[str, JailkitError]
) -> None:
    for one in wanted:
        try:
            edit(files, one)
        except JailkitError as error:
            refused[one[0] if isinstance(one, tuple) else one.name] = error
    files.settle()


def _add(files: _Files, new: New) -> None:
    name, number = encoded(new.name), b"%d" % new.uid
    passwd, group = files.passwd.get(name), files.group.get(name)
    if (passwd is None and files.has_uid(number)) or (passwd is not None and passwd[2:3] != [number]):
        raise JailkitError(
            "conflict.account-exists", f"somebody else has made an account {new.name}, or one with uid {new.uid}",
            "run it again; or choose another name",
        )  # fmt: skip
    if (group is None and files.has_gid(number)) or (group is not None and group[2:] != [number, b""]):
        raise JailkitError(
            "conflict.group-exists", f"somebody else has made a group {new.name}, or one with gid {new.uid}",
            "run it again; or choose another name",
        )  # fmt: skip
    line = [name, b"x", number, number, encoded(new.gecos), encoded(new.home), encoded(new.shell)]
    shadow = [name, encoded(new.password), *files.ageing]
    groups = [encoded(each) for each in new.groups]
    files.require_groups(groups)
    for each in groups:
        files.joining.setdefault(each, []).append(name)
    shadowed = files.gshadow.status is not None
    files.group.put([name, b"x" if shadowed else b"!", number, b""])
    if shadowed:
        files.gshadow.put([name, b"!", b"", b""])
    files.shadow.put(shadow)
    files.passwd.put(line)
    files.uids.add(number)
    files.gids.add(number)


def _remove(files: _Files, one: tuple[str, int]) -> None:
    name, number = encoded(one[0]), b"%d" % one[1]
    passwd = files.passwd.get(name)
    if passwd is not None and passwd[2:3] != [number]:
        raise JailkitError("conflict.account-exists", f"the account {one[0]} has another uid: it is somebody else's")
    files.passwd.drop(name)
    files.shadow.drop(name)
    files.leaving.add(name)
    group = files.group.get(name)
    if group is None or (group[2:3] == [number] and set(group[3:4]) <= {b"", name}):
        files.group.drop(name)
        files.gshadow.drop(name)


def _alter(files: _Files, one: Changed) -> None:
    name = encoded(one.name)
    passwd, shadow = files.passwd.get(name), files.shadow.get(name)
    if ((one.shell, one.home) != (None, None) and (passwd is None or len(passwd) != 7)) or (
        one.password is not None and (shadow is None or len(shadow) != 9)
    ):
        raise JailkitError("missing.account", f"there is no whole line of {one.name} in /etc/passwd and /etc/shadow")
    place = {5: one.home, 6: one.shell}
    fields = {column: encoded(text) for column, text in place.items() if text is not None}
    password = None if one.password is None else encoded(one.password)
    files.require_groups([encoded(each) for each in (*one.join, *one.leave)])
    for each in one.join:
        files.joining.setdefault(encoded(each), []).append(name)
    for each in one.leave:
        files.parting.setdefault(encoded(each), set()).add(name)
    if fields and passwd is not None:
        files.passwd.put([fields.get(column, have) for column, have in enumerate(passwd)])
    if password is not None and shadow is not None:
        files.shadow.put([name, password, files.ageing[0], *shadow[3:]])


def _rename(files: _Files, one: Renamed) -> None:
    """Both names stand in group and shadow until the next part, the one in passwd is exchanged."""
    old, name, number, home = encoded(one.old), encoded(one.name), b"%d" % one.uid, encoded(one.home)
    passwd = files.passwd.get(name) or files.passwd.get(old)
    if passwd is None or len(passwd) != 7 or passwd[2] != number:
        raise JailkitError("missing.account", f"there is no account {one.old} with uid {one.uid}", "pwck -r")
    if (group := files.group.get(name)) is not None and group[2:3] != [passwd[3]]:
        raise JailkitError("conflict.group-exists", f"there is a group {one.name} already", "choose another name")
    for file in (files.group, files.gshadow, files.shadow):
        fields = file.get(old)
        mine = fields is not None and (file is not files.group or fields[2:3] == [number])
        if fields is not None and mine and file.get(name) is None:
            members = [name if member == old else member for member in fields[-1].split(b",")]
            file.put([name, *fields[1:-1], fields[-1] if file is files.shadow else b",".join(members)])
    for group_name in files.group.lists(old):
        files.joining.setdefault(group_name, []).append(name)
    files.passwd.put([name, *passwd[1:5], home, passwd[6]])
    files.passwd.drop(old)


def _forget(files: _Files, one: Renamed) -> None:
    old, number = encoded(one.old), b"%d" % one.uid
    passwd = files.passwd.get(encoded(one.name))
    if passwd is None or passwd[2:3] != [number] or files.passwd.get(old) is not None:
        return  # it was refused
    group = files.group.get(old)
    files.shadow.drop(old)
    files.leaving.add(old)
    if group is None or group[2:3] == [number]:
        files.group.drop(old)
        files.gshadow.drop(old)


# -- replacing


def _replace(files: _Files, order: Sequence[str], point: Point) -> None:
    _check(files)
    changed: list[AccountFile] = []
    try:
        for file in files.each(order):
            if file.write():
                changed.append(file)
        for file in list(changed):
            point(file.name)
            file.publish()
            changed.remove(file)
    finally:
        for file in changed:
            file.discard()
    sync_names(files.etc)
    point("renamed")


def _check(files: _Files) -> None:
    """Have pwck(8) and grpck(8) look at the lines that are new or changed. What they say of these lines as they were is
    not our doing. Members are left out: their accounts are not there yet. Raise ``host.account``."""
    for program, first, second in ((_PWCK, files.passwd, files.shadow), (_GRPCK, files.group, files.gshadow)):
        names = {**first.touched, **second.touched}
        if not names:
            continue
        said = _said(program, first.lines_of(names), second.lines_of(names))
        if said:
            said -= _said(program, first.lines_of(names, old=True), second.lines_of(names, old=True))
        if said:
            text = "; ".join(sorted(said))[:500]
            raise JailkitError("host.account", f"{os.path.basename(program)} refuses what was to be written: {text}")


def _said(program: str, first: list[bytes], second: list[bytes]) -> set[str]:
    with tempfile.TemporaryDirectory(prefix=".jailctl-accounts-", dir="/run") as place:
        paths = [f"{place}/first", f"{place}/second"]
        for path, lines in zip(paths, (first, second), strict=True):
            with open(path, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.writelines(line + b"\n" for line in lines)
        argv = [program, "-r", "-q", *(paths if second else paths[:1])]
        status, text = tools.run(argv)
    if status == 0:
        return set()
    return {line for line in text.replace(place, "").splitlines() if line.strip()} or {f"status {status}"}


def _log(added: Iterable[New], removed: Iterable[tuple[str, int]]) -> None:
    """As useradd and userdel do: administrators look for these lines."""
    syslog.openlog("jailctl", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    for new in added:
        text = f"new user: name={new.name}, UID={new.uid}, GID={new.uid}, home={new.home}, shell={new.shell}"
        syslog.syslog(syslog.LOG_INFO, text)
    for name, _ in removed:
        syslog.syslog(syslog.LOG_INFO, f"delete user '{name}'")


def _tell_caches() -> None:
    """As useradd does; what they answer would be minutes old."""
    for program, *arguments in _CACHES:
        if os.access(program, os.X_OK):
            with contextlib.suppress(JailkitError):
                tools.run([program, *arguments], 20)
