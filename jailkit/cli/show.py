"""``jailctl show NAME``"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click

from ..errors import JailkitError
from .output import Settings, emit, pairs, say, table
from .verb import complete_jail, verb

if TYPE_CHECKING:
    from ..jail.record import Session
    from ..paths import Paths
    from ..provision.info import JailInfo

_EXAMPLES = """
jailctl show alice
jailctl show alice --json | jq .sessions
jailctl show alice --resolved      each setting and limit, and what says so: template, plan or jail
"""


@verb(
    "One jail: what its spec says it should be, and what is true of it now: state, process, sessions, keys.", _EXAMPLES
)
@click.argument("name", shell_complete=complete_jail)
@click.option("--resolved", is_flag=True, help="Show each setting and limit as it holds, and where it comes from.")
def command(settings: Settings, name: str, resolved: bool) -> None:
    from ..names import user_name
    from ..paths import Paths
    from ..provision.host import Host
    from . import provisioning

    paths = Paths(settings.root)
    name = user_name(name)
    host = Host(paths)
    try:
        jail = host.show(name)
        rows = host.resolved(name) if resolved else {}
    finally:
        host.close()
    if resolved:
        _resolved(settings, name, rows)
        return
    facts = _facts(paths, jail)
    facts["login"] = provisioning.ssh_line(name, jail.level)
    if settings.json:
        emit({"jail": jail.data(), **facts})
    elif not settings.quiet:
        _print(settings, jail, facts)


def _resolved(settings: Settings, name: str, rows: dict[str, dict[str, Any]]) -> None:
    if settings.json:
        emit({"name": name, "resolved": rows})
        return
    table(("setting", "value", "from"), [(key, _value(row["value"]), row["from"]) for key, row in rows.items()])


def _value(value: object) -> str:
    if value is None:
        return "no limit"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _facts(paths: Paths, jail: JailInfo) -> dict[str, Any]:
    """What JailInfo does not have: the process, open sessions, keys, where the spec is."""
    from ..jail import runtime
    from ..kernel import proc
    from ..spec import load

    record = runtime.running(paths, jail.uid)
    try:
        spec, _ = load.jail_spec(paths, jail.name)
        keys, problem = [_key(line) for line in spec.keys], ""
    except JailkitError as error:
        keys, problem = [], error.message
    return {
        "spec_file": paths.spec(jail.name),
        "spec_problem": problem,
        "pid": (record.pid or None) if record else None,
        "processes": sum(1 for _ in proc.of_uid(jail.uid)),
        "keys": keys,
        "sessions": [_session(session) for session in _sessions(paths, jail.uid)],
    }


def _sessions(paths: Paths, uid: int) -> list[Session]:
    """Open ones. Read only: taking stale records away needs the jail's lock."""
    from ..jail.record import read_session
    from ..kernel import proc

    found = []
    directory = paths.sessions(uid)
    for entry in os.listdir(directory) if os.path.isdir(directory) else []:
        try:
            session = read_session(f"{directory}/{entry}")
        except (OSError, ValueError):
            continue
        if session is not None and proc.start_time(session.pid) == session.start:
            found.append(session)
    return sorted(found, key=lambda session: session.time)


def _session(session: Session) -> dict[str, Any]:
    return {
        "pid": session.pid,
        "service": session.service,
        "from": session.rhost,
        "terminal": session.tty,
        "since": session.time,
        "auth": [_method(line) for line in session.auth.splitlines()],
    }


def _method(line: str) -> dict[str, str]:
    """A line of ``SSH_AUTH_INFO_0``: "password", or "publickey TYPE BASE64" (cut off where the record had no room)."""
    method, _, key = line.partition(" ")
    try:
        return {"method": method, "fingerprint": _key(key)["fingerprint"] if key else ""}
    except (ValueError, IndexError):
        return {"method": method, "fingerprint": ""}


def _key(line: str) -> dict[str, str]:
    """Type, fingerprint as ssh-keygen -l prints it, comment."""
    from ..provision.keys import fingerprint

    kind, _, *comment = line.split(" ", 2)
    return {"type": kind, "fingerprint": fingerprint(line), "comment": " ".join(comment)}


def _print(settings: Settings, jail: JailInfo, facts: dict[str, Any]) -> None:
    from ..jail.chroot import FILES

    state, files_only = jail.state, jail.level == "chroot"
    if facts["pid"] is not None:
        state = f"{jail.state}, process {facts['pid']}, processes in it: {facts['processes']}"
    old = jail.running_image not in (None, jail.image)
    pairs([
        ("name", jail.name),
        ("state", state),
        ("problem", jail.problem or facts["spec_problem"]),
        ("account", f"uid {jail.uid}, gid {jail.gid}" + (", there before jailkit" if jail.existing else "")),
        ("own ids", f"{jail.base} to {jail.base + 1023}"),
        ("home", jail.home),
        ("level", "chroot: files only, by sftp" if files_only else jail.level),
        ("her files", f"{jail.home}/{FILES}" if files_only else ""),
        ("shell", jail.shell),
        ("host name", jail.hostname),
        ("network", jail.network),
        ("ends", "never by itself" if jail.linger is None else f"{jail.linger} s after its last session"),
        ("template", f"{jail.template}, image {jail.image[:12]}{' (it runs in an older one still)' if old else ''}"),
        ("made", _time(jail.created)),
        ("spec", facts["spec_file"]),
        ("log in", facts["login"]),
    ])  # fmt: skip
    if facts["keys"]:
        say(settings, "\nKeys")
        for key in facts["keys"]:
            pairs([("  " + key["type"], f"{key['fingerprint']}  {key['comment']}")])
    else:
        say(settings, "\nNo keys.")
    if facts["sessions"]:
        say(settings, "\nSessions")
        names = {key["fingerprint"]: key["comment"] for key in facts["keys"]}
        rows = [
            (s["service"], s["from"], s["terminal"], _time(s["since"]), s["pid"], _by(s, names))
            for s in facts["sessions"]
        ]
        table(("service", "from", "terminal", "since", "process", "by"), rows)
    elif jail.state == "running":
        say(settings, "\nNo sessions.")


def _by(session: dict[str, Any], names: dict[str, str]) -> str:
    """How the session was authenticated; a key by its comment, where it is one of hers."""
    words = []
    for auth in session["auth"]:
        print_ = auth["fingerprint"]
        words.append(f"{auth['method']} {names.get(print_) or print_}".strip())
    return ", ".join(words)


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
