"""Chunks of a batch on all cores: processes of their own, each with its own interpreter and its own state.

A jail costs a millisecond of Python, so threads of one interpreter would take turns; and while one process waits for
the disk, another computes. They are started anew, not forked: whoever calls may have threads, and a connection of
SQLite must not be carried into a child. What they do is what several jailctl at once would do: locks, journal and
account files are made for that. A worker whose pipe is closed ends after the chunk that it has in hand; one that is
killed leaves open plans, as any process."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from ..errors import JailkitError

WORTH = 1024
"""Jails for which processes pay: each needs a third of a second until it has imported what it needs."""
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from jailkit.provision.crew import main; main()"


@dataclass(frozen=True)
class Chunk:
    """method: of Host, with its first argument and its others. names: of the jails, which are worked on by one process
    at a time, in their order."""

    method: str
    items: list[Any]
    options: dict[str, Any]
    names: frozenset[str]


class Crew:
    """Workers, each with at most one chunk in hand. A context manager: at its end all have ended."""

    def __init__(self, root: str, jobs: int) -> None:
        """root: of the host's paths. jobs: how many processes."""
        path = json.dumps([entry for entry in sys.path if entry] or sys.path)
        self._free: list[_Worker] = []
        self._busy: deque[_Worker] = deque()
        try:
            for _ in range(jobs):
                self._free.append(_Worker(path, root))
        except OSError as error:
            self.close()
            raise JailkitError("host.process", f"no further process can be started: {error.strerror}") from None

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for worker in [*self._free, *self._busy]:
            worker.close()

    def run(self, chunks: Iterable[Chunk], more: Callable[[], bool]) -> Iterator[list[Any]]:
        """Answers to ``chunks``, in their order. more: asked before each further one is read. Raise what a worker
        raised, ``interrupted.worker`` where one was killed."""
        left = iter(chunks)
        while more() and (chunk := next(left, None)) is not None:
            while self._busy and (not self._free or any(not chunk.names.isdisjoint(w.names) for w in self._busy)):
                yield self._answer()
            worker = self._free.pop()
            worker.ask(chunk)
            self._busy.append(worker)
        while self._busy:
            yield self._answer()

    def _answer(self) -> list[Any]:
        worker = self._busy.popleft()
        self._free.append(worker)
        return worker.answer()


class _Worker:
    """names: of what it has in hand."""

    def __init__(self, path: str, root: str) -> None:
        self.names: frozenset[str] = frozenset()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, path, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True,  # ^C is for the caller, who lets it end what it has in hand
        )  # fmt: skip

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def ask(self, chunk: Chunk) -> None:
        self.names = chunk.names
        with contextlib.suppress(BrokenPipeError):  # answer() says so
            pickle.dump((chunk.method, chunk.items, chunk.options), self._pipes[0])
            self._pipes[0].flush()

    def answer(self) -> list[Any]:
        try:
            found = pickle.load(self._pipes[1])  # of our own process
        except (EOFError, pickle.UnpicklingError):
            raise JailkitError(
                "interrupted.worker", "a process that worked on some of the jails was killed",
                "run it again: it goes on where that stopped",
            ) from None  # fmt: skip
        if isinstance(found, JailkitError):
            raise found
        assert isinstance(found, list)
        return found

    def close(self) -> None:
        with self._pipes[1], contextlib.suppress(BrokenPipeError):
            self._pipes[0].close()
        self._process.wait()


def main() -> None:
    """A worker: chunks on standard input, answers on standard output."""
    from ..paths import Paths
    from .host import Host

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)  # nothing that is printed by mistake gets between the answers
    host = Host(Paths(sys.argv[2]))
    while True:
        try:
            method, items, options = pickle.load(source)
        except EOFError:
            return
        try:
            answer: object = list(getattr(host, method)(items, **options))
        except JailkitError as error:
            answer = error
        pickle.dump(answer, target)
        target.flush()
