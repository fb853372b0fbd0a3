"""Reads PAM's configuration: the lines of one service's stack in the order in which libpam runs them (pam.conf(5)).

Only as much as is needed to say whether our hook is reached; libpam itself decides.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

DIRECTORIES = ("/etc/pam.d", "/usr/lib/pam.d")
"""Where libpam looks, the first that has the service (Linux-PAM 1.4 and later know the second)."""

_LINE = re.compile(r"(?P<type>-?\w+)\s+(?P<control>\[[^\]]*\]|\S+)\s+(?P<module>\S+)\s*(?P<arguments>.*)")
_WORDS = {
    # pam.conf(5): the words, as the actions they stand for
    "required": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "bad"},
    "requisite": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "die"},
    "sufficient": {"success": "done", "new_authtok_reqd": "done", "default": "ignore"},
    "optional": {"success": "ok", "new_authtok_reqd": "ok", "default": "ignore"},
}
_DEPTH = 16
_PARTS = re.compile(r"^(common-|\.)|\.(pam-old|pam-new)$|~$|\.dpkg-")


@dataclass(frozen=True)
class Entry:
    """One module of a stack. control: return value to action (``ok``, ``done``, ``2`` for a jump over two, ...).
    depth: of the ``substack`` it stands in; ``done`` and jumps act within their own."""

    file: str
    number: int
    control: tuple[tuple[str, str], ...]
    module: str
    arguments: tuple[str, ...]
    depth: int = 0

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}"

    @property
    def name(self) -> str:
        return os.path.basename(self.module)


def find(service: str, directories: tuple[str, ...] = DIRECTORIES) -> str | None:
    """The file of ``service``, or None."""
    return next((f"{d}/{service}" for d in directories if os.path.isfile(f"{d}/{service}")), None)


def stack(service: str, kind: str = "session", directories: tuple[str, ...] = DIRECTORIES) -> list[Entry]:
    """The modules of type ``kind`` that libpam runs for ``service``, Includes followed; those of ``other`` where the
    service has no file or no line of that type (pam.conf(5)). Raise OSError, ValueError (a line that cannot be
    read)."""
    path = find(service, directories)
    found = list(_read(path, kind, directories, 0, 0)) if path else []
    other = find("other", directories)
    if not found and other and service != "other":
        found = list(_read(other, kind, directories, 0, 0))
    return found


def services(directories: tuple[str, ...] = DIRECTORIES) -> list[str]:
    """Names of all services that have a file; the parts that others include (common-*) are left out."""
    names = set()
    for directory in directories:
        if os.path.isdir(directory):
            names |= {name for name in os.listdir(directory) if os.path.isfile(f"{directory}/{name}")}
    return sorted(name for name in names if not _PARTS.search(name))


def _read(path: str, kind: str, directories: tuple[str, ...], level: int, depth: int) -> Iterator[Entry]:
    if level > _DEPTH:
        raise ValueError(f"{path}: included too deeply")
    for number, line in _lines(path):
        if line.startswith("@include"):
            yield from _read(_included(line.split()[1], directories), kind, directories, level + 1, depth)
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{path}:{number}: cannot be read")
        if match["type"].lstrip("-").lower() != kind:
            continue
        control = match["control"]
        if control in ("include", "substack"):
            deeper = depth + (control == "substack")
            yield from _read(_included(match["module"], directories), kind, directories, level + 1, deeper)
        else:
            actions = tuple(sorted(_control(control, f"{path}:{number}").items()))
            yield Entry(path, number, actions, match["module"], tuple(match["arguments"].split()), depth)


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """(number, text) without comments, a trailing backslash joining lines."""
    with open(path, encoding="utf-8", errors="replace") as file:
        held, start = "", 0
        for number, raw in enumerate(file, 1):
            line = raw.split("#", 1)[0].rstrip()
            start = start or number
            if line.endswith("\\"):
                held += line[:-1] + " "
                continue
            text, held, at, start = (held + line).strip(), "", start, 0
            if text:
                yield at, text


def _included(name: str, directories: tuple[str, ...]) -> str:
    if name.startswith("/"):
        return name
    return find(name, directories) or f"{directories[0]}/{name}"


def _control(text: str, place: str) -> dict[str, str]:
    if not text.startswith("["):
        if text.lower() not in _WORDS:
            raise ValueError(f"{place}: unknown control {text!r}")
        return _WORDS[text.lower()]
    pairs = (word.partition("=") for word in text[1:-1].split())
    return {key: value for key, _, value in pairs}


def skips(entries: list[Entry], target: int) -> list[Entry]:
    """The modules before ``entries[target]`` after which libpam may not come to it though the stack may still
    succeed: ``done`` (sufficient), or a jump that goes beyond it. ``die`` is none: then the session is refused."""
    found = []
    for index, entry in enumerate(entries[:target]):
        actions = {action for _, action in entry.control}
        jumps = [int(action) for action in actions if action.isdigit()]
        ends = "done" in actions and entry.depth <= entries[target].depth
        if ends or any(_lands(entries, index, jump) > target for jump in jumps):
            found.append(entry)
    return found


def _lands(entries: list[Entry], index: int, jump: int) -> int:
    """Index where a jump over ``jump`` modules lands. A substack counts as one (pam.conf(5))."""
    place = index + 1
    for _ in range(jump):
        if place >= len(entries) or entries[place].depth < entries[index].depth:
            break
        place += 1
        while place < len(entries) and entries[place].depth > entries[index].depth:
            place += 1
    return place
