"""Says what goes on, once it has taken longer than two seconds. On stderr; nothing with --quiet or --json.

Driven by a timer signal and not by a thread: what runs meanwhile forks, and a fork of a process with threads may
copy a held lock (signal(7): the timer is not inherited by a child; SA_RESTART keeps system calls whole).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from types import FrameType, TracebackType
from typing import Self

from .output import Settings, escape

_AFTER = 2.0
_FRAMES = "|/-\\"


class Progress:
    """Context manager; ``step(text)`` names what begins now."""

    def __init__(self, settings: Settings, title: str) -> None:
        self._wanted = not settings.quiet and not settings.json
        self._terminal = sys.stderr.isatty()
        self._text = title
        self._said = ""
        self._frame = 0
        self._began = time.monotonic()
        self._shown = False

    def __enter__(self) -> Self:
        if self._wanted:
            self._before = signal.signal(signal.SIGALRM, self._tick)
            signal.siginterrupt(signal.SIGALRM, False)
            signal.setitimer(signal.ITIMER_REAL, _AFTER, 0.2 if self._terminal else 1.0)
        return self

    def step(self, text: str) -> None:
        self._text = text
        if self._wanted and time.monotonic() - self._began > _AFTER:
            self._show()

    def clear(self) -> None:
        """Take the line away before something else is printed."""
        if self._shown and self._terminal:
            _write("\r\x1b[K")

    def _tick(self, number: int, frame: FrameType | None) -> None:
        self._show()

    def _show(self) -> None:
        text = escape(self._text)
        if self._terminal:
            self._frame += 1
            seconds = int(time.monotonic() - self._began)
            _write(f"\r\x1b[K{_FRAMES[self._frame % 4]} {text[:100]} ({seconds} s)")
        elif text != self._said:
            _write(f"... {text}\n")
        self._said = text
        self._shown = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._wanted:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
        self.clear()


class Bar(Progress):
    """A progress of so many things: a bar with their rate and the time left on a terminal, elsewhere a line now and
    then."""

    def __init__(self, settings: Settings, title: str, noun: str) -> None:
        super().__init__(settings, title)
        self._title, self._noun = title, noun
        self._counted: list[tuple[float, int]] = []
        self._total: int | None = None
        self._next = 0.0

    def advance(self, done: int, total: int | None, text: str) -> None:
        """done of total (None: not known) are done; text: what goes on, or ""."""
        now = time.monotonic()
        if not self._counted or self._counted[-1][1] != done:
            self._counted = [*self._counted[-_WINDOW:], (now, done)]
        self._total = total
        self.step(text or self._title)

    def _show(self) -> None:
        now = time.monotonic()
        if not self._terminal and now < self._next:
            return
        self._next = now + (0.1 if self._terminal else _SELDOM)
        if self._counted:
            self._text = bar_text(self._counted, self._total, self._noun, now)
        super()._show()


_WINDOW = 32
_SELDOM = 10.0
_WIDTH = 20


def bar_text(counted: list[tuple[float, int]], total: int | None, noun: str, now: float) -> str:
    """``[####------] 4000 of 10000 jails, 321 a second, 19 s left``. counted: (when, how many), the last few."""
    done = counted[-1][1]
    first, begin = counted[0][1], counted[0][0]
    rate = (done - first) / max(now - begin, 1e-6)
    text = f"{done}{f' of {total}' if total is not None else ''} {noun}"
    if total:
        filled = min(_WIDTH, _WIDTH * done // total)
        text = f"[{'#' * filled}{'-' * (_WIDTH - filled)}] {text}"
    if done > first:
        text += f", {rate:.0f} a second" if rate >= 10 else f", {rate:.1f} a second"
        if total is not None and rate > 0 and total > done:
            left = (total - done) / rate
            text += f", {left:.0f} s left" if left < 100 else f", {left / 60:.0f} min left"
    return text


def _write(text: str) -> None:
    # past sys.stderr: its buffer must not be entered again by the signal handler
    with contextlib.suppress(OSError):
        os.write(2, text.encode(errors="replace"))
