"""Nothing that came from outside reaches a terminal as it is."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from jailkit.cli import output
from jailkit.cli.output import Settings
from jailkit.errors import JailkitError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain äöü 漢字", "plain äöü 漢字"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\r\nb", "a\\x0d\\x0ab"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("\udcff", "\\udcff"),
        ("\u2028", "\\u2028"),
        ("\x7f\x00", "\\x7f\\x00"),
    ],
)
def test_escape(text: str, expected: str) -> None:
    assert output.escape(text) == expected


def test_kept_characters() -> None:
    assert output.escape("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


def test_a_plain_table(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["name", "state"], [["alice", "running"], ["b\x1b[2J", None]])
    assert capsys.readouterr().out == "NAME      STATE\nalice     running\nb\\x1b[2J\n"


def test_pairs_leave_out_what_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    output.pairs([("user", "alice"), ("image", ""), ("pid", None), ("uid", 0)])
    assert capsys.readouterr().out == "user  alice\nuid   0\n"


def test_an_error_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    number = output.fail(Settings(), JailkitError("missing.jail", "no jail of \x1b[31mx", "jailctl list"))
    assert number == 3
    assert capsys.readouterr().err == "jailctl: no jail of \\x1b[31mx\n  hint: jailctl list\n"


def test_an_error_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    output.fail(Settings(json=True), JailkitError("missing.jail", "a\x9b", "b"))
    text = capsys.readouterr().err
    assert text.isascii() and text.count("\n") == 1
    assert json.loads(text) == {"error": {"code": "missing.jail", "message": "a\x9b", "hint": "b", "exit": 3}}


def test_a_table_on_a_terminal_has_no_sequence_of_the_data() -> None:
    program = "from jailkit.cli import output; output.table(['name'], [['[red]x\\x1b]0;t\\x07']])"
    primary, secondary = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    subprocess.run([sys.executable, "-c", program], stdout=secondary, env=environment, check=True, timeout=30)
    os.close(secondary)
    shown = os.read(primary, 65536).decode()
    os.close(primary)
    assert "[red]x\\x1b]0;t\\x07" in shown and "\x1b]" not in shown


def test_a_narrow_table_keeps_digests_and_dates_whole() -> None:
    row = ["a-name-that-is-rather-long, and-another-one", "1b91f997b7eb", "2026-11-24 03:00", "current", "namespaces"]
    program = f"from jailkit.cli import output; output.table(['tags', 'image', 'made', 'state', 'level'], [{row!r}])"
    primary, secondary = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "72"}
    subprocess.run([sys.executable, "-c", program], stdout=secondary, env=environment, check=True, timeout=30)
    os.close(secondary)
    shown = os.read(primary, 65536).decode()
    os.close(primary)
    assert all(cell in shown for cell in row[1:]) and row[0] not in shown
