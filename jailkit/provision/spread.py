"""A survey on all cores. Looking at a jail computes (TOML, templates, comparisons) and hardly waits, so threads of one
interpreter would not be faster: blocks of jails go to processes, which are forked after the manifest was read and send
back what is not as it should be.

A process with threads must not be forked: a lock that one of them held would be held for ever. There the survey is made
in the process itself."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import IO

from ..errors import JailkitError
from ..paths import Paths
from ..spec.config import Config
from .state import State
from .survey import Asked, Finding, Survey

_BLOCK = 200
_WORTH = 600
"""Jails for which another process pays."""


def findings(
    paths: Paths, config: Config, state: State | None, wanted: Sequence[Asked], jobs: int = 1, brief: bool = False
) -> Iterator[Finding]:
    """See Survey.findings. jobs: processes at once. Raise ``interrupted.worker`` where one was killed."""
    jobs = min(jobs, len(wanted) // _WORTH + 1, len(os.sched_getaffinity(0)))
    if jobs < 2 or threading.active_count() > 1:
        yield from Survey(paths, config, state, brief).findings(wanted)
        return
    workers: list[tuple[int, IO[bytes]]] = []
    try:
        for number in range(jobs):
            workers.append(_fork(paths, config, state is not None, wanted, number, jobs, brief, workers))
        for block, start in enumerate(range(0, len(wanted), _BLOCK)):
            asked = wanted[start : start + _BLOCK]
            told = _answer(workers[block % jobs][1])
            for at, one in enumerate(asked):
                found = told.get(at) or Finding(one[0].user, "same")
                yield replace(found, asked=one)
    finally:
        for pid, pipe in workers:
            pipe.close()
            os.kill(pid, signal.SIGKILL)  # it reads only; a zombie at worst, as nobody else waits for it
            os.waitpid(pid, 0)


def _answer(pipe: IO[bytes]) -> dict[int, Finding]:
    try:
        told = pickle.load(pipe)  # of our own process
    except (EOFError, pickle.UnpicklingError):
        raise JailkitError("interrupted.worker", "a process that compared jails was killed", "run it again") from None
    if isinstance(told, JailkitError):
        raise told
    assert isinstance(told, dict)
    return told


def _fork(
    paths: Paths, config: Config, known: bool, wanted: Sequence[Asked], number: int, jobs: int, brief: bool,
    others: Sequence[tuple[int, IO[bytes]]],
) -> tuple[int, IO[bytes]]:  # fmt: skip
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        os.close(theirs)
        return pid, os.fdopen(ours, "rb")
    try:
        for kind in (signal.SIGINT, signal.SIGALRM):
            signal.signal(kind, signal.SIG_IGN)  # the parent's: it says when to end
        os.close(ours)
        for _, pipe in others:
            os.close(pipe.fileno())
        with os.fdopen(theirs, "wb") as pipe:
            _serve(paths, config, known, wanted, number, jobs, brief, pipe)
    except BaseException:  # noqa: BLE001  # the parent sees the end of the pipe
        os._exit(1)
    os._exit(0)


def _serve(
    paths: Paths, config: Config, known: bool, wanted: Sequence[Asked], number: int, jobs: int, brief: bool,
    pipe: IO[bytes],
) -> None:  # fmt: skip
    """Every ``jobs``-th block. A connection of SQLite's must not be carried across a fork: one of its own."""
    try:
        survey = Survey(paths, config, State(paths.state_db) if known else None, brief)
        for start in range(number * _BLOCK, len(wanted), jobs * _BLOCK):
            found = survey.findings(wanted[start : start + _BLOCK])
            told = {at: replace(one, asked=None) for at, one in enumerate(found) if one.kind != "same"}
            pickle.dump(told, pipe)
            pipe.flush()
    except JailkitError as error:
        pickle.dump(error, pipe)
