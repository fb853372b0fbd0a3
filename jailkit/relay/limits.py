"""What one jail, and all of them together, may cost the relay."""

from __future__ import annotations

LINES = (200, 50)
"""Log lines of one jail that are passed on: at once, and each second after that."""
QUERIES = (400, 200)
"""DNS queries of one jail, likewise."""
READS = (2000, 1000)
"""Messages of one socket that are looked at, be it only to drop them: beyond it the socket rests for :data:`REST`
seconds at a time, and senders wait. So one jail that floods takes one or two percent of a processor."""
REST = 0.1
BATCH = 32
"""Messages of one socket in a row, before the others have their turn."""

LINE_BYTES = 2048
"""Of a line as it is passed on: what RFC 5424, section 6.1, says every receiver should take."""
SAY_SECONDS = 5.0
"""How often a jail's dropped lines are said while there are more and more."""
STALL_SECONDS = 1.0
"""How long lines wait for a host's log that is there and takes none."""

JAIL_QUERIES = 64
"""Queries of one jail that wait for an answer."""
ALL_QUERIES = 1024
FEW_QUERIES = 4
"""Of one jail, however many others wait: sixteen jails could take all, and no other would get a name."""
ANSWER_SECONDS = 1.5
"""Until the next resolver is asked."""
LIFE_SECONDS = 6.0
"""Until a query is given up: a little longer than the C library waits (resolv.conf(5), timeout)."""
JAIL_STREAMS = 8
"""TCP connections of one jail."""
ALL_STREAMS = 256
FEW_STREAMS = 1
"""Of one jail, likewise."""
STREAM_SECONDS = 10.0
"""Of one exchange on a TCP connection."""
DESCRIPTORS = 131072


class Bucket:
    """A token bucket. rate: (most at once, each second)."""

    __slots__ = ("_each", "_full", "_level", "_when")

    def __init__(self, rate: tuple[int, int], now: float) -> None:
        self._full, self._each = rate
        self._level, self._when = float(self._full), now

    def take(self, now: float) -> bool:
        """Take one token if there is one."""
        level = min(self._full, self._level + (now - self._when) * self._each)
        self._when = now
        if level < 1.0:
            self._level = level
            return False
        self._level = level - 1.0
        return True
