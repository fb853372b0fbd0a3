"""Opens a PAM session for any service and user, as a daemon would: ``pam_caller.py`` run as root inside the host."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..host import Host, Process

SOURCE = Path(__file__).with_name("pam_caller.py").read_text()
SUCCESS = 0


@dataclass(frozen=True)
class Session:
    """account, opened: what pam_acct_mgmt(3) and pam_open_session(3) returned (0: success). text: what modules said.
    status, out: of the command that was run as the user in it, if it was opened."""

    account: int
    opened: int
    text: str
    status: int | None = None
    out: str = ""


def argv(service: str, user: str, command: Sequence[str], items: dict[str, str] | None = None) -> list[str]:
    request = {"service": service, "user": user, "argv": list(command), "items": items or {}}
    return ["/usr/bin/python3", "-I", "-c", SOURCE, json.dumps(request)]


def session(
    host: Host, service: str, user: str, command: Sequence[str] = (), items: dict[str, str] | None = None
) -> Session:
    """Open, run ``command`` as the user (bare ids, no shell), close. items: rhost, tty, ruser."""
    done = host.run(argv(service, user, command, items), input="\n")
    return _read(done.stdout, done.stderr)


class Held:
    """The same, in two steps: open, which is done when this is made, and ``finish``: run and close."""

    def __init__(self, host: Host, service: str, user: str, command: Sequence[str] = ()) -> None:
        self.process: Process = host.spawn(argv(service, user, command))
        self._first = b""
        assert self.process.stdout and self.process.stderr
        while not self._first.endswith(b"\n"):
            byte = self.process.stdout.read(1)
            assert byte, self.process.stderr.read().decode()
            self._first += byte
        self.opened = json.loads(self._first)["opened"] == SUCCESS

    def finish(self) -> Session:
        out, err = self.process.communicate(b"\n", 30)
        return _read((self._first + out).decode(), err.decode())

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.process.close()


def _read(out: str, err: str) -> Session:
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines, err
    return Session(**{key: value for line in lines for key, value in line.items()})
