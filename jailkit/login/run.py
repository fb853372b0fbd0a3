"""Runs the host's own administration programs: absolute paths, argument lists, a fixed environment, no shell."""

from __future__ import annotations

import subprocess

from ..errors import JailkitError

ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "HOME": "/root",
}


def run(argv: list[str], seconds: float = 60.0) -> tuple[int, str, str]:
    """Exit status (negative: ended by that signal), stdout and stderr. Standard input is /dev/null.

    Raise ``missing.program`` if it is not there, ``host.program-hangs`` if it takes longer than ``seconds``."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRONMENT, cwd="/", timeout=seconds, check=False
        )
    except FileNotFoundError:
        raise JailkitError("missing.program", f"{argv[0]} is not installed", _PACKAGES.get(argv[0], "")) from None
    except subprocess.TimeoutExpired:
        raise JailkitError(
            "host.program-hangs", f"{argv[0]} did not end within {seconds:.0f} s", " ".join(argv)
        ) from None
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


_PACKAGES = {
    "/usr/sbin/sshd": "apt install openssh-server",
    "/usr/bin/ssh": "apt install openssh-client",
    "/usr/bin/ssh-keygen": "apt install openssh-client",
    "/usr/sbin/pam-auth-update": "apt install libpam-runtime",
}
