"""The documents say what is so: files and tests that they name exist, verbs are documented."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import click
import pytest
from click import Context

from jailkit.cli.main import cli
from jailkit.errors import EXITS

TREE = Path(__file__).resolve().parents[1]
DOCS = sorted((TREE / "docs").glob("*.md")) + [TREE / "README.md", TREE / "SECURITY.md"]
CODES = re.compile(r'"(login\.[a-z-]+)')


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_paths_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"`((?:jailkit|tests|docs|templates|etc)/[A-Za-z0-9_./-]+)`", page.read_text()))
    missing = sorted(name for name in named if not (TREE / name).exists())
    assert not missing


def test_every_case_of_the_threat_model_is_in_a_test_or_open() -> None:
    text = (TREE / "docs/threat-model.md").read_text()
    rows = re.findall(r"^\| (A\d{3}) \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE)
    assert len(rows) == len({case for case, _ in rows}) == 136
    for case, shown in rows:
        for name in re.findall(r"`([^`]+)`", shown):
            assert re.search(case, (TREE / name).read_text() + name, re.IGNORECASE), f"{name} does not name {case}"


def test_the_manual_page_is_clean_and_knows_every_verb() -> None:
    page = TREE / "docs/man/jailctl.8"
    done = subprocess.run(
        ["/usr/bin/man", "--warnings", "-E", "UTF-8", "-l", str(page)],
        capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == ""
    for verb, _ in cli.verbs():
        assert re.search(rf"^\.It Cm {verb}\b|, Cm {verb}\b", page.read_text(), re.MULTILINE), verb
    for _, (number, _meaning) in EXITS.items():
        assert re.search(rf"\b{number} ", page.read_text())


def test_every_code_of_a_refused_login_is_in_the_manual() -> None:
    text = (TREE / "docs/man/jailctl.8").read_text()
    used = {
        code for source in (TREE / "jailkit/login/door").glob("*.c") for code in CODES.findall(source.read_text())
    }
    assert used and not sorted(code for code in used if code not in text)


PROSE = ("itself", "leaves", "does", "is", "has")
"""What stands after "jailctl" where a sentence is about it."""


def named_verbs(text: str) -> set[str]:
    """``VERB`` or ``GROUP VERB`` of each jailctl that begins a text, a line or a part of one."""
    found = set()
    for verb, sub in re.findall(r"(?:^|\n\s*|[;:,.] |[(`]|sudo )jailctl ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", text):
        command = cli.get_command(Context(cli), verb)
        found.add(f"{verb} {sub}" if isinstance(command, click.Group) and sub else verb)
    return found - set(PROSE)


def is_there(words: str) -> bool:
    command: click.Command | None = cli
    for word in words.split():
        assert isinstance(command, click.Group)
        command = command.get_command(Context(command), word)
    return command is not None


def test_what_hints_and_pages_tell_people_to_run_is_there() -> None:
    assert is_there("image untag") and not is_there("image rm") and not is_there("nonsense")
    told = {}
    for path in sorted((TREE / "jailkit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                told.update(dict.fromkeys(named_verbs(node.value), f"{path}:{node.lineno}"))
    for page in [*TREE.glob("*.md"), *(TREE / "docs").glob("*.md")]:
        code = "\n".join("".join(pair) for pair in re.findall(r"`([^`\n]*)`|^ {4}(.*)$", page.read_text(), re.M))
        told.update(dict.fromkeys(named_verbs(code), str(page)))
    assert len(told) > 30
    assert {words: where for words, where in told.items() if not is_there(words)} == {}
