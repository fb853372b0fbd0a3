"""How chunks are cut, and in which order the steps of many plans are done together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jailkit.errors import JailkitError
from jailkit.provision import batch, waves
from jailkit.provision.crew import Chunk, Crew
from jailkit.provision.operations import Operation
from jailkit.provision.plan import Plan

KINDS = "abcdefgh"
OPERATIONS = {kind: type(f"Fake{kind}", (Operation,), {"kind": kind})("") for kind in KINDS}


def works(plans: list[str]) -> list[waves.Work]:
    world: Any = None
    return [
        waves.Work(number, f"jail{number}", "add", [OPERATIONS[kind] for kind in plan], world)
        for number, plan in enumerate(plans)
    ]


def order(plans: list[str]) -> list[str]:
    """The waves: which kind is done, until all are."""
    live, done = works(plans), []
    while live:
        kind = waves._turn(live)
        done.append(kind)
        for work in live:
            if work.step.kind == kind:
                work.at += 1
        live = [work for work in live if work.at < len(work.operations)]
        assert len(done) < 1000
    return done


@given(
    st.lists(
        st.sets(st.sampled_from(KINDS), min_size=1).map(lambda kinds: "".join(sorted(kinds))), min_size=1, max_size=9
    )
)
def test_plans_with_parts_of_one_order_do_each_kind_of_step_once(plans: list[str]) -> None:
    assert sorted(order(plans)) == sorted(set("".join(plans)))


@given(st.lists(st.text(KINDS, min_size=1, max_size=6), min_size=1, max_size=6))
def test_plans_of_any_order_come_to_their_end(plans: list[str]) -> None:
    assert len(order(plans)) <= sum(map(len, plans))


@given(st.lists(st.integers(0, 400), max_size=600))
def test_chunks_have_each_jail_once_and_all_in_their_order(numbers: list[int]) -> None:
    left, pending, found = iter(numbers), list[int](), []
    while True:
        chunk, pending = batch._chunk(itertools.chain(pending, left), str)
        if not chunk:
            break
        assert len(set(chunk)) == len(chunk) <= batch.CHUNK
        found += chunk
    assert found == numbers


def test_a_chunk_is_all_that_is_read() -> None:
    read: list[int] = []

    def endless() -> Iterator[int]:
        for number in itertools.count():
            read.append(number)
            yield number

    batch._chunk(endless(), str)
    assert len(read) == batch.CHUNK


def test_outcomes() -> None:
    steps = (OPERATIONS["a"],)
    found = [batch.outcome(Plan("x", kind, steps)) for kind in ("add", "change", "mend", "remove")]
    assert found == ["added", "changed", "changed", "removed"]
    assert batch.outcome(Plan("x", "add", ())) == "same"


def test_what_fails_becomes_an_error_that_can_be_acted_on() -> None:
    own = JailkitError("conflict.x", "so it is", "hint")
    assert waves.failure(own) is own
    assert waves.failure(OSError(28, "No space left on device", "/x")).code == "io.full"
    assert waves.failure(KeyError("x")).code == "internal.failed"


class Worker:
    """A worker that only notes what it is asked."""

    log: list[str]

    def __init__(self, log: list[str]) -> None:
        self.log, self.names, self.left = log, frozenset[str](), list[Any]()

    def ask(self, chunk: Chunk) -> None:
        self.names, self.left = chunk.names, chunk.items
        self.log.append(f"ask {chunk.items[0]}")

    def answer(self) -> list[Any]:
        self.log.append(f"answer {self.left[0]}")
        return self.left

    def close(self) -> None:
        pass


def crew(log: list[str], count: int) -> Crew:
    made = Crew("/", 0)
    made._free = [Worker(log) for _ in range(count)]  # type: ignore[misc]
    return made


def test_a_jail_is_with_one_process_at_a_time_and_answers_come_in_order() -> None:
    log: list[str] = []
    chunks = [Chunk("m", [number], {}, frozenset(names)) for number, names in enumerate(("ab", "cd", "ax", "ef"))]
    assert list(crew(log, 3).run(iter(chunks), lambda: True)) == [[0], [1], [2], [3]]
    assert log.index("answer 0") < log.index("ask 2")
    assert log.index("ask 1") < log.index("answer 0")


def test_a_crew_that_is_stopped_reads_no_further_chunk() -> None:
    log: list[str] = []
    chunks = (Chunk("m", [number], {}, frozenset(str(number))) for number in itertools.count())
    answers = list(crew(log, 2).run(chunks, lambda: len(log) < 5))
    assert answers == [[number] for number in range(len(answers))]
    assert 2 < len(answers) < 6 and next(chunks).items == [len(answers)]
