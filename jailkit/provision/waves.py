"""Many plans at once: each step of all of them before the next step of any.

    intent     names that the steps are about to make: one transaction for all, with the marks of the steps before
    prepare    of all; then one syncfs(2) a file system, in place of an fsync(2) a file
    apply      of all, accounts in one rewrite; then the same
    ...
    end        one transaction that ends all plans

What is on the disk at any instant is what single plans leave that came as far: each jail has its own open plan with its
own marks, and whoever finds it there (Host.recover, the next add-user) ends it alone. A mark is written after what it
speaks of is on the disk, never before. A jail that fails is taken out, and undone when the others are done."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import JailkitError
from ..kernel import disk
from ..paths import Paths
from ..spec.config import Config
from .apply import Applier, Boundary, Progress, told
from .operations import Operation
from .state import Row, State
from .world import World


@dataclass
class Work:
    """The plan of one jail, on its way. plan: its number in the journal. at: the step that is under way or next.
    error: what ended it; the jail is then as it was, or as ``error`` says."""

    plan: int
    name: str
    kind: str
    operations: Sequence[Operation]
    world: World
    at: int = 0
    error: JailkitError | None = None

    @property
    def step(self) -> Operation:
        return self.operations[self.at]


class SharedRows:
    """Rows of the jails of a chunk, read once. Changes are seen at once by those who ask here, and written by
    :meth:`settle`. See world.Rows."""

    def __init__(self, state: State, rows: dict[str, Row]) -> None:
        self._state, self._rows = state, rows
        self._changed: dict[str, dict[str, Any] | None] = {}

    def get(self, name: str) -> Row | None:
        return self._rows.get(name)

    def update(self, name: str, **values: Any) -> None:
        self._changed[name] = {**(self._changed.get(name) or {}), **values}
        self._rows[name] = replace(self._rows[name], **values)

    def forget(self, name: str) -> None:
        self._changed[name] = None
        self._rows.pop(name, None)

    def reserve(self, row: Row, choose: Any) -> Row:
        self._rows[row.name] = self._state.reserve(row, choose)
        return self._rows[row.name]

    def settle(self, names: set[str]) -> None:
        """Write what was changed of ``names``; of the others it is dropped."""
        for name, values in self._changed.items():
            if name not in names:
                continue
            if values is None:
                self._state.forget(name)
            else:
                self._state.update(name, **values)
        self._changed = {}


@dataclass
class Waves:
    """Carries out the plans of one chunk. Called with the locks of all its jails held.

    boundary: for crash tests: number of the wave from 0, and "doing", "prepared", "applied", "done", "ended", or a name
    that an operation has for a point within itself. progress: called before each wave: its number from 1, how many are
    known, what it does."""

    paths: Paths
    config: Config
    state: State
    rows: SharedRows
    progress: Progress = lambda number, count, text: None
    boundary: Boundary = lambda number, label: None
    _finished: list[tuple[int, int]] = field(default_factory=list)
    _wave: int = 0
    _works: Sequence[Work] = ()

    def run(self, works: Sequence[Work]) -> None:
        """Carry out all; those that failed have an ``error``. Raises only what is no Exception, such as
        KeyboardInterrupt: then all plans are left open."""
        live, self._works = list(works), works
        try:
            while live:
                kind = _turn(live)
                self._one(kind, [work for work in live if work.step.kind == kind], live)
                live = [work for work in live if work.error is None and work.at < len(work.operations)]
            self._end([work for work in works if work.error is None])
        except Exception as error:  # noqa: BLE001  # of the journal itself: nobody's in particular
            for work in works:
                work.error = work.error or copy.copy(failure(error))
        for work in works:
            if work.error is not None:
                self._take_back(work, work.error)

    def _one(self, kind: str, wave: list[Work], live: list[Work]) -> None:
        self.progress(self._wave + 1, self._wave + max(len(work.operations) - work.at for work in live),
                      f"{kind} of {len(wave)}")  # fmt: skip
        for work in wave:
            work.world.note = work.step.intent(work.world)
            work.world.keep = _keeper(self.state, work)
            work.world.point = self._point
        with told(), self.state.together():
            self._settle(self._works)  # also those that have just come to their end
            self.state.mark(self._finished, [(work.plan, work.at, work.world.note) for work in wave])
        self._finished = []
        self._point("doing")
        todo = self._each(wave, lambda work: not work.step.check(work.world))
        if type(wave[0].step).prepare is not Operation.prepare:
            todo = self._each(todo, _prepare)
            self._flush(todo)
            self._point("prepared")
        self._apply(todo)
        self._flush(todo)
        self._point("applied")
        for work in wave:
            if work.error is None:
                self._finished.append((work.plan, work.at))
                work.at += 1
        self._wave += 1

    def _point(self, label: str) -> None:
        self.boundary(self._wave, label)

    def _settle(self, live: Sequence[Work]) -> None:
        self.rows.settle({work.name for work in live if work.error is None})

    def _each(self, works: list[Work], function: Callable[[Work], bool]) -> list[Work]:
        """Those of ``works`` for which it returns true; those for which it raises have failed."""

        def one(work: Work) -> bool:
            try:
                return function(work)
            except Exception as error:  # noqa: BLE001  # whatever it was, the others go on; it is told of this one
                work.error = failure(error)
                return False

        return [work for work in works if one(work)]

    def _apply(self, works: list[Work]) -> None:
        if not works:
            return
        kind: Any = type(works[0].step)
        if kind.apply_all.__func__ is Operation.apply_all.__func__:  # type: ignore[attr-defined]
            self._each(works, _do)
            return
        try:
            errors = kind.apply_all([(work.step, work.world) for work in works])
        except Exception as error:  # noqa: BLE001
            errors = {work.name: error for work in works}
        for work in works:
            if work.name in errors:
                work.error = copy.copy(failure(errors[work.name]))

    def _flush(self, works: list[Work]) -> None:
        """What was written is on the disk when this returns."""
        if not works:
            return
        places = {self.paths.var, self.paths.etc, *(os.path.dirname(work.world.row().home) for work in works
                                                    if self.rows.get(work.name))}  # fmt: skip
        seen: set[int] = set()
        try:
            for place in places:
                with contextlib.suppress(FileNotFoundError):
                    device = os.stat(place).st_dev
                    if device not in seen:
                        seen.add(device)
                        disk.sync_file_system(place)
        except OSError as error:
            for work in works:
                work.error = work.error or copy.copy(failure(error))

    def _end(self, works: Sequence[Work]) -> None:
        with told(), self.state.together():
            self._settle(works)
            for work in works:
                self.state.end(work.plan, work.name, "present" if work.kind != "remove" else None)
        self._point("ended")

    def _take_back(self, work: Work, error: JailkitError) -> None:
        try:
            Applier(self.paths, self.config, self.state, work.name).failed(error)
        except JailkitError as second:
            work.error = second


def _turn(works: Sequence[Work]) -> str:
    """The kind of step that comes next: one that no plan has still to come to, so that all can do it together."""
    later = {operation.kind for work in works for operation in work.operations[work.at + 1 :]}
    kinds = dict.fromkeys(work.step.kind for work in works)
    return next((kind for kind in kinds if kind not in later), next(iter(kinds)))


def _prepare(work: Work) -> bool:
    work.step.prepare(work.world)
    return True


def _do(work: Work) -> bool:
    work.step.apply(work.world)
    return True


def _keeper(state: State, work: Work) -> Callable[[dict[str, Any]], None]:
    return lambda values: state.note(work.plan, work.at, values)


def failure(error: Exception) -> JailkitError:
    """What became of one jail, as an error that an administrator can act on."""
    try:
        with told():
            raise error
    except JailkitError as known:
        return known
    except Exception as other:  # noqa: BLE001
        return JailkitError("internal.failed", f"{type(other).__name__}: {other}", "jailctl doctor; report it")
