"""Host services that templates let into jails: each is there, is reached by the jails that run, and is all that is let
in."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
from functools import partial

from ..jail import connect, runtime
from ..jail.recipe import Recipe
from ..relay import message
from .check import Check, Finding, Host, count, fail, ok, several, warn

_LOG = "/dev/log"
_RESOLV_CONF = "/etc/resolv.conf"
_SECONDS = 2.0
_SERVERS = {"mysql": ("mariadb", "mysql"), "postgresql": ("postgresql", "")}
"""The service that is started, and one whose unit is known to make the directory anew at each start."""


def _using(host: Host, connector: str) -> list[Recipe]:
    return [recipe for recipe in host.recipes.values() if connector in recipe.connectors and not recipe.disabled]


def _running(host: Host, recipes: list[Recipe]) -> list[tuple[Recipe, int]]:
    """Those whose jail runs, with the keeper's pid."""
    found = [(recipe, runtime.running(host.paths, recipe.uid)) for recipe in recipes]
    return [(recipe, record.pid) for recipe, record in found if record is not None and record.pid]


def _relay(host: Host) -> list[Finding]:
    needed = [recipe for recipe in host.recipes.values() if connect.relayed(recipe)]
    running = [recipe.user for recipe, _ in _running(host, needed)]
    status = connect.status(host.paths)
    if not running:
        return ok("no running jail needs it")
    missing = sorted({*running} - {*status.jails}) if status else sorted(running)
    found = [
        fail(f"{name} runs without it: its log lines and lookups are lost", f"jailctl stop {name}") for name in missing
    ]
    if status and status.deaths:
        found.append(
            warn(f"its worker was started anew {count(status.deaths, 'time')}", "journalctl -t jailctl-relay says why")
        )
    return several(found, f"{count(len(running), 'running jail')} served")


def _syslog(host: Host) -> list[Finding]:
    users = _using(host, "syslog")
    if not users:
        return ok("no jail uses it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        try:
            log.connect(_LOG)
        except OSError as error:
            seen = f"{_LOG}: {error.strerror}: what {count(len(users), 'jail')} log is dropped and counted"
            return [warn(seen, "systemctl restart systemd-journald, or: apt install rsyslog; service rsyslog start")]
    return ok(f"{_LOG} takes lines")


def _dns(host: Host) -> list[Finding]:
    users = [recipe for recipe in _using(host, "dns") if recipe.network != "host"]
    if not users:
        return ok("no jail uses it")
    try:
        with open(_RESOLV_CONF, encoding="utf-8", errors="replace") as file:
            servers = message.resolvers(file.read(1 << 16))
    except OSError as error:
        return [fail(f"{_RESOLV_CONF}: {error.strerror}", f"ls -lL {_RESOLV_CONF}")]
    silent = [(server, why) for server in servers if (why := _answers(server))]
    found = [
        (fail if len(silent) == len(servers) else warn)(
            f"the resolver {server} does not answer: {why}", f"mend {_RESOLV_CONF}; getent hosts debian.org"
        )
        for server, why in silent
    ]
    return several(found, f"{', '.join(servers)} {'answers' if len(servers) == 1 else 'answer'}")


def _answers(server: str) -> str:
    """Ask for the root's name servers; any answer will do. Return "", or why there is none."""
    query = b"\0\0\x01\0\0\x01\0\0\0\0\0\0" + b"\0\0\x02\0\x01"
    try:
        (family, _, _, _, where), *_ = socket.getaddrinfo(
            server, 53, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
        with socket.socket(family, socket.SOCK_DGRAM) as asked:
            asked.connect(where)
            asked.send(query)
            if not select.select([asked], [], [], _SECONDS)[0]:
                return f"nothing came within {_SECONDS:.0f} s"
            return "" if len(asked.recv(4096)) >= 12 else "what came is no DNS message"
    except OSError as error:
        return error.strerror or str(error)


def _server(connector: str, host: Host) -> list[Finding]:
    users = _using(host, connector)
    if not users:
        return ok("no jail uses it")
    path, service = connect.DIRECTORIES[connector], _SERVERS[connector][0]
    try:
        status = os.lstat(path)
    except OSError as error:
        seen = f"{path}: {error.strerror}: {count(len(users), 'jail')} cannot reach the server"
        return [warn(seen, f"service {service} start")]
    if not stat.S_ISDIR(status.st_mode):
        return [fail(f"{path} is not a directory: jails do not get it", f"ls -ld {path}")]
    found = []
    if status.st_mode & 0o002:
        found.append(fail(f"{path}: everybody may put something there, and jails see it", f"chmod o-w {path}"))
    sockets, dead = _sockets(path)
    if not [name for name in sockets if name not in dead]:
        found.append(warn(f"no server listens in {path}", f"service {service} start"))
    found += [warn(f"nobody listens at {path}/{name}", f"rm {path}/{name}, or start its server") for name in dead]
    for recipe, pid in _running(host, users):
        if not _sees(pid, path):
            seen = f"{path} was made (anew) after the jail of {recipe.user} was started: it does not see the server"
            found.append(warn(seen, f"jailctl stop {recipe.user}"))
    return several(found, f"{path}: {', '.join(sockets)}")


def _sockets(path: str) -> tuple[list[str], list[str]]:
    """Names of the sockets in a directory, and those of them where nobody listens."""
    found, dead = [], []
    for name in sorted(os.listdir(path)):
        if not stat.S_ISSOCK(os.lstat(f"{path}/{name}").st_mode):
            continue
        found.append(name)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
            asked.settimeout(_SECONDS)
            try:
                asked.connect(f"{path}/{name}")
            except OSError as error:
                if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                    dead.append(name)
    return found, dead


def _sees(pid: int, path: str) -> bool:
    """Whether the jail with this keeper has the directory as it is now: a removed one is marked in its table of mounts
    (proc_pid_mountinfo(5), which is read instead of a path in somebody else's root)."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as file:
        roots = [fields[3] for fields in map(str.split, file) if fields[4] == path]
    return bool(roots) and not roots[-1].endswith("//deleted")


CHECKS = [
    Check("connectors.relay", "the relay serves every running jail that needs it", _relay),
    Check("connectors.syslog", "the host's log takes what jails log", _syslog),
    Check("connectors.dns", "the host's resolvers answer", _dns),
    Check("connectors.mysql", "the MySQL server can be reached from jails", partial(_server, "mysql")),
    Check("connectors.postgresql", "the PostgreSQL server can be reached from jails", partial(_server, "postgresql")),
]
