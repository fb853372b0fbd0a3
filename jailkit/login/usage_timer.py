"""The hourly account of what jails have used: a timer of systemd, or cron's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from ..paths import Paths
from .render import render
from .steps import Step
from .text import read, write
from .user_manager import systemctl

UNIT = "jailctl-usage"
_UNITS = "/etc/systemd/system"
_WANTS = f"{_UNITS}/timers.target.wants"
_CRON = "/etc/cron.hourly"


class UsageTimer(Step):
    id = "usage-timer"
    what = "install the hourly `jailctl usage --sample`"
    why = "what jails use over time is known by the hour; nothing of it is on the way of a login"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def files(self) -> dict[str, str]:
        found = {}
        if os.path.isdir(_UNITS):
            for kind in ("service", "timer"):
                found[f"{_UNITS}/{UNIT}.{kind}"] = render(self._paths, f"systemd/usage.{kind}.j2")
        if os.path.isdir(_CRON):  # run-parts(8) takes names without a dot
            found[f"{_CRON}/{UNIT}"] = render(self._paths, "cron.hourly.j2")
        return found

    def done(self) -> bool:
        files = self.files()
        same = all(os.path.isfile(path) and read(path) == text for path, text in files.items())
        return same and (f"{_UNITS}/{UNIT}.timer" not in files or os.path.islink(f"{_WANTS}/{UNIT}.timer"))

    def there(self) -> bool:
        return any(os.path.lexists(path) for path in _places())

    def apply(self) -> None:
        for path, text in self.files().items():
            write(path, text, 0o755 if path.startswith(_CRON) else 0o644)
        if os.path.isdir(_UNITS):
            os.makedirs(_WANTS, 0o755, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # what `systemctl enable` makes
                os.symlink(f"{_UNITS}/{UNIT}.timer", f"{_WANTS}/{UNIT}.timer")
        systemctl("daemon-reload")
        systemctl("start", f"{UNIT}.timer")

    def remove(self) -> str:
        if os.path.lexists(f"{_UNITS}/{UNIT}.timer"):
            systemctl("stop", f"{UNIT}.timer")
        for path in _places():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(OSError):  # others may have timers there
            os.rmdir(_WANTS)
        systemctl("daemon-reload")
        return ""


def _places() -> Sequence[str]:
    return (f"{_WANTS}/{UNIT}.timer", f"{_UNITS}/{UNIT}.timer", f"{_UNITS}/{UNIT}.service", f"{_CRON}/{UNIT}")
