"""Verbs on many jails: which, how many at once, one result each, and what they add up to.

Several at once are several processes, not threads: what runs there forks (a jail's start, an archive), and a fork of a
process with threads may copy a held lock. Each has its own connection to the state; the jails' locks are the library's.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from ..errors import EXIT_INTERRUPT, JailkitError
from .output import Settings, complain, counted, emit, fail, note, problem, say
from .progress import Progress
from .verb import complete_jail, complete_plan, complete_template

if TYPE_CHECKING:
    from ..provision.host import Host

Entry = dict[str, Any]
"""One jail's result, as JSON data: ``name``, ``changed``, what the verb adds, and ``error`` where it failed."""
Step = Callable[[str], None]
Work = Callable[["Host", str, Step], Entry]
"""What is done to one jail, saying what goes on with Step; it may run in a process of its own, so it prints
nothing. Raises JailkitError."""


def choice(names: str = "NAME...") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the arguments ``words``, ``plan``, ``template``, ``every`` and ``jobs`` of a verb on many jails."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        parts = [
            click.argument("words", metavar=f"[{names}]", nargs=-1, shell_complete=complete_jail),
            click.option(
                "--plan", metavar="PLAN", shell_complete=complete_plan,
                help="Those of a plan; of the names given, where names are.",
            ),
            click.option(
                "--template", metavar="NAME", shell_complete=complete_template, help="Those of a template; likewise."
            ),
            click.option("--all", "every", is_flag=True, help="All jails."),
            click.option(
                "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, metavar="N",
                help="How many jails at once.",
            ),
        ]  # fmt: skip
        for part in reversed(parts):
            function = part(function)
        return function

    return decorate


def chosen(
    settings: Settings, words: Sequence[str], plan: str | None, template: str | None, every: bool, patterns: bool = True
) -> list[str]:
    """The names. patterns: words may be such. Raise what select.names raises."""
    from ..paths import Paths
    from ..provision.host import Host
    from ..provision.made_from import reference
    from ..provision.select import Choice, names

    host = Host(Paths(settings.root))
    try:
        of = reference(host.paths, host.config.template)
        return names(host.known_state, Choice(tuple(words), plan, template, every, patterns), of)
    finally:
        host.close()


def each(
    settings: Settings, names: Sequence[str], work: Work, show: Callable[[Entry], None], doing: str, jobs: int = 1
) -> int:
    """Do ``work`` for every name, ``jobs`` at once; say what came of each, as it ends; return the exit number: that of
    the worst. One that fails stops no other. With ``--json``: ``{"jails": [...]}`` in the order of ``names``; where one
    jail alone was asked for, its error is the verb's.

    show: prints an entry without an error. doing: for the progress, as "stopping". ^C ends it after the jails in
    hand, a second one at once."""
    found: dict[str, Entry] = {}
    began = time.monotonic()
    with Progress(settings, doing) as progress, _Stop(len(names) > 1) as stop:
        step = progress.step if len(names) == 1 else _silent
        for entry in _results(settings, names, work, step, jobs, stop):
            found[entry["name"]] = entry
            progress.clear()
            if entry["error"] is None:
                show(entry)
            elif len(names) > 1 and not settings.json:
                complain(entry["error"]["message"], entry["error"]["hint"], entry["name"])
            progress.step(_pace(doing, len(found), len(names), time.monotonic() - began))
    entries = [found[name] for name in names if name in found]
    alone = len(names) == 1 and bool(entries) and entries[0]["error"] is not None
    if settings.json and not alone:
        emit({"jails": entries})
    return _end(settings, names, entries)


def _silent(text: str) -> None:
    return


def _pace(doing: str, done: int, total: int, seconds: float) -> str:
    rate = done / max(seconds, 0.001)
    left = (total - done) / rate
    return f"{doing}: {done} of {counted(total, 'jail')}, {rate:.1f} a second, {left:.0f} s left"


def _end(settings: Settings, names: Sequence[str], entries: list[Entry]) -> int:
    failed = [entry for entry in entries if entry["error"] is not None]
    if len(names) == 1 and failed:
        error = failed[0]["error"]
        return fail(settings, JailkitError(error["code"], error["message"], error["hint"]))
    if len(names) > 1:
        changed = sum(bool(entry.get("changed")) for entry in entries)
        same = len(entries) - changed - len(failed)
        if any(entry.get("dry_run") for entry in entries):
            return _worst(settings, names, entries)
        say(settings, f"\n{counted(len(entries), 'jail')}: {changed} changed, {same} not, {len(failed)} failed.")
    return _worst(settings, names, entries)


