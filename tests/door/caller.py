"""The process that calls PAM, played, and what its hook answers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from jailkit.jail import runtime, stop

from .lab import DULL, UID, USER, Lab

OPEN = {"PAM_SERVICE": "sshd", "PAM_USER": USER, "PAM_TTY": "ssh", "PAM_RHOST": "192.0.2.7", "PAM_TYPE": "open_session"}
CLOSE = {**OPEN, "PAM_TYPE": "close_session"}


class Caller:
    """A process that calls PAM: ``argv`` is what /proc shows of it."""

    def __init__(
        self, lab: Lab, program: Path, argv: Sequence[str] = ("sshd: dora [priv]",), asan: bool = False
    ) -> None:
        self.lab, self.out = lab, lab.root / "hook-out"
        self.out.unlink(missing_ok=True)
        env = {"HOOK": lab.programs.path("hook", asan), "HOOK_OUT": str(self.out)}
        self.child = subprocess.Popen(
            argv, executable=program, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", umask=0o022
        )

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_error: object) -> None:
        self.child.communicate(timeout=10)

    @property
    def pid(self) -> int:
        return self.child.pid

    def run(self, env: dict[str, str] | Sequence[str]) -> int:
        """Exit status of the hook (minus the signal that killed it); ``env`` may be a list, with repetitions."""
        entries = [f"{name}={value}" for name, value in env.items()] if isinstance(env, dict) else env
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        options = "" if isinstance(env, dict) and "ASAN_OPTIONS" in env else "ASAN_OPTIONS=detect_leaks=0\0"
        self.child.stdin.write((options + "".join(f"{entry}\0" for entry in entries) + "\0").encode())
        self.child.stdin.flush()
        return os.waitstatus_to_exitcode(int(self.child.stdout.readline()))

    @property
    def record(self) -> Path:
        return self.lab.sessions / str(self.pid)


def refused(caller: Caller, env: dict[str, str] | Sequence[str], code: str) -> str:
    """Refused with one dull line, one log line with ``code``, and no session; return the log line."""
    caller.lab.lines()
    assert caller.run(env) == 1
    assert caller.out.read_bytes() == DULL
    log = [line for line in caller.lab.lines() if "jailctl-hook" in line]
    assert len(log) == 1, log
    assert f" code={code} " in log[0], log
    assert log[0].startswith("<84>jailctl-hook[")
    assert not caller.record.exists()
    return log[0]


def warm(lab: Lab) -> bool:
    return runtime.running(lab.paths, UID) is not None


def chill(lab: Lab) -> None:
    stop.stop(lab.paths, UID, USER)
    assert not warm(lab)
