"""Carrying out a plan under the jail's lock, with a journal: each step is marked before and after on the disk.

Killed anywhere, the journal says how far it came. The next run goes on from the step that was under way, whose
operation finds its own half-done work; if that fails, everything is undone in reverse, unless something was destroyed
already: then it can only go forward, and the next run tries again."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import JailkitError
from ..paths import Paths
from ..spec.config import Config
from .operations import Operation, RenameRow, from_data
from .state import OpenPlan, State
from .world import World

Progress = Callable[[int, int, str], None]
"""Called before each step: its number from 1, how many there are, what it does."""
Boundary = Callable[[int, str], None]
"""Called at each boundary, for crash tests: number of the step from 0, and "doing" (marked, not begun), "applied"
(done, not marked), "done", "undoing", "undone", or a name that the operation has for a point within itself."""

_MIB = 1 << 20


def _nothing(*_: object) -> None:
    return


class Applier:
    """Carries out plans of one jail. Every method is called with the jail's lock held."""

    def __init__(
        self,
        paths: Paths,
        config: Config,
        state: State,
        name: str,
        progress: Progress | None = None,
        boundary: Boundary | None = None,
    ) -> None:
        self._world = World(paths, config, state, name)
        self._state = state
        self._name = name
        self._progress = progress or _nothing
        self._boundary = boundary or _nothing

    @property
    def results(self) -> dict[str, Any]:
        """What the operations had to say."""
        return self._world.results

    def begin(self, kind: str, operations: Sequence[Operation]) -> None:
        """Write the plan down and carry it out. Raise what an operation raised, after undoing what was done."""
        with told():
            with self._state.together():
                self._state.begin(self._name, kind, [operation.data() for operation in operations], int(time.time()))
                if isinstance(operations[0], RenameRow):  # there is no moment when the plan is one of no jail
                    operations[0].apply(self._world)
            self.resume()

    def resume(self) -> None:
        """Go on with the open plan, in the direction that it had."""
        plan = self._open()
        if plan.direction == "back":
            self.undo()
            return
        try:
            with told():
                self._forward(plan)
        except BaseException as error:
            self.failed(error)
            raise
        try:
            self._state.end(plan.id, self._name, "present" if plan.kind != "remove" else None)
        except JailkitError as error:
            _goes_on(error)  # every step is done
            raise

    def undo(self) -> None:
        """Take the open plan back. Raise ``interrupted.undo`` when something of it cannot be undone now."""
        plan = self._open()
        self._state.turn_back(plan.id)
        for number, (data, state, note) in reversed(list(enumerate(plan.steps))):
            if state == "todo":
                continue
            self._boundary(number, "undoing")
            self._enter(plan, number, note)
            try:
                with told():
                    from_data(data).undo(self._world)
            except JailkitError as error:
                raise JailkitError(
                    "interrupted.undo", f"cannot undo '{from_data(data).describe()}': {error.message}",
                    error.hint or "run it again",
                ) from None  # fmt: skip
            self._state.step(plan.id, number, "todo")
            self._boundary(number, "undone")
        self._state.end(plan.id, self._name, None if plan.kind == "add" else "present")

    def _open(self) -> OpenPlan:
        plan = self._state.open_plan(self._name)
        if plan is None:
            raise JailkitError("internal.no-plan", f"no plan of {self._name} is open")
        return plan

    def _enter(self, plan: OpenPlan, number: int, note: dict[str, object]) -> None:
        self._world.note = dict(note)
        self._world.keep = lambda values: self._state.note(plan.id, number, values)
        self._world.point = lambda label: self._boundary(number, label)
        self._world.moved = self._rate(number + 1, len(plan.steps), plan.steps[number][0])

    def _rate(self, number: int, total: int, data: dict[str, Any]) -> Callable[[int], None]:
        """Says how far a long step has come, and how fast: four times a second."""
        began = said = time.monotonic()

        def moved(count: int) -> None:
            nonlocal said
            now = time.monotonic()
            if now - said > 0.25:
                said = now
                rate = count / _MIB / (now - began)
                text = f"{from_data(data).describe()}: {count // _MIB:,} MiB, {rate:,.0f} MiB/s"
                self._progress(number, total, text)

        return moved

    def _forward(self, plan: OpenPlan) -> None:
        for number, (data, state, note) in enumerate(plan.steps):
            if state == "done":
                continue
            operation = from_data(data)
            self._progress(number + 1, len(plan.steps), operation.describe())
            note = note or operation.intent(self._world)
            with self._state.together():
                self._state.step(plan.id, number, "doing")
                self._state.note(plan.id, number, note)
            self._boundary(number, "doing")
            self._enter(plan, number, note)
            if not operation.check(self._world):
                operation.prepare(self._world)
                operation.apply(self._world)
            self._boundary(number, "applied")
            self._state.step(plan.id, number, "done")
            self._boundary(number, "done")

    def failed(self, error: BaseException) -> None:
        """Undo after ``error``, unless something was destroyed already. What undoing raises is said in its place."""
        plan = self._state.open_plan(self._name)
        if plan is None:
            return
        if past_return(self._world.paths, plan):
            if isinstance(error, JailkitError):
                _goes_on(error)
            return
        try:
            self.undo()
        except JailkitError as second:
            raise JailkitError(second.code, f"{error}; and {second.message}", second.hint) from error


def _goes_on(error: JailkitError) -> None:
    error.hint = f"{error.hint}; then run it again: it goes on where it stopped".removeprefix("; ")


def past_return(paths: Paths, plan: OpenPlan) -> bool:
    """Whether ``plan`` has come so far that it is finished rather than undone: something was destroyed, or somebody
    may have logged in."""
    for data, state, _ in plan.steps:
        operation = from_data(data)
        if operation.final and (state == "done" or (state == "doing" and operation.effective(paths, plan.name))):
            return True
    return False


@contextlib.contextmanager
def told() -> Iterator[None]:
    """An OSError as an error that an administrator can act on."""
    try:
        yield
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        text = f"{where}{error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise JailkitError("io.full", f"no room to write: {text}", "df -h; df -i; ulimit -f") from error
        if error.errno == errno.EROFS:
            raise JailkitError("io.read-only", text, "mount -o remount,rw") from error
        raise JailkitError("io.failed", text, "jailctl doctor") from error
