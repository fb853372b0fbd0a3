"""Waiting for many descriptors and a few points in time, in one thread (epoll(7))."""

from __future__ import annotations

import heapq
import select
import time

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Mortal(Protocol):
        def late(self) -> None: ...

IN, OUT = select.EPOLLIN, select.EPOLLOUT


class Group:
    """Descriptors of one sort, each with what is to be called when it is ready."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self._ready: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, ready: Callable[[], None], events: int = IN) -> None:
        """Call ``ready`` whenever ``fd`` has one of ``events``; again for one that is watched changes both."""
        if fd in self._ready:
            self.epoll.modify(fd, events)
        else:
            self.epoll.register(fd, events)
        self._ready[fd] = ready

    def forget(self, fd: int) -> None:
        """Before it is closed. One that is not watched is nothing."""
        if self._ready.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def turn(self, seconds: float = 0.0) -> None:
        """Call for each that is ready, at most 256, after waiting for one; less than 0: for ever."""
        for fd, _ in self.epoll.poll(seconds, 256):
            ready = self._ready.get(fd)
            if ready is not None:  # one that came before it may have closed it
                ready()


class Loop(Group):
    """The group that all others are in, and the clock."""

    def __init__(self) -> None:
        super().__init__()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.now = time.monotonic()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call once, not before ``seconds`` have gone. There is no taking back: ``call`` sees whether it still
        matters."""
        self._count += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._count, call))

    def run(self) -> None:
        """Until something raises."""
        while True:
            self.once(-1.0)

    def once(self, most: float) -> None:
        """One turn, for at most that many seconds (less than 0: for ever), and what is due after it."""
        wait = most
        if self._timers:
            left = max(0.0, self._timers[0][0] - time.monotonic())
            wait = left if most < 0 else min(left, most)
        self.turn(wait)
        self.now = time.monotonic()
        while self._timers and self._timers[0][0] <= self.now:
            heapq.heappop(self._timers)[2]()


class Deadlines:
    """Things that have ``seconds`` each; what is not done then is told by its ``late()``. One timer for all of them:
    one each would keep what is long done in memory until it fires."""

    def __init__(self, loop: Loop, seconds: float) -> None:
        self._loop, self._seconds = loop, seconds
        self._due: dict[Mortal, float] = {}  # in the order of their time, as it is the same for all
        self._sweeping = False

    def begin(self, thing: Mortal) -> None:
        """Its time runs from now; again: anew."""
        self._due.pop(thing, None)
        self._due[thing] = time.monotonic() + self._seconds
        if not self._sweeping:
            self._sweeping = True
            self._loop.after(self._seconds, self._sweep)

    def done(self, thing: Mortal) -> None:
        self._due.pop(thing, None)

    def _sweep(self) -> None:
        now = time.monotonic()
        late = []
        for thing, when in self._due.items():
            if when > now:
                break
            late.append(thing)
        for thing in late:
            del self._due[thing]
        self._sweeping = bool(self._due)
        if self._due:
            self._loop.after(next(iter(self._due.values())) - now, self._sweep)
        for thing in late:
            thing.late()
