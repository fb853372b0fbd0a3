"""What `list` and `show` say of a jail."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import JailkitError
from ..jail import recipe as recipes
from ..jail import runtime
from ..jail.record import read_session
from ..kernel import proc
from ..paths import Paths
from .resolve import SUSPENDED
from .state import Row


@dataclass(frozen=True)
class JailInfo:
    """state: "running", "dormant", "suspended", "disabled", "adding" or "removing" (begun, not ended), "broken"
    (problem says why).

    base: first id of the jail's own range. image: digest of what it starts from; running_image: of what it runs in,
    None where it does not run. linger: seconds, None for ever. keys: how many may log in. sessions: open ones.
    created: seconds since the epoch. level: "namespaces", or "chroot" for files only, where host name, shell and
    network are ""."""

    name: str
    state: str
    uid: int
    gid: int
    base: int
    template: str
    image: str
    running_image: str | None
    home: str
    hostname: str
    shell: str
    network: str
    linger: int | None
    existing: bool
    keys: int
    sessions: int
    created: int
    problem: str = ""
    level: str = "namespaces"

    def data(self) -> dict[str, Any]:
        return asdict(self)


def info(paths: Paths, row: Row) -> JailInfo:
    """Read what is to be known of one jail. Raises nothing: what is wrong is in ``state`` and ``problem``."""
    made: recipes.Recipe | None = None
    problem = ""
    try:
        made = recipes.load(paths, row.name)
    except JailkitError as error:
        problem = error.message
    record = runtime.running(paths, row.uid)
    state = _state(row, made, problem, record is not None)
    image = ""
    if made is not None:
        try:
            image = recipes.image(paths, made)
        except JailkitError as error:
            state, problem = ("broken" if state == "dormant" else state), error.message
    shown = None if row.level == "chroot" else made
    return JailInfo(
        name=row.name,
        state=state,
        uid=row.uid,
        gid=row.gid,
        base=row.base,
        template=made.template if made else str(row.spec.get("template", "")),
        image=image,
        running_image=record.image if record else None,
        home=row.home,
        hostname=shown.hostname if shown else "",
        shell=shown.shell if shown else "",
        network=shown.network if shown else "",
        linger=made.linger if made else 0,
        existing=row.existing,
        keys=len(row.spec.get("keys", ())),
        sessions=_sessions(paths, row.uid),
        created=row.created,
        problem=problem if state == "broken" else made.disabled if made else "",
        level=row.level,
    )


def _state(row: Row, made: recipes.Recipe | None, problem: str, running: bool) -> str:
    if row.phase != "present":
        return row.phase
    if problem:
        return "broken"
    if made is not None and made.disabled:
        return "suspended" if made.disabled.startswith(SUSPENDED) else "disabled"
    return "running" if running else "dormant"


def _sessions(paths: Paths, uid: int) -> int:
    """Live sessions. Nothing is cleaned up here: that takes the jail's lock."""
    count = 0
    try:
        names = os.listdir(paths.sessions(uid))
    except OSError:
        return 0
    for name in names:
        try:
            session = read_session(f"{paths.sessions(uid)}/{name}")
        except (OSError, ValueError):
            continue
        if session is not None and proc.start_time(session.pid) == session.start:
            count += 1
    return count
