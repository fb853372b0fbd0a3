"""Applying manifests as an administrator sees it: a bar, a line for each jail that was touched, a summary, and what ^C
does."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from ..errors import EXIT_INTERRUPT, JailkitError
from . import differing
from .output import Settings, complain, counted, escape, note, paint, problem, say
from .progress import Bar

if TYPE_CHECKING:
    from ..provision.host import Host
    from ..provision.manifests import Options, Outcome, Wanted

_SHOWN = {"added": ("added", "32"), "changed": ("changed", "33"), "removed": ("removed", "31")}


def run(settings: Settings, host: Host, want: Wanted, options: Options) -> int:
    """Carry out, print, and return the exit number."""
    from ..provision import manifests

    counts: Counter[str] = Counter()
    failures: list[JailkitError] = []
    begin, stop = time.monotonic(), threading.Event()
    with _interruptible(settings, stop), Bar(settings, "comparing this host with the manifests", "jails") as bar:
        for one in manifests.apply(host, want, options, bar.advance, stop):
            if one.error is not None:
                failures.append(one.error)
            counts[one.outcome] += 1 if one.what == "jail" else 0
            _one(settings, bar, one)
    _summary(settings, want, counts, failures, stop.is_set(), time.monotonic() - begin)
    return EXIT_INTERRUPT if stop.is_set() else exit_number(failures)


def _one(settings: Settings, bar: Bar, one: Outcome) -> None:
    if settings.json:
        rows = [difference.data() for difference in one.differences]
        operations = [operation.public() for operation in one.plan.operations] if one.plan else []
        differing.line({"what": one.what, "name": one.name, "outcome": one.outcome, "differences": rows,
                        "operations": operations, "seconds": round(one.seconds, 4),
                        "error": problem(one.error) if one.error else None})  # fmt: skip
        return
    if one.outcome == "same":
        return
    bar.clear()
    label = f"plan {one.name}" if one.what == "plan" else one.name
    if one.error is not None:
        complain(one.error.message, one.error.hint, label)
        return
    word, color = _SHOWN[one.outcome]
    say(settings, f"{paint(word, color)}  {escape(label)}")
    differing.differences(settings, one.differences)


def _summary(
    settings: Settings, want: Wanted, counts: Counter[str], failures: list[JailkitError], stopped: bool, seconds: float
) -> None:
    kinds = ("added", "changed", "removed", "same", "failed")
    left = max(0, len(want.jails) - sum(counts[kind] for kind in kinds if kind != "removed")) if stopped else 0
    if settings.json:
        numbers = {kind: counts[kind] for kind in kinds}
        differing.line({"summary": {**numbers, "left": left, "stopped": stopped, "seconds": round(seconds, 3),
                                    "dry_run": False}})  # fmt: skip
        return
    if stopped:
        note(settings, f"jailctl: stopped: {counted(left, 'jail')} not looked at; the same command goes on")
    told = [f"{counts[kind]} {kind}" for kind in kinds if counts[kind] and kind != "same"]
    if not told and not failures and not stopped:
        say(settings, f"No changes: {counted(counts['same'], 'jail')} as they should be.")
        return
    same = [f"{counts['same']} as they should be"] if counts["same"] else []
    text = ", ".join(told + same) or "nothing was done"
    say(settings, f"{text[0].upper()}{text[1:]}, in {seconds:.1f} s.")


def exit_number(failures: Iterable[JailkitError]) -> int:
    """0, or that of the worst, as of all verbs on many jails."""
    return max((failure.exit_number for failure in failures), default=0)


@contextmanager
def _interruptible(settings: Settings, stop: threading.Event) -> Iterator[None]:
    """The first ^C ends after the jails in hand, the second at once: the journal knows how far each came."""

    def handler(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        note(settings, "\njailctl: ending the jails in hand; ^C again breaks off at once")

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
