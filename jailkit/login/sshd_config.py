"""Reads OpenSSH's server configuration as sshd does: Includes followed in their order, each line with the Match
blocks it stands in. Only to say *where* a setting comes from; *what* holds is asked of ``sshd -T``.

sshd_config(5): keyword, then arguments, ``#`` comments, ``keyword=value`` allowed; Include takes glob patterns, sorted,
relative ones below /etc/ssh; a Match block ends at the next Match or at the end of its file.
"""

from __future__ import annotations

import glob
import ipaddress
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

CONFIG = "/etc/ssh/sshd_config"
FRAGMENT = "/etc/ssh/sshd_config.d/000-jailctl.conf"
_DEPTH = 16
"""SERVCONF_MAX_DEPTH of servconf.c."""


@dataclass(frozen=True)
class Line:
    """One directive. match: the criteria of every Match block around it, outermost first."""

    file: str
    number: int
    keyword: str
    arguments: tuple[str, ...]
    match: tuple[tuple[str, ...], ...] = ()

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}"


def read(path: str = CONFIG) -> list[Line]:
    """All directives in the order in which sshd reads them, Include and Match lines too. Files that cannot be read
    are left out (sshd itself refuses them). Raise OSError only for ``path`` itself."""
    return list(_read(path, (), 0))


def _read(path: str, around: tuple[tuple[str, ...], ...], depth: int) -> Iterator[Line]:
    match = around
    for number, keyword, arguments in parse(_text(path)):
        if keyword == "match":
            match = (*around, arguments)
        yield Line(path, number, keyword, arguments, match)
        if keyword == "include" and depth < _DEPTH:
            for file in included(arguments):
                try:
                    yield from _read(file, match, depth + 1)
                except OSError:
                    continue


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def parse(text: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(line number, keyword in lower case, arguments) of each directive."""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        keyword = stripped.split(maxsplit=1)[0].split("=", 1)[0]
        rest = stripped[len(keyword) :].lstrip(" \t")
        rest = rest[1:] if rest.startswith("=") else rest
        try:
            arguments = shlex.split(rest, comments=True)
        except ValueError:  # an open quote: sshd refuses the file, this reader only looks
            arguments = rest.split()
        yield number, keyword.strip('"').lower(), tuple(arguments)


def included(patterns: tuple[str, ...]) -> list[str]:
    """The files that an Include line means, in sshd's order (glob(3) in the C locale)."""
    found = []
    for pattern in patterns:
        found += sorted(glob.glob(pattern if pattern.startswith("/") else f"/etc/ssh/{pattern}"))
    return found


def covers(line: Line, path: str) -> bool:
    """Whether the Include ``line`` takes in ``path``, be it there or not."""
    patterns = (p if p.startswith("/") else f"/etc/ssh/{p}" for p in line.arguments)
    return line.keyword == "include" and any(fnmatch(path, p) and p.count("/") == path.count("/") for p in patterns)


def before(lines: list[Line], path: str) -> list[Line]:
    """The directives that sshd reads before those of the file ``path`` (all, if it is not read)."""
    found = []
    for line in lines:
        if line.file == path:
            break
        found.append(line)
    return found


def samples(lines: list[Line]) -> list[dict[str, str]]:
    """For each Match block among ``lines`` a connection that it may be about (keys as for ``sshd -T -C``), so that
    effective settings can be asked for it. What can only be guessed (wildcards, negations) is left out."""
    found: list[dict[str, str]] = []
    for line in lines:
        if line.keyword != "match":
            continue
        flat = [part for word in line.arguments for part in word.split("=", 1)]  # OpenSSH 9.9 takes user=alice as well
        words = dict(zip([a.lower() for a in flat[::2]], flat[1::2], strict=False))
        sample = {}
        for criterion, key in (
            ("address", "addr"),
            ("localaddress", "laddr"),
            ("host", "host"),
            ("localport", "lport"),
            ("user", "user"),
            ("rdomain", "rdomain"),
        ):
            value = _example(words.get(criterion, ""), key)
            if value:
                sample[key] = value
        if sample and sample not in found:
            found.append(sample)
    return found


def _example(patterns: str, key: str) -> str:
    for pattern in patterns.split(","):
        if not pattern or pattern[0] == "!" or set(pattern) & set("*?"):
            continue
        if key not in ("addr", "laddr"):
            return pattern
        try:
            network = ipaddress.ip_network(pattern, strict=False)
        except ValueError:
            continue
        return str(network[1] if network.num_addresses > 1 else network[0])
    return ""
