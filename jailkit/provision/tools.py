"""The system's own tools for accounts, by absolute path, with a list of arguments and a fixed environment, never
through a shell: no PATH, no locale and no value of the caller's means anything to them."""

from __future__ import annotations

import subprocess

from ..errors import JailkitError

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}


def run(argv: list[str], seconds: float = 60.0) -> tuple[int, str]:
    """Run one of them; its status (negative: a signal) and what it wrote: standard output, then standard error.

    Raise ``missing.program``, ``host.program-hangs``, ``host.program``."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, env=_ENVIRONMENT, cwd="/", umask=0o022,
            timeout=seconds, check=False, start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError:
        raise JailkitError("missing.program", f"{argv[0]} is not installed", "apt install passwd") from None
    except subprocess.TimeoutExpired:
        raise JailkitError("host.program-hangs", f"{argv[0]} did not end within {seconds:.0f} s") from None
    except OSError as error:
        raise JailkitError("host.program", f"{argv[0]} cannot be run: {error.strerror}") from None
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace").strip()
