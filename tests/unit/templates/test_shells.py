"""The login shells of rsync-backup and git-only, by themselves: what they hand on, and what they refuse."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rooted import TREE

RSYNC_ONLY = TREE / "templates/rsync-backup/files/usr/local/bin/rsync-only"
GIT_ONLY = TREE / "templates/git-only/files/usr/local/bin/git-only"
SHELLS = {"dash": ["/usr/bin/dash"], "busybox": ["/usr/bin/busybox", "sh"]}
SPECIAL = "!#$&;|<>(){}\"'` \t\\*?[]~"
"""What rsync(1) puts a backslash before (options.c: SHELL_CHARS, WILD_CHARS), but for the line feed."""


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs that only say what they were called with, NUL between the words."""
    place = tmp_path_factory.mktemp("fakes")
    for name in ("rsync", "git-shell", "git", "id", "touch"):
        (place / name).write_text(f'#!/bin/sh\nprintf "%s\\0" {name} "$HOME" "$@"\n')
        (place / name).chmod(0o755)
    return place


def call(program: Path, shell: str, fakes: Path, *words: str) -> tuple[int, list[str], str]:
    """Exit status, what a program was called with, and what was said."""
    (fakes / "home").mkdir(exist_ok=True)
    done = subprocess.run(
        [*SHELLS[shell], str(program), *words],
        cwd=fakes / "home",
        env={"PATH": f"{fakes}:/usr/bin", "HOME": "/home/x", "USER": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.split("\0")[:-1], done.stderr


def escaped(name: str) -> str:
    return "".join(f"\\{char}" if char in SPECIAL else char for char in name)


@pytest.mark.parametrize("shell", SHELLS)
@given(
    name=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(lambda n: n[0] != "-")
)
def test_a_name_arrives_as_it_was(fakes: Path, shell: str, name: str) -> None:
    status, words, said = call(RSYNC_ONLY, shell, fakes, "-c", f"rsync --server -e.iLsf . {escaped(name)}")
    assert (status, words, said) == (0, ["rsync", "/home/x", "--server", "-e.iLsf", ".", name], "")


@pytest.mark.parametrize("shell", SHELLS)
@given(text=st.text(st.sampled_from("ab \\\"'`$;&|<>()#\n\t*~{}!=-"), max_size=12))
def test_whatever_is_said_only_rsync_is_called(fakes: Path, shell: str, text: str) -> None:
    for command in (f"rsync --server {text}", text, f"rsync --server . $(touch x){text}"):
        status, words, _ = call(RSYNC_ONLY, shell, fakes, "-c", command)
        assert (words == [] and status == 1) or (
            words[:3] == ["rsync", "/home/x", "--server"] and words.count("rsync") == 1
        )
        assert not list((fakes / "home").iterdir())


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-c"],
        ["-c", ""],
        ["-c", "id"],
        ["-c", "rsync"],
        ["-c", "rsync --version"],
        ["-c", "rsync -a --server x"],
        ["-c", "/usr/bin/rsync --server . x"],
        ["-c", "rsync --server; id"],
        ["-c", "rsync --server . x; id"],
        ["-c", "rsync --server . x | id"],
        ["-c", "rsync --server . x > y"],
        ["-c", "rsync --server . $(id)"],
        ["-c", "rsync --server . `id`"],
        ["-c", "rsync --server . $HOME"],
        ["-c", "rsync --server . x\nid"],
        ["-c", "rsync --server . x\\\\; id"],
        ["-c", "rsync --server . 'x'"],
        ["-c", "rsync --server . x\\"],
        ["-c", "rsync --server --daemon ."],
        ["-c", "rsync --server \\--daemon ."],
        ["-c", "rsync --server --config=x --daemon ."],
        ["-c", "rsync --server . x", "more"],
        ["x", "rsync --server . x"],
    ],
    ids=repr,
)
def test_a083_what_is_no_far_end_of_rsync_is_refused(fakes: Path, shell: str, words: list[str]) -> None:
    status, called, said = call(RSYNC_ONLY, shell, fakes, *words)
    assert (status, called) == (1, []) and said.startswith("This account is for rsync only: ")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "command", ["git-upload-pack 'a b.git'", "git-receive-pack '/home/x/a.git'", "git-upload-archive 'a'"]
)
def test_git_is_served_by_git_shell(fakes: Path, shell: str, command: str) -> None:
    assert call(GIT_ONLY, shell, fakes, "-c", command) == (0, ["git-shell", "/home/x", "-c", command], "")


@pytest.mark.parametrize("shell", SHELLS)
def test_repositories_are_made_by_name(fakes: Path, shell: str) -> None:
    for name in ("a", "a.git", "A-1_b.c"):
        _, called, _ = call(GIT_ONLY, shell, fakes, "-c", f"create {name}")
        assert called[:5] == ["git", "/home/x", "init", "-q", "--bare"]
        assert called[5] == name.removesuffix(".git") + ".git"
    for name in ("", "../a", ".a", "-a", "a b", "a;id", "$(id)", "a\nb", "/etc/a", "~x"):
        status, called, _ = call(GIT_ONLY, shell, fakes, "-c", f"create {name}")
        assert (status, called) == (1, []), name


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-c", ""],
        ["-c", "id"],
        ["-c", "list; id"],
        ["-c", "git status"],
        ["-c", "git-shell"],
        ["-c", "git-cvsserver"],
    ],
    ids=repr,
)
def test_a_shell_is_refused_with_what_to_do(fakes: Path, shell: str, words: list[str]) -> None:
    status, called, said = call(GIT_ONLY, shell, fakes, *words)
    assert (status, called) == (1, []) and "git clone x@HOST:NAME.git" in said