def _worst(settings: Settings, names: Sequence[str], entries: list[Entry]) -> int:
    if len(entries) < len(names):
        note(settings, f"jailctl: stopped; {counted(len(names) - len(entries), 'jail')} not begun: run it again")
        return EXIT_INTERRUPT
    return max((int(entry["error"]["exit"]) for entry in entries if entry["error"] is not None), default=0)


class _Stop:
    """Whether ^C was pressed. The second time it is KeyboardInterrupt, as always."""

    def __init__(self, several: bool) -> None:
        self._several = several
        self.asked = False

    def __enter__(self) -> _Stop:
        if self._several:
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        if self._several:
            signal.signal(signal.SIGINT, self._before)


def _results(
    settings: Settings, names: Sequence[str], work: Work, step: Step, jobs: int, stop: _Stop
) -> Iterator[Entry]:
    """An entry a name, as they end."""
    if min(jobs, len(names)) > 1:
        yield from _parallel(settings, names, work, min(jobs, len(names)), stop)
        return
    host = _host(settings)
    try:
        for name in names:
            if stop.asked:
                return
            yield _tried(host, work, name, step)
    finally:
        host.close()


def _host(settings: Settings) -> Host:
    from ..paths import Paths
    from ..provision.host import Host

    return Host(Paths(settings.root))


def _tried(host: Host, work: Work, name: str, step: Step) -> Entry:
    from .main import told

    try:
        return {"name": name, **work(host, name, step), "error": None}
    except Exception as failure:  # noqa: BLE001 - the others go on
        return _failed(name, told(failure))


def _failed(name: str, error: JailkitError) -> Entry:
    return {"name": name, "changed": False, "error": problem(error)}


class _Worker:
    """A process that does one jail after the other. It ignores ^C: whoever gives it work stops to do so. It ends when
    that one ends, after the jail in hand. To be made with SIGINT blocked."""

    def __init__(self, settings: Settings, work: Work, others: Sequence[_Worker]) -> None:
        self.socket: socket.socket
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for other in others:
                    other.hang_up()  # it would never see the end of its names
                ours.close()
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
                signal.signal(signal.SIGALRM, signal.SIG_IGN)
                self._serve(settings, theirs, work)
            finally:
                os._exit(0)
        theirs.close()
        self.socket, self._answers, self.name, self.lives = ours, ours.makefile("rb"), "", True

    @staticmethod
    def _serve(settings: Settings, end: socket.socket, work: Work) -> None:
        host = _host(settings)
        with end.makefile("rb") as names:
            for line in names:
                end.sendall(json.dumps(_tried(host, work, line.decode().strip(), _silent)).encode() + b"\n")
        host.close()

    def give(self, name: str) -> None:
        self.name = name
        self.socket.sendall(f"{name}\n".encode())

    def answer(self) -> Entry:
        line = self._answers.readline()
        if line.endswith(b"\n"):
            return dict(json.loads(line))
        self.lives = False
        error = JailkitError("interrupted.worker", f"who worked on {self.name} was killed", "run it again")
        return _failed(self.name, error)

    def end(self, kill: bool = False) -> None:
        if kill:
            os.kill(self.pid, signal.SIGKILL)  # a zombie at worst: nobody else waits for it
        self.hang_up()
        os.waitpid(self.pid, 0)

    def hang_up(self) -> None:
        self._answers.close()  # first: the descriptor lasts as long as this
        self.socket.close()


class _Pool:
    """Workers, each with one jail in hand, and the names that are left."""

    def __init__(self, settings: Settings, names: Sequence[str], work: Work) -> None:
        self._settings, self._work = settings, work
        self._left = list(reversed(names))
        self._all: list[_Worker] = []
        self._busy = selectors.DefaultSelector()

    def hire(self) -> None:
        """One more worker, if there is something to do for it."""
        if self._left:
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:  # a ^C between the two would leave one that nobody ends
                worker = _Worker(self._settings, self._work, self._all)
                self._all.append(worker)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            worker.give(self._left.pop())
            self._busy.register(worker.socket, selectors.EVENT_READ, worker)

    def answers(self, stop: _Stop) -> Iterator[Entry]:
        while self._busy.get_map():
            for key, _ in self._busy.select():
                worker: _Worker = key.data
                entry = worker.answer()
                if stop.asked:
                    self._left.clear()
                if self._left and worker.lives:
                    worker.give(self._left.pop())
                else:
                    self._busy.unregister(worker.socket)
                    self.hire()
                yield entry

    def end(self, kill: bool) -> None:
        self._busy.close()
        for worker in self._all:
            worker.end(kill)


def _parallel(settings: Settings, names: Sequence[str], work: Work, jobs: int, stop: _Stop) -> Iterator[Entry]:
    pool = _Pool(settings, names, work)
    finished = False
    try:
        for _ in range(jobs):
            pool.hire()
        yield from pool.answers(stop)
        finished = True
    finally:
        pool.end(kill=not finished)
