from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from ..world import World
from .base import Operation

BY_NAME = ("/var/mail", "/var/spool/cron/crontabs")
_BY_OWNER = ("/var/spool/cron/atjobs", "/var/spool/cron/atspool")


@dataclass(frozen=True)
class CleanSpool(Operation):
    """What the name or the uid would open to a later account: mail box, crontab, at jobs (shadow#79)."""

    kind = "clean-spool"
    final = True

    def describe(self) -> str:
        return "remove the user's mail box, crontab and at jobs"

    def apply(self, world: World) -> None:
        uid = world.row().uid
        for directory in BY_NAME:
            _clean(directory, uid, world.name)
        for directory in _BY_OWNER:
            _clean(directory, uid, None)


def _clean(directory: str, uid: int, only: str | None) -> None:
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        for name in os.listdir(fd) if only is None else [only]:
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_uid == uid:
                os.unlink(name, dir_fd=fd)
    finally:
        os.close(fd)
