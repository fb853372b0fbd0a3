"""systemd's user manager: not for jailed users."""

from __future__ import annotations

import contextlib
import os

from ..errors import JailkitError
from ..paths import Paths
from .render import render
from .run import run
from .sshd_daemon import systemd
from .steps import Step
from .text import read, write

UNIT = "user@.service"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/jailctl.conf"
_WHERE = ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system")


def exists() -> bool:
    """Whether this host has a user manager that could be started."""
    return any(os.path.exists(f"{directory}/{UNIT}") for directory in _WHERE)


def kept_away(paths: Paths) -> bool:
    """Whether the drop-in is there as it should be."""
    return os.path.isfile(DROP_IN) and read(DROP_IN) == render(paths, "systemd/user-manager.conf.j2")


class UserManager(Step):
    id = "user-manager"
    what = f"install {DROP_IN}"
    why = "logind would start a `systemd --user` for a jailed user, outside her jail"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def files(self) -> dict[str, str]:
        return {DROP_IN: render(self._paths, "systemd/user-manager.conf.j2")} if exists() else {}

    def done(self) -> bool:
        return not exists() or kept_away(self._paths)

    def there(self) -> bool:
        return os.path.lexists(DROP_IN)

    def apply(self) -> None:
        os.makedirs(os.path.dirname(DROP_IN), 0o755, exist_ok=True)
        write(DROP_IN, self.files()[DROP_IN], 0o644)
        systemctl("daemon-reload")

    def remove(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(DROP_IN)
        with contextlib.suppress(OSError):  # others may have drop-ins there
            os.rmdir(os.path.dirname(DROP_IN))
        systemctl("daemon-reload")
        return ""


def systemctl(*arguments: str) -> None:
    """Nothing where another init runs. Raise ``host.systemd``."""
    if not systemd():
        return
    status, _, err = run(["/usr/bin/systemctl", *arguments])
    if status != 0:
        text = f"systemctl {' '.join(arguments)} failed: {err.strip()}"
        raise JailkitError("host.systemd", text, "systemctl status")
