"""What a machine can say about the source: style, types, layers, imports of the login path, sizes, spelling."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jailkit"
BIN = Path(sys.executable).parent

RANK = {"errors": 0, "paths": 0, "names": 0, "kernel": 1, "spec": 2, "image": 3, "jail": 3,
        "audit": 4, "login": 4, "provision": 4, "relay": 4, "library": 5, "doctor": 5, "cli": 6}  # fmt: skip
"""A module may import from its own package and from lower ranks (design.md, section 5)."""

LOGIN_PATH = {
    "__future__", "_collections_abc", "_ctypes", "_stat", "_struct", "ctypes", "ctypes._endian", "errno", "fcntl",
    "genericpath", "os", "posixpath", "signal", "stat", "struct", "syslog", "time", "types",
}  # fmt: skip
"""What a cold login may import beside jailkit's errors, names, paths, kernel and jail: each other module costs it
milliseconds, and has to be argued for here."""


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in argv], cwd=ROOT, capture_output=True, text=True, check=False)


def passes(*argv: str | Path) -> None:
    done = run(*argv)
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"


def files() -> Iterator[Path]:
    """The tree as it would be committed."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    assert listed.returncode == 0, listed.stderr
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            yield ROOT / name


def scripts() -> list[Path]:
    found = [path for path in files() if path.read_bytes()[:64].splitlines()[:1] in ([b"#!/bin/bash"], [b"#!/bin/sh"])]
    assert {ROOT / "install", ROOT / "tests/run", ROOT / ".ci/run"} <= set(found)
    return found


def test_ruff() -> None:
    passes(BIN / "ruff", "check", "--no-cache", "jailkit", "tests", "docs")


def test_types() -> None:
    passes(BIN / "mypy", "--strict", "--cache-dir", "/var/tmp/jailkit-tests/mypy", "jailkit", "tests", "docs")


def test_shell_scripts() -> None:
    passes(BIN / "shellcheck", *scripts())


def test_spelling() -> None:
    # Nd is mdoc's macro for the line under NAME; the others are wrong keys in tests, and a German month
    passes(BIN / "codespell", "--ignore-words-list", "nd,descripton,chage,januar,directoris,comand,progams", *files())


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.[1-8]")), ids=lambda page: page.name)
def test_man_pages(page: Path) -> None:
    env = {"MANROFFSEQ": "", "MANWIDTH": "80", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["/usr/bin/man", "--warnings=w", "-l", str(page)], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# -- layers


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """(line, full name) of every import, also those inside functions; relative ones made absolute."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def upward(source: str, module: str, is_package: bool = False) -> list[str]:
    own = module.split(".")[1]
    wrong = []
    for line, name in imports(source, module, is_package):
        parts = name.split(".")
        if (
            parts[0] == "jailkit"
            and parts[1] != own
            and not RANK[parts[1]] < RANK[own]
            and not RANK[parts[1]] == RANK[own] == 0
        ):
            wrong.append(f"{module}:{line}: {own} imports {name}")
    return wrong


def test_imports_run_downward() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent != PACKAGE or path.stem in RANK:
            wrong += upward(path.read_text(), module_name(path), path.stem == "__init__")
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "source", "ok"),
    [
        ("jailkit.jail.start", "from ..kernel import mount", True),
        ("jailkit.jail.start", "from . import stop", True),
        ("jailkit.jail.start", "from ..login import pam", False),
        ("jailkit.jail.start", "def f():\n    import jailkit.cli.main", False),
        ("jailkit.image.host", "from jailkit.jail import start", False),
        ("jailkit.names", "from .errors import JailkitError", True),
        ("jailkit.errors", "from .kernel import libc", False),
    ],
)
def test_the_layer_check_can_fail(module: str, source: str, ok: bool) -> None:
    assert (upward(source, module) == []) is ok


# -- the login path


def imported(*argv: str) -> set[str]:
    """Modules that ``/usr/bin/python3 -I -S -X importtime ARGV`` loads, less those that every Python start loads."""

    def loaded(*rest: str) -> set[str]:
        done = run("/usr/bin/python3", "-I", "-S", "-X", "importtime", *rest)
        lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
        assert len(lines) > 5, done.stderr
        return {line.rpartition("|")[2].strip() for line in lines[1:]}

    return loaded(*argv) - loaded("-c", "pass")


def beyond_the_login_path(modules: set[str]) -> set[str]:
    ours = {"jailkit", "errors", "names", "paths", "kernel", "jail"}
    return {
        name
        for name in modules
        if name not in LOGIN_PATH and not (name.startswith("jailkit") and set(name.split(".")[:2]) <= ours)
    }


def test_the_login_path_imports_nothing_heavy() -> None:
    modules = imported(str(PACKAGE / "jail/cold.py"))
    assert "jailkit.jail.start" in modules and "jailkit.kernel.mount" in modules
    assert beyond_the_login_path(modules) == set()


def test_the_import_check_can_fail() -> None:
    assert {"re", "subprocess"} <= beyond_the_login_path(imported("-c", "import subprocess"))


# -- sizes


def test_files_and_functions_stay_small() -> None:
    """Hard limits for each; of all functions at most one in twenty longer than 40 lines, of files than 400."""
    wrong, lengths, sizes = [], [], []
    for path in files():
        if path.suffix not in (".py", ".c", ".h") and path not in scripts():
            continue
        text = path.read_text()
        sizes.append(text.count("\n"))
        if sizes[-1] > 700:
            wrong.append(f"{path}: {sizes[-1]} lines, at most 700")
        if path.suffix == ".py":
            for name, length in functions(text):
                lengths.append(length)
                if length > 85:
                    wrong.append(f"{path}: {name}: {length} lines, at most 85")
    assert wrong == []
    assert sum(length > 40 for length in lengths) <= len(lengths) / 20
    assert sum(size > 400 for size in sizes) <= len(sizes) / 20


def functions(text: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_the_door_stays_small() -> None:
    """Below 600 lines of code in what is the door's alone (design.md, section 4); common.c is the hook's as well."""
    sources = [PACKAGE / "login/door" / name for name in ("door.c", "relay.c", "env.c")]
    code = [line for source in sources for line in source.read_text().splitlines() if is_code(line)]
    assert 100 < len(code) < 600


def is_code(line: str) -> bool:
    text = line.strip()
    return bool(text) and not text.startswith(("//", "/*", "*"))


def test_every_package_has_an_init() -> None:
    """``packages = find:`` passes silently over a directory without one."""
    missing = [
        here
        for here, _, names in os.walk(PACKAGE)
        if any(n.endswith(".py") for n in names) and "__init__.py" not in names
    ]
    assert missing == []
