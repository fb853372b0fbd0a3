"""A suspended jail: refused before anything is looked up or started, with what the administrator wants said; whatever
has become of that file, nobody gets in (jailkit/login/door/suspended.c)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .caller import OPEN, Caller, chill, warm
from .lab import DULL, USER


@pytest.fixture
def notice(caller: Caller) -> Iterator[Path]:
    made = Path(caller.lab.paths.jail(USER)) / "suspended"
    made.write_text("Not paid: https://example.org/b\u00fcro\n")
    yield made
    if made.is_dir():
        made.rmdir()
    made.unlink(missing_ok=True)
    made.parent.chmod(0o755)
    os.chown(made.parent, 0, 0)


def says(caller: Caller, code: str, detail: str = "") -> bytes:
    caller.lab.lines()
    assert caller.run(OPEN) == 1
    (line,) = [line for line in caller.lab.lines() if "jailctl-hook" in line]
    assert f" code={code} {detail}" in line, line
    assert not caller.record.exists()
    return caller.out.read_bytes()


@pytest.mark.parametrize("cold", [False, True])
def test_warm_or_cold_the_user_is_told_and_nothing_is_started(caller: Caller, notice: Path, cold: bool) -> None:
    if cold:
        chill(caller.lab)
    assert says(caller, "login.suspended") == notice.read_bytes()
    assert warm(caller.lab) is not cold


TEXTS = {
    b"": DULL, b"no line feed": b"no line feed\n", b"a\x1b[2J\nb\rc\x7f\0d\n": b"a [2J b c  d\n", b"\n": b"\n",
    b"x" * 200 + b"\n": b"x" * 200 + b"\n", b"%s%n %d\n": b"%s%n %d\n", b"x" * 5000: DULL,
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:12]))
def test_what_is_said_is_one_line(caller: Caller, notice: Path, text: bytes) -> None:
    notice.write_bytes(text)
    assert says(caller, "login.suspended") == TEXTS[text]


def linked(notice: Path) -> None:
    notice.unlink()
    notice.symlink_to("/etc/shadow")


def fifo(notice: Path) -> None:
    notice.unlink()
    os.mkfifo(notice)


def directory(notice: Path) -> None:
    notice.unlink()
    notice.mkdir()


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "link": (linked, "login.path-unsafe"),
    "FIFO": (fifo, "login.suspended"),
    "directory": (directory, "login.suspended"),
    "writable": (lambda notice: notice.chmod(0o666), "login.path-unsafe"),
    "the user's": (lambda notice: os.chown(notice, 1000, 1000), "login.path-unsafe"),
    "in a writable directory": (lambda notice: notice.parent.chmod(0o777), "login.path-unsafe"),
    "in the user's directory": (lambda notice: os.chown(notice.parent, 1000, 1000), "login.path-unsafe"),
}


@pytest.mark.parametrize("case", ODD)
def test_a_file_that_is_none_refuses_as_well(caller: Caller, notice: Path, case: str) -> None:
    """A090: and holds nothing up."""
    change, code = ODD[case]
    change(notice)
    assert says(caller, code) == DULL


@pytest.mark.parametrize("above", [1, 2, 3])
@pytest.mark.parametrize("linked", [False, True])
def test_the_log_names_what_is_open_to_others(caller: Caller, notice: Path, above: int, linked: bool) -> None:
    """A008: with the notice or without it, and before anything is read there."""
    there = notice.parents[above - 1]
    aside, before = there.with_name("aside"), there.stat().st_mode & 0o7777
    notice.unlink()
    if linked:
        there.rename(aside)
        there.symlink_to(aside)
    else:
        there.chmod(0o777)
    try:
        assert says(caller, "login.path-unsafe", f"{there} {'' if linked else 'is not root'}") == DULL
    finally:
        if linked:
            there.unlink()
            aside.rename(there)
        there.chmod(before)


def test_without_it_she_gets_in(caller: Caller, notice: Path) -> None:
    notice.unlink()
    assert caller.run(OPEN) == 0
