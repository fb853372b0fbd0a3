"""Our fragment of sshd's configuration: rendered, tried as a candidate, and only then put in place.

What holds for a user is never guessed from the text: ``sshd -T -C user=...`` says it (sshd(8)), for the candidate
before it replaces anything and for the installed file afterwards.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import JailkitError
from ..paths import CHROOT_GROUP, GROUP, Paths
from . import sshd_config
from .render import render
from .run import run
from .sshd_config import CONFIG, FRAGMENT, Line

SSHD = "/usr/sbin/sshd"
TEMPLATE = "ssh/000-jailctl.conf.j2"
_STAND_IN = "nobody"
"""Whom a candidate is asked about while nobody is jailed yet: sshd looks a user's groups up, so he has to exist."""

CONNECTIONS = (
    {"addr": "127.0.0.1", "host": "localhost"},
    {"addr": "192.0.2.7", "host": "client.example.net"},
    {"addr": "2001:db8::7", "host": "client.example.net"},
)


@dataclass(frozen=True)
class Difference:
    """A setting that does not hold for a jailed user. places: lines read before ours that may be why."""

    user: str
    connection: dict[str, str]
    keyword: str
    wanted: str
    found: str
    places: tuple[str, ...]

    def __str__(self) -> str:
        where = f" (see {', '.join(self.places)})" if self.places else ""
        of = " ".join(f"{key}={value}" for key, value in self.connection.items())
        return f"{self.keyword} is {self.found!r}, not {self.wanted!r}, for user={self.user} {of}{where}"


def fragment(paths: Paths) -> str:
    """The text of our fragment."""
    return render(paths, TEMPLATE)


def wanted(text: str, chroot: bool = False) -> dict[str, str]:
    """What ``sshd -T`` must print for a jailed user, from the text of a fragment: keyword to value, of each the first.

    chroot: for one whose jail is of that level."""
    values: dict[str, str] = {}
    ours = True
    for _, keyword, arguments in sshd_config.parse(text):
        if keyword == "match":
            ours = chroot or CHROOT_GROUP not in arguments
        elif ours and keyword not in values:
            values[keyword] = " ".join(sorted(arguments) if keyword == "acceptenv" else arguments)
    return values


def effective(connection: dict[str, str] | None = None, config: str = CONFIG) -> dict[str, str]:
    """What ``sshd -T`` says, keyword to value; keywords that come several times have them sorted, with blanks between.

    connection: keys user, host, addr, ... of ``-C``; None for the global settings. Raise ``host.sshd-config``."""
    argv = [SSHD, "-T", "-f", config]
    if connection is not None:
        argv += ["-C", ",".join(f"{key}={value}" for key, value in connection.items())]
    status, out, err = run(argv)
    if status != 0:
        raise JailkitError(
            "host.sshd-config", f"sshd refuses its configuration: {_first(err)}", f"{SSHD} -t -f {config}"
        )
    found: dict[str, list[str]] = {}
    for line in out.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword, []).append(value)
    return {keyword: " ".join(sorted(values)) for keyword, values in found.items()}


def require_include(config: str = CONFIG, path: str = FRAGMENT) -> None:
    """Raise ``host.sshd-include`` unless ``config`` reads our directory, for every connection."""
    try:
        lines = sshd_config.read(config)
    except FileNotFoundError:
        raise JailkitError("host.no-sshd", f"there is no {config}", "apt install openssh-server") from None
    takes = [line for line in lines if line.file == config and sshd_config.covers(line, path)]
    if not takes:
        raise JailkitError(
            "host.sshd-include",
            f"{config} does not read {os.path.dirname(path)}",
            f"add as its first line: Include {os.path.dirname(path)}/*.conf",
        )
    if takes[0].match:
        criteria = " ".join(takes[0].match[-1])
        raise JailkitError(
            "host.sshd-include",
            f"{takes[0].place} reads {os.path.dirname(path)} only within 'Match {criteria}'",
            f"move that Include line to the top of {config}",
        )


def differences(
    users: Sequence[str],
    want: dict[str, str],
    config: str = CONFIG,
    own: str = FRAGMENT,
    connections: Sequence[dict[str, str]] | None = None,
) -> list[Difference]:
    """Settings of ``want`` that do not hold, for each user and several connections: :data:`CONNECTIONS` and, for each
    Match block that is read before ``own``, one that it is about."""
    earlier = sshd_config.before(sshd_config.read(config), own)
    if connections is None:
        connections = [*CONNECTIONS, *({**CONNECTIONS[1], **s} for s in sshd_config.samples(earlier))]
    found: list[Difference] = []
    for user in users:
        for connection in connections:
            if connection.get("user", user) != user:
                continue
            asked = {key: value for key, value in connection.items() if key != "user"}
            has = effective({"user": user, **asked}, config)
            found += [
                Difference(user, asked, keyword, value, has.get(keyword, ""), _places(earlier, keyword))
                for keyword, value in want.items()
                if has.get(keyword, "") != value
            ]
    return found


def _places(earlier: list[Line], keyword: str) -> tuple[str, ...]:
    return tuple(line.place for line in earlier if line.keyword == keyword and line.match)


def check_candidate(paths: Paths, text: str, users: Sequence[str], chroot: bool = False) -> None:
    """Try ``text`` as our fragment without installing it: a copy of sshd's configuration that reads a file with
    ``text`` where ours stands. users: jailed ones, of level "chroot" or not; without any, a stand-in takes the place
    of their groups in the Match lines.

    Raise ``host.sshd-config`` (sshd -t fails), ``host.sshd-overridden`` (the values would not hold)."""
    want = wanted(text, chroot)
    if not users:
        for group in (GROUP, CHROOT_GROUP) if chroot else (GROUP,):
            text = text.replace(f"Match Group {group}\n", f"Match User {_STAND_IN}\n")
        users = [_STAND_IN]
    # /run: our directory there is not made yet at the first setup; mkdtemp makes it 0700
    with tempfile.TemporaryDirectory(prefix="jailctl-sshd-", dir="/run") as directory:
        own, config = f"{directory}/000-jailctl.conf", f"{directory}/sshd_config"
        with open(own, "w", encoding="utf-8") as file:
            file.write(text)
        with open(config, "w", encoding="utf-8") as file:
            file.write(_with_candidate(_read(CONFIG), own))
        status, _, err = run([SSHD, "-t", "-f", config])
        if status != 0:
            raise JailkitError(
                "host.sshd-config",
                f"sshd refuses the new configuration: {_first(err)}",
                f"{SSHD} -t; nothing has been changed",
            )
        refuse(differences(users, want, config, own))


def refuse(found: Sequence[Difference]) -> None:
    """Raise ``host.sshd-overridden`` if there is any difference."""
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise JailkitError(
            "host.sshd-overridden",
            f"sshd would not confine a jailed user: {found[0]}{more}",
            "move such Match blocks below the Include line, into a file whose name sorts after 000-jailctl.conf",
        )


def _with_candidate(text: str, own: str) -> str:
    """``sshd_config`` with each Include that takes in our fragment spelled out, the candidate standing for ours."""
    lines = text.split("\n")
    for number, keyword, arguments in sshd_config.parse(text):
        if not sshd_config.covers(Line(CONFIG, number, keyword, arguments), FRAGMENT):
            continue
        files = {file: file for file in sshd_config.included(arguments)} | {FRAGMENT: own}
        lines[number - 1] = "Include " + " ".join(f'"{files[file]}"' for file in sorted(files))
    return "\n".join(lines)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _first(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
