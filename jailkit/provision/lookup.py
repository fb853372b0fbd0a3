"""Looking at accounts: one at a time, each as it is at that moment (``LIVE``), or all of them read once (Snapshot)."""

from __future__ import annotations

import contextlib
import grp
import pwd
import re
from typing import Protocol

from ..paths import GROUP
from . import accounts
from .accounts import Entry

_LOCAL = frozenset({"files", "compat", "systemd", "db", "altfiles"})
"""Sources of nsswitch.conf(5) whose users are in the files, or are not people (systemd's)."""

_UID = re.compile(rb"^[^:\n]+:[^:\n]*:([0-9]{1,10}):", re.MULTILINE)


class Lookup(Protocol):
    """What provisioning asks; see the functions of the same names in accounts.py."""

    def find(self, name: str) -> Entry | None: ...
    def is_member(self, name: str, group: str = GROUP) -> bool: ...
    def group_exists(self, name: str) -> bool: ...
    def group_name(self, gid: int) -> str: ...
    def password_field(self, name: str) -> str | None: ...
    def taken(self, number: int) -> bool:
        """Whether an account or a group has this number."""
        ...

    def uids(self) -> list[int]: ...


class _Live:
    def find(self, name: str) -> Entry | None:
        return accounts.find(name)

    def is_member(self, name: str, group: str = GROUP) -> bool:
        return accounts.is_member(name, group)

    def group_exists(self, name: str) -> bool:
        return accounts.group_exists(name)

    def group_name(self, gid: int) -> str:
        return accounts.group_name(gid)

    def password_field(self, name: str) -> str | None:
        return accounts.password_field(name)

    def taken(self, number: int) -> bool:
        for ask in (pwd.getpwuid, grp.getgrgid):
            try:
                ask(number)
                return True
            except KeyError:
                continue
        return False

    def uids(self) -> list[int]:
        if _sources("passwd") <= _LOCAL:  # as pwd.getpwall() would answer, in a tenth of its time
            with contextlib.suppress(FileNotFoundError), open("/etc/passwd", "rb") as file:
                return [int(uid) for uid in _UID.findall(file.read())]
        return [entry.pw_uid for entry in pwd.getpwall()]


LIVE: Lookup = _Live()


class Snapshot:
    """The local files as they are now. A directory service, where nsswitch.conf(5) names one, is asked as before for
    what is not in them. Each question takes the same time however many accounts there are."""

    def __init__(self) -> None:
        self._directory = not _sources("passwd", "group") <= _LOCAL
        self._entries: dict[str, Entry] = {}
        for fields in _fields("/etc/passwd", 7):
            if fields[2].isdigit() and fields[3].isdigit():
                entry = Entry(fields[0], int(fields[2]), int(fields[3]), fields[4], fields[5], fields[6], True)
                self._entries.setdefault(fields[0], entry)
        self._uids = {entry.uid for entry in self._entries.values()}
        self._passwords: dict[str, str] = {}
        for fields in _fields("/etc/shadow", 2):
            self._passwords.setdefault(fields[0], fields[1])
        self._groups: dict[str, set[str]] = {}
        self._names: dict[int, str] = {}
        for fields in _fields("/etc/group", 4):
            if fields[0] not in self._groups:
                self._groups[fields[0]] = set(fields[3].split(",")) if fields[3] else set()
                if fields[2].isdigit():
                    self._names.setdefault(int(fields[2]), fields[0])

    def find(self, name: str) -> Entry | None:
        return self._entries.get(name) or (accounts.find(name) if self._directory else None)

    def is_member(self, name: str, group: str = GROUP) -> bool:
        return name in self._groups.get(group, ())

    def group_exists(self, name: str) -> bool:
        return name in self._groups or (self._directory and accounts.group_exists(name))

    def group_name(self, gid: int) -> str:
        return self._names.get(gid) or (accounts.group_name(gid) if self._directory else "")

    def password_field(self, name: str) -> str | None:
        return self._passwords.get(name)

    def taken(self, number: int) -> bool:
        return number in self._uids or number in self._names or (self._directory and LIVE.taken(number))

    def uids(self) -> list[int]:
        return LIVE.uids() if self._directory else list(self._uids)


def _fields(path: str, least: int) -> list[list[str]]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            lines = file.read().split("\n")
    except FileNotFoundError:
        return []
    return [fields for fields in (line.split(":") for line in lines) if len(fields) >= least]


def _sources(*databases: str) -> set[str]:
    """Names of the services that nsswitch.conf(5) lists for ``databases``; an entry in brackets is none."""
    try:
        with open("/etc/nsswitch.conf", encoding="utf-8", errors="replace") as file:
            lines = [line.partition("#")[0] for line in file]
    except FileNotFoundError:
        return {"files"}
    found: set[str] = set()
    for line in lines:
        database, _, rest = line.partition(":")
        if database.strip() in databases:
            while "[" in rest:  # such as [NOTFOUND=return]
                before, _, after = rest.partition("[")
                rest = f"{before} {after.partition(']')[2]}"
            found.update(rest.split())
    return found
