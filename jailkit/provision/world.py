"""What an operation may touch: the paths, the options, the state, and the notes of its own step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import JailkitError
from ..image.template import Template
from ..paths import Paths
from ..spec.config import Config
from . import resolve
from .lookup import LIVE, Lookup
from .state import Row


class Rows(Protocol):
    """What operations ask of the state, see state.State: rows of jails, themselves or as a chunk of jails shares
    them."""

    def get(self, name: str) -> Row | None: ...
    def update(self, name: str, **values: Any) -> None: ...
    def forget(self, name: str) -> None: ...
    def reserve(self, row: Row, choose: Any) -> Row: ...


@dataclass
class World:
    """results: what operations have to say when all is done. moved: told how many bytes have gone through so far, by
    what takes long.

    name: of the jail that the plan is about, whose lock is held. note: what this step has remembered, in this run or
    in one that was killed. keep: writes a note down before the thing that it names is made. point: called between the
    parts of an operation that a crash may separate (crash tests kill there).

    look, template: how accounts and templates are looked at; many jails share what was read. sync: False where the
    caller flushes whole file systems between :meth:`Operation.prepare`, :meth:`Operation.apply` and the step's mark."""

    paths: Paths
    config: Config
    state: Rows
    name: str
    note: dict[str, Any] = field(default_factory=dict)
    keep: Callable[[dict[str, Any]], None] = lambda note: None
    point: Callable[[str], None] = lambda label: None
    look: Lookup = LIVE
    template: Callable[[Paths, str], tuple[Template, str | None]] = resolve.template
    sync: bool = True
    results: dict[str, Any] = field(default_factory=dict)
    moved: Callable[[int], None] = lambda count: None

    def remember(self, **values: Any) -> None:
        """Add to the step's note, on the disk before this returns."""
        self.note = {**self.note, **values}
        self.keep(self.note)

    def row(self) -> Row:
        """The jail's row; its ids were reserved by the first operation."""
        row = self.state.get(self.name)
        if row is None:
            raise JailkitError("internal.no-row", f"no ids are reserved for {self.name}")
        return row
