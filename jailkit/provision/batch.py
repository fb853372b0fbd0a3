"""Thousands of jails in one call: in chunks of some hundreds, each step of all of them at once (waves.py).

What is not plain goes the ordinary way, one jail at a time, as many at once as ``jobs`` says: jails that another
process works on now, those with an interrupted plan, and plans that archive a home."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any, Literal, TypeVar

from ..errors import JailkitError
from ..paths import Paths
from ..spec.config import Config
from . import accounts, lock
from .apply import Boundary
from .crew import Chunk, Crew
from .operations import MoveHome, Reserve, WriteArchive
from .operations.reserve import Room
from .plan import Plan
from .state import State
from .view import View
from .waves import SharedRows, Waves, Work, failure
from .world import World

T = TypeVar("T")
CHUNK = 256
"""Jails that are worked on together. More would save little, hold locks longer, and leave more to recover."""

Outcome = Literal["added", "changed", "removed", "same", "failed"]
Progress = Callable[[int, int | None, str], None]
"""Jails that are done, how many there are (None: not known), and what is being done now."""
Stop = Callable[[], bool] | Event


@dataclass(frozen=True)
class Result:
    """What became of one jail. plan: what was done, None where it came to none. error: of a jail that failed, which is
    as it was before unless the error says otherwise. seconds: its share of what its chunk took."""

    name: str
    outcome: Outcome
    plan: Plan | None = None
    error: JailkitError | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Task:
    """One jail. judge: its plan, as the view of the chunk has it. alone: carries it out the ordinary way, waiting for
    its lock; returns the plan. Both raise JailkitError. prepare: what takes long and needs no lock (hashing a
    password); it is told whether the jail is there already."""

    name: str
    judge: Callable[[View], Plan]
    alone: Callable[[], Plan]
    prepare: Callable[[bool], None] | None = None


class Batch:
    """Carries out tasks. Prints nothing; one may be used once."""

    def __init__(
        self, paths: Paths, config: Config, state: State, jobs: int = 1, progress: Progress | None = None,
        stop: Stop | None = None, boundary: Boundary | None = None,
    ) -> None:  # fmt: skip
        self._paths, self._config, self._state = paths, config, state
        self._jobs, self._done = max(1, jobs), 0
        self._total: int | None = None
        self._progress = progress or (lambda done, total, text: None)
        self._boundary = boundary or (lambda number, label: None)
        self._stop = _asked(stop)

    def run(self, tasks: Iterable[Task], total: int | None = None) -> Iterator[Result]:
        """A result for each task that was begun, in their order, as chunks end. ``tasks`` is read as they are needed;
        total: how many there are, if it is known."""
        left, self._total = iter(tasks), total
        with ThreadPoolExecutor(self._jobs) as pool:
            pending: list[Task] = []
            while not self._stop():
                chunk, pending = _chunk(itertools.chain(pending, left), lambda task: task.name)
                if not chunk:
                    return
                begin = time.monotonic()
                found = self._carry_out(chunk, pool)
                self._done += len(chunk)
                share = (time.monotonic() - begin) / len(chunk)
                self._progress(self._done, self._total, "")
                for task in chunk:
                    outcome, plan, error = found[task.name]
                    yield Result(task.name, outcome, plan, error, share)

    def _carry_out(self, chunk: Sequence[Task], pool: Executor) -> dict[str, _Found]:
        found: dict[str, _Found] = {}
        names = [task.name for task in chunk]
        if any(task.prepare for task in chunk):
            there = self._state.rows(names)
            errors = pool.map(lambda task: _prepared(task, task.name in there), chunk)
            for task, error in zip(chunk, errors, strict=True):
                if error is not None:
                    found[task.name] = "failed", None, error
        apart: list[Task] = []
        with lock.all_locked(self._paths, names) as free:
            opened = set(self._state.open_names())
            left = [task for task in chunk if task.name not in found]
            plain = [task for task in left if task.name in free and task.name not in opened]
            apart = [task for task in left if task.name not in free or task.name in opened]
            view = View(self._state.rows(names))
            plans: dict[str, Plan] = {}
            for task in plain:
                try:
                    plan = task.judge(view)
                except Exception as error:  # noqa: BLE001  # whatever it was, the others go on; it is told of this one
                    found[task.name] = "failed", None, failure(error)
                    continue
                if not plan.operations:
                    found[task.name] = "same", plan, None
                elif any(isinstance(operation, (WriteArchive, MoveHome)) for operation in plan.operations):
                    apart.append(task)
                else:
                    plans[task.name] = plan
            found |= self._waves(plans, view)
        for task, one in zip(apart, pool.map(_alone, apart), strict=True):
            found[task.name] = one
        return found

    def _waves(self, plans: dict[str, Plan], view: View) -> dict[str, _Found]:
        if not plans:
            return {}
        found: dict[str, _Found] = {}
        rows = SharedRows(self._state, view.rows)
        try:
            works, refused = self._begin(plans, view, rows)
        except Exception as error:  # noqa: BLE001  # nothing is begun
            return {name: ("failed", plan, failure(error)) for name, plan in plans.items()}

        def progress(number: int, count: int, text: str) -> None:
            self._progress(self._done, self._total, text)

        Waves(self._paths, self._config, self._state, rows, progress, self._boundary).run(works)
        for work in works:
            plan = plans[work.name]
            found[work.name] = (outcome(plan), plan, None) if work.error is None else ("failed", plan, work.error)
        for name, refusal in refused.items():
            found[name] = "failed", plans[name], refusal
        return found

    def _begin(
        self, plans: dict[str, Plan], view: View, rows: SharedRows
    ) -> tuple[list[Work], dict[str, JailkitError]]:
        """Write all plans down, with the ids of those that need some, in one transaction."""
        works: list[Work] = []
        refused: dict[str, JailkitError] = {}
        room = None
        if any(isinstance(plan.operations[0], Reserve) for plan in plans.values()):
            accounts.ensure_groups(self._paths)
            room = Room(self._config, view.look)
        now = int(time.time())
        with self._state.together():
            for name, plan in plans.items():
                world = World(self._paths, self._config, rows, name, look=view.look, template=view.template, sync=False)
                first, at = plan.operations[0], 0
                if room is not None and isinstance(first, Reserve):
                    try:
                        first.insert(rows, name, room)
                    except JailkitError as error:
                        refused[name] = error
                        continue
                    at = 1
                number = self._state.begin(name, plan.kind, [operation.data() for operation in plan.operations], now)
                if at:
                    self._state.mark([(number, 0)], [])
                works.append(Work(number, name, plan.kind, plan.operations, world, at))
        self._boundary(-1, "begun")
        return works, refused


_Found = tuple[Outcome, Plan | None, JailkitError | None]


def _prepared(task: Task, there: bool) -> JailkitError | None:
    try:
        if task.prepare is not None:
            task.prepare(there)
    except Exception as error:  # noqa: BLE001  # as below
        return failure(error)
    return None


def _alone(task: Task) -> _Found:
    try:
        plan = task.alone()
    except Exception as error:  # noqa: BLE001  # whatever it was, the others go on; it is told of this one
        return "failed", None, failure(error)
    return outcome(plan), plan, None


def spread(
    root: str, method: str, items: Iterator[T], name: Callable[[T], str], options: dict[str, Any], jobs: int,
    progress: Progress | None, stop: Stop | None, total: int | None,
) -> Iterator[Result]:  # fmt: skip
    """What ``method`` of a Host of ``root`` does for ``items``, by ``jobs`` processes; see :meth:`Batch.run`."""
    done, stopped = 0, _asked(stop)

    def chunks() -> Iterator[Chunk]:
        pending: list[T] = []
        while True:
            found, pending = _chunk(itertools.chain(pending, items), name)
            if not found:
                return
            yield Chunk(method, found, {**options, "jobs": 1}, frozenset(map(name, found)))

    with Crew(root, jobs) as crew:
        for results in crew.run(chunks(), lambda: not stopped()):
            done += len(results)
            if progress:
                progress(done, total, "")
            yield from results


def _asked(stop: Stop | None) -> Callable[[], bool]:
    return stop.is_set if isinstance(stop, Event) else stop or (lambda: False)


def length(items: object) -> int | None:
    """How many there are, of what knows it without being read."""
    return len(items) if isinstance(items, Sized) else None


def outcome(plan: Plan) -> Outcome:
    """What has become of a jail whose plan was carried out."""
    if not plan.operations:
        return "same"
    return "added" if plan.kind == "add" else "removed" if plan.kind == "remove" else "changed"


def _chunk(items: Iterator[T], name: Callable[[T], str]) -> tuple[list[T], list[T]]:
    """The next ones, of different jails, and the one that was read and belongs to the next chunk."""
    found: dict[str, T] = {}
    for item in itertools.islice(items, CHUNK):
        if name(item) in found:
            return list(found.values()), [item]
        found[name(item)] = item
    return list(found.values()), []
