from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ...spec.config import Config
from .. import accounts, ids
from ..lookup import Lookup
from ..state import Row
from ..world import Rows, World
from .base import Operation

LOGIN_DEFS = "/etc/login.defs"


class Room:
    """The ids that this host has left for jails, as far as its own files and directory services say."""

    def __init__(self, config: Config, look: Lookup) -> None:
        self._low, self._high = ids.limits(config, _text(LOGIN_DEFS))
        self._highest = max(filter(range(self._low, self._high + 1).__contains__, look.uids()), default=0)
        self._taken = look.taken
        self._start = config.range_start
        foreign = [pair for path in accounts.SUBORDINATE for pair in ids.subordinate(_text(path))]
        self._foreign = [(low, count) for low, count in foreign if low + count > self._start]

    def uid(self, given: int) -> int:
        return ids.next_uid(self._low, self._high, given, [self._highest], self._taken)

    def base(self, given: int | None) -> int:
        return ids.next_base(self._start, given, self._foreign)


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
        room = Room(world.config, world.look)  # read before the database is locked: a directory may take its time
        self.insert(world.state, world.name, room)

    def insert(self, state: Rows, name: str, room: Room) -> Row:
        """Give ids of ``room`` to ``name``, and remember them for ever."""
        row = Row(
            name, self.uid, self.gid, 0, "adding", self.existing, self.old_shell, self.was_member, self.home, "",
            self.spec, int(time.time()), self.level,
        )  # fmt: skip

        def choose(given: int, last_base: int | None) -> tuple[int, int, int]:
            base = room.base(last_base)
            if self.existing:
                return self.uid, self.gid, base
            uid = room.uid(given)
            return uid, uid, base

        return state.reserve(row, choose)

    def undo(self, world: World) -> None:
        world.state.forget(world.name)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
