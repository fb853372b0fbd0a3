"""The command line as such: what is imported, options before and after the verb, errors and their numbers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from jailkit import errors
from jailkit.cli import main as command_line
from jailkit.cli.group import Group
from jailkit.cli.main import VERBS, cli, main
from jailkit.cli.output import Settings
from jailkit.cli.verb import Verb

ROOT = Path(__file__).resolve().parents[3]
HEAVY = {
    "pydantic",
    "jinja2",
    "rich",
    "tomlkit",
    "tomllib",
    "sqlite3",
    "subprocess",
    "asyncio",
    "socket",
    "psutil",
    "json",
}


def modules_of(*arguments: str) -> set[str]:
    """What is loaded when a run has ended (-X importtime does not see what importlib.import_module brings)."""
    program = "import sys; from jailkit.cli.main import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    return set(done.stderr.splitlines()[-1].split())


def test_the_import_check_can_fail() -> None:
    assert "jailkit.cli.completion" in modules_of("completion", "bash")


@pytest.mark.parametrize("arguments", [["--help"], ["list", "--help"], ["add-user", "--help"]])
def test_help_imports_click_and_nothing_heavy(arguments: list[str]) -> None:
    loaded = modules_of(*arguments)
    assert "click.core" in loaded and "jailkit.cli.verb" in loaded
    ours = {name for name in loaded if name.startswith("jailkit.")}
    allowed = {
        "jailkit.cli",
        "jailkit.cli.group",
        "jailkit.cli.main",
        "jailkit.cli.output",
        "jailkit.cli.verb",
        "jailkit.cli.progress",
        "jailkit.cli.list",
        "jailkit.cli.add_user",
        "jailkit.errors",
        "jailkit.paths",
    }
    assert ours <= allowed
    assert {name for name in loaded if name.partition(".")[0] in HEAVY} <= {
        "json",
        "json.decoder",
        "json.encoder",
        "json.scanner",
    }


@pytest.mark.parametrize("name", VERBS)
def test_help_of_no_verb_imports_what_it_does(name: str) -> None:
    heavy = {"pydantic", "sqlite3", "jailkit.provision.host"}
    assert not heavy & modules_of(name, "--help")


def test_help_of_the_program_imports_no_verb() -> None:
    assert not {f"jailkit.cli.{module}" for module, _ in VERBS.values()} & modules_of("--help")


def commands() -> list[tuple[str, Verb]]:
    found = []
    for name, command in cli.verbs():
        assert isinstance(command, Verb), name
        found.append((name, command))
    return found


def groups() -> list[str]:
    context = click.Context(cli)
    return [name for name in VERBS if isinstance(cli.get_command(context, name), Group)]


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_verb_says_enough(name: str, command: Verb) -> None:
    with click.Context(command, info_name=name) as context:
        text = command.get_help(context)
    assert "Examples:" in text and f"jailctl {name}" in text
    assert len(text.splitlines()) <= 50, "the first screen has to be enough"
    assert {"--root", "--quiet", "--json", "--version"} <= {o for p in command.params for o in p.opts}
    assert all(isinstance(p, click.Argument) or getattr(p, "help", None) for p in command.params)


def test_options_before_and_after_the_verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["--json", "completion", "bash"],
        ["completion", "--json", "bash"],
        ["completion", "bash", "--json"],
    ):
        assert main(arguments) == 0
        assert json.loads(capsys.readouterr().out)["shell"] == "bash"
    seen: list[Settings] = []
    monkeypatch.setattr("jailkit.cli.completion.emit", lambda value: None)
    command = cli.get_command(click.Context(cli), "completion")
    assert command is not None
    monkeypatch.setattr(command, "callback", lambda shell: seen.append(click.get_current_context().obj))
    assert main(["--root", "/a", "completion", "bash", "--root", "/b", "-q"]) == 0
    assert seen == [Settings(root="/b", quiet=True)]


@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        (["frobnicate"], 2, "usage.arguments"),
        (["liste", "alice"], 2, "usage.arguments"),
        (["completion", "csh"], 2, "usage.arguments"),
        (["completion"], 2, "usage.arguments"),
        (["list", "--no-such-option"], 2, "usage.arguments"),
        (["--root", "relative", "list"], 2, "usage.arguments"),
        (["exec", "alice", "ls", "-l"], 2, "usage.arguments"),
    ],
)
def test_usage(arguments: list[str], number: int, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == number
    error = capsys.readouterr()
    assert error.out == "" and error.err.startswith("jailctl: ") and "\n  hint: " in error.err
    assert main(["--json", *arguments]) == number
    assert json.loads(capsys.readouterr().err)["error"]["code"] == code


def test_hints_at_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    main(["liste", "alice"])
    assert "there is no verb 'liste'; is it 'list'?" in capsys.readouterr().err
    main(["exec", "alice", "ls", "-l"])
    assert "hint: -- comes before the command: jailctl exec NAME -- COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize("name", groups())
def test_a_group_shows_its_verbs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    for verb in (full.split()[1] for full, _ in commands() if full.startswith(f"{name} ")):
        assert re.search(rf"^  {verb}  +\S", text, re.M), verb
    assert main([name]) == 2
    assert capsys.readouterr().err.startswith(f"Usage: jailctl {name} ")
    assert main([name, "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "usage.arguments"
    assert main([name, "lists"]) == 2
    assert f"hint: jailctl {name} --help" in capsys.readouterr().err


def test_help_of_a_group_imports_no_verb() -> None:
    loaded = modules_of("template", "--help")
    assert "jailkit.cli.template" in loaded
    assert not [name for name in loaded if name.startswith("jailkit.cli.template.")]


def test_a_verb_that_needs_root_always_did() -> None:
    free = [name for name, command in commands() if not command.needs_root]
    assert free == ["template list", "template show", "template check", "template schema", "completion"]


def test_no_argument_shows_the_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "Verbs:" in shown.err


def test_json_after_a_double_dash_is_the_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["exec", "alice", "--", "ls", "--json"]) == 13
    assert capsys.readouterr().err.startswith("jailctl: exec needs root\n  hint: sudo jailctl exec")


@pytest.mark.parametrize("name", [name for name, command in commands() if command.needs_root])
def test_without_root(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    parameters = dict(commands())[name].params
    needed = sum(isinstance(one, click.Argument) and one.required for one in parameters)
    arguments = ["x", "--", "id"] if name == "exec" else ["x"] * needed
    assert main([*name.split(), *arguments]) == 13
    main(["--json", *name.split(), *arguments])
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["error"]["code"] == "denied.root"


@pytest.mark.parametrize(
    ("error", "number", "text"),
    [
        (errors.JailkitError("unsafe.path", "a sentence", "a hint"), 8, "jailctl: a sentence\n  hint: a hint\n"),
        (errors.JailkitError("unsafe.path", "a sentence"), 8, "jailctl: a sentence\n"),
        (OSError(28, "No space left on device", "/var/x"), 9, "jailctl: /var/x: No space left on device\n"),
        (OSError(30, "Read-only file system", "/etc/x"), 9, "read-only"),
        (PermissionError(13, "Permission denied", "/etc/x"), 13, "/etc/x: Permission denied"),
        (KeyboardInterrupt(), 130, "stopped"),
        (KeyError("x"), 1, "KeyError: 'x' at "),
    ],
)
def test_what_goes_wrong(
    error: BaseException, number: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(words: list[str], settings: Settings) -> int:
        raise error

    monkeypatch.setattr(command_line, "_run", breaks)
    assert main(["list"]) == number
    assert text in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    program = "import sys; from jailkit.cli.main import main; sys.exit(main(['completion', 'bash']))"
    done = subprocess.run(
        ["/bin/bash", "-c", f'{{ "$0" -c "{program}"; echo $? >&2; }} | true', sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr.splitlines()[-1:] == ["0"] and "Traceback" not in done.stderr


def test_exit_codes_are_documented() -> None:
    text = (ROOT / "docs/exit-codes.md").read_text()
    rows = {
        (int(n), family, meaning) for n, family, meaning in re.findall(r"^\| (\d+) \| `(\w+)` \| (.*) \|$", text, re.M)
    }
    assert rows == {(number, family, meaning) for family, (number, meaning) in errors.EXITS.items()}
    others = {int(n) for n in re.findall(r"^\| (\d+) \| \|", text, re.M)}
    assert others == {0, errors.EXIT_DOCTOR_WARN, errors.EXIT_DOCTOR_FAIL, errors.EXIT_INTERRUPT}


def test_exit_numbers_are_unique() -> None:
    numbers = [number for number, _ in errors.EXITS.values()]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_JAILCTL_COMPLETE" in capsys.readouterr().out


def complete(words: str, tmp_path: Path) -> list[str]:
    line = words.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", "from jailkit.cli.main import main; main([])"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"_JAILCTL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(line) - 1)},
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    return [row.partition(",")[2] for row in done.stdout.splitlines()]


def test_completion_of_verbs_names_and_templates(tmp_path: Path) -> None:
    for name in ("alice.toml", "bob.toml", "$(id).toml", ".hidden.toml", "notes.txt"):
        path = tmp_path / "etc/jailctl/jails.d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in ("shell", "parts/sh-part"):
        (tmp_path / "opt/jailctl/templates" / name).mkdir(parents=True)
        (tmp_path / "opt/jailctl/templates" / name / "template.toml").touch()
    assert "add-user" in complete("jailctl a", tmp_path)
    assert complete("jailctl template l", tmp_path) == ["list"]
    assert complete(f"jailctl --root {tmp_path} show ", tmp_path) == ["alice", "bob"]
    assert complete(f"jailctl --root {tmp_path} add-user x --template s", tmp_path) == ["shell"]
