"""``jailctl exec NAME -- COMMAND...``"""

from __future__ import annotations

import os
import select
import sys

import click

from .output import Settings, emit
from .verb import complete_jail, verb

_EXAMPLES = """
jailctl exec alice -- id
jailctl exec alice -- sh -c 'ls -la ~ | head'     pipes and $VARIABLES need a shell of theirs
tar c . | jailctl exec alice -- tar x -C site     stdin and stdout are passed on as they are
"""
_LIMIT = 8 << 20


@verb(
    "Run a command in a jail, as its user, and exit with its status (128 + n for signal n). The words after -- reach "
    "the command as they are. With --json, output is collected (up to 8 MiB each) and printed with the status.",
    _EXAMPLES,
    usage_hint="-- comes before the command: jailctl exec NAME -- COMMAND",
)
@click.argument("name", shell_complete=complete_jail)
@click.argument("words", metavar="-- COMMAND [ARGUMENT]...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(settings: Settings, name: str, words: tuple[str, ...]) -> int:
    from ..jail import enter
    from ..names import user_name
    from ..paths import Paths

    paths = Paths(settings.root)
    if not settings.json:
        return enter.run(paths, user_name(name), list(words))
    collected = Collected()
    with collected:
        status = enter.run(paths, user_name(name), list(words))
    output = {"stdout": collected.text(1), "stderr": collected.text(2), "truncated": collected.truncated}
    emit({"name": name, "command": list(words), "status": status, **output})
    return status


class Collected:
    """Context in which what is written to descriptors 1 and 2 is kept, the first :data:`_LIMIT` bytes of each; the rest
    is read and dropped, so that a command that never stops writing fills neither a pipe nor root's memory.

    The reader is a process and not a thread, since what runs meanwhile forks. It stops when the command has ended and
    does not wait for background processes that still hold the pipes."""

    def __init__(self) -> None:
        self.truncated = False
        self._kept = {fd: os.memfd_create(f"jailctl-{fd}") for fd in (1, 2)}

    def __enter__(self) -> Collected:
        sys.stdout.flush()
        pipes = {fd: os.pipe() for fd in self._kept}
        ended, self._end = os.pipe()
        self._reader = os.fork()
        if self._reader == 0:
            for pair in pipes.values():
                os.close(pair[1])
            os.close(self._end)
            lost = True
            try:
                lost = _read({pair[0]: self._kept[fd] for fd, pair in pipes.items()}, ended)
            finally:
                os._exit(lost)
        os.close(ended)
        self._saved = {fd: os.dup(fd) for fd in pipes}
        for fd, pipe in pipes.items():
            os.dup2(pipe[1], fd)
            os.close(pipe[0])
            os.close(pipe[1])
        return self

    def __exit__(self, *_: object) -> None:
        for fd, saved in self._saved.items():
            os.dup2(saved, fd)
            os.close(saved)
        os.close(self._end)
        self.truncated = os.waitpid(self._reader, 0)[1] != 0

    def text(self, fd: int) -> str:
        os.lseek(self._kept[fd], 0, os.SEEK_SET)
        with os.fdopen(self._kept.pop(fd), "rb") as file:
            return file.read().decode(errors="replace")


def _read(kept: dict[int, int], ended: int) -> bool:
    """Copy each pipe into its file until all are closed, or ``ended`` is. Return True if something was dropped."""
    room = dict.fromkeys(kept, _LIMIT)
    lost = False
    poll = select.poll()
    for fd in (*kept, ended):
        poll.register(fd, select.POLLIN)
    more = True
    while room and more:
        ready = {fd for fd, _ in poll.poll()}
        # a pipe holds 64 KiB, what one read takes: nothing that was written before the end is missed by stopping after
        # it
        more = ended not in ready
        if not more:
            ready = {fd for fd, _ in poll.poll(0)}
        for fd in ready & room.keys():
            chunk = os.read(fd, 65536)
            if not chunk:
                poll.unregister(fd)
                del room[fd]
                continue
            lost = lost or len(chunk) > room[fd]
            os.write(kept[fd], chunk[: room[fd]])
            room[fd] -= min(len(chunk), room[fd])
    return lost
