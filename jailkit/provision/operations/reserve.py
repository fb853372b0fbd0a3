from __future__ import annotations

import pwd
import time
from dataclasses import dataclass, field
from typing import Any

from .. import accounts, ids
from ..state import Row
from ..world import World
from .base import Operation

LOGIN_DEFS = "/etc/login.defs"
_SUBORDINATE = ("/etc/subuid", "/etc/subgid")


@dataclass(frozen=True)
class Reserve(Operation):
    """First of all: the row that says "this name is being added", with ids that nobody else gets, now or ever.

    What comes later carries these ids, so that after a crash it can be told from what is somebody else's."""

    home: str
    existing: bool = False
    uid: int = 0
    gid: int = 0
    old_shell: str = ""
    was_member: bool = False
    spec: dict[str, Any] = field(default_factory=dict)
    level: str = "namespaces"

    kind = "reserve"

    def describe(self) -> str:
        if self.existing:
            return f"remember uid {self.uid} and shell {self.old_shell}; reserve a range of ids"
        return "reserve a uid and a range of ids that were never given before"

    def check(self, world: World) -> bool:
        return world.state.get(world.name) is not None

    def apply(self, world: World) -> None:
        accounts.ensure_groups(world.paths)
        row = Row(
            world.name, self.uid, self.gid, 0, "adding", self.existing, self.old_shell, self.was_member, self.home, "",
            self.spec, int(time.time()), self.level,
        )  # fmt: skip
        # read before the database is locked: a directory service may take its time
        used = [entry.pw_uid for entry in pwd.getpwall()]
        foreign = [pair for path in _SUBORDINATE for pair in ids.subordinate(_text(path))]
        low, high = ids.limits(world.config, _text(LOGIN_DEFS))

        def choose(given: int, last_base: int | None) -> tuple[int, int, int]:
            base = ids.next_base(world.config.range_start, last_base, foreign)
            if self.existing:
                return self.uid, self.gid, base
            uid = ids.next_uid(low, high, given, used, ids.taken)
            return uid, uid, base

        world.state.reserve(row, choose)

    def undo(self, world: World) -> None:
        world.state.forget(world.name)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
