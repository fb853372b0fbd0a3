"""The directories that provisioning writes into. `jailctl setup` makes them; so does whatever needs them first."""

from __future__ import annotations

import os

from ..paths import Paths
from . import files


def ensure(paths: Paths) -> None:
    """Make what is missing, with the right owner and mode. Raise ``unsafe.path``, OSError."""
    os.makedirs(os.path.dirname(paths.var), 0o755, exist_ok=True)
    os.makedirs(os.path.dirname(paths.etc), 0o755, exist_ok=True)
    os.makedirs(os.path.dirname(paths.run), 0o755, exist_ok=True)
    for path, mode in modes(paths).items():
        files.directory(path, mode)


def modes(paths: Paths) -> dict[str, int]:
    """Every directory of ours and its mode. A tenant's sshd reads keys with the user's ids; the rest is root's."""
    return {
        paths.etc: 0o755,
        paths.specs: 0o700,
        paths.templates: 0o755,
        paths.plans: 0o755,
        paths.keys: 0o755,
        paths.var: 0o755,
        paths.images: 0o711,
        paths.tags: 0o755,
        paths.jails: 0o711,
        paths.uids: 0o711,
        paths.run: 0o755,
        locks(paths): 0o700,
    }


def locks(paths: Paths) -> str:
    """Where the locks of jails are (lock.py), on a file system that a reboot empties."""
    return f"{paths.run}/locks"
