"""Many calls of jailctl at the price of one: see cli_caller.py. ``\\udcff`` and its like stand for bytes above 0x7f."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..host import Host

SOURCE = Path(__file__).with_name("cli_caller.py").read_text()
PYTHON = "/opt/jailctl/venv/bin/python3"


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def error(self) -> dict[str, str]:
        """Of a call with --json."""
        error = json.loads(self.err)["error"]
        assert error["exit"] == self.status
        return {key: error[key] for key in ("code", "message", "hint")}


def calls(
    host: Host, many: Sequence[Sequence[str]], *, user: str | None = None, inputs: Sequence[str] = (), cwd: str = "/"
) -> list[Done]:
    """Each of ``many`` is jailctl's arguments. inputs: what each reads, in the same order."""
    request = json.dumps([[list(words), inputs[i] if inputs else ""] for i, words in enumerate(many)])
    done = host.run([PYTHON, "-I", "-c", SOURCE], user=user, input=request, timeout=110, cwd=cwd)
    answers = [Done(**json.loads(line)) for line in done.stdout.splitlines()]
    assert len(answers) == len(many), done.stderr
    return answers
