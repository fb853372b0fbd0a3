"""Several at work at once, until one fails."""

from __future__ import annotations

import threading
from collections.abc import Callable


def at_once(count: int, work: Callable[[int], None], stop: threading.Event) -> None:
    """Call ``work`` with 0 to ``count`` - 1, each in a thread, and wait for all. One that fails sets ``stop``, and its
    error is the AssertionError that this raises."""
    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            failed.append(error)
            stop.set()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, str(failed[0])
