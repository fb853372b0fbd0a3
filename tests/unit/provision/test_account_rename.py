"""Accounts under another name, on a copy of the files: what usermod and groupmod leave, killed at every boundary."""

from __future__ import annotations

from pathlib import Path

import pytest

from jailkit.provision.accountfiles import Changed, Renamed, change

from .test_accountfiles import contents, copy, etc, killed_at, new, strays, tool

__all__ = ["etc"]
RENAMED = Renamed("user", "other", 2000, "/srv/other")


def rows(etc: Path) -> dict[str, set[bytes]]:
    """Lines, with members sorted: the tools put a new name where the old one stood."""
    return {
        name: {line.rpartition(b":")[0] + b":" + b",".join(sorted(line.rpartition(b":")[2].split(b",")))
               for line in data.splitlines()}
        for name, data in contents(etc).items()
    }  # fmt: skip


def made(etc: Path) -> None:
    change([new("user", 2000), new("before", 2001)], etc=str(etc))
    altered = [Changed("user", join=("sudo",), password="$y$j9T$x$y"), Changed("before", join=("user",))]
    change(alter=altered, etc=str(etc))


def test_a_new_name_is_what_usermod_and_groupmod_make(etc: Path) -> None:
    made(etc)
    theirs = copy(etc, "theirs")
    tool(theirs, "usermod", "--login", "other", "--home", "/srv/other", "--", "user")
    tool(theirs, "groupmod", "--new-name", "other", "--", "user")
    before = contents(etc)
    assert change(rename=[RENAMED], etc=str(etc)) == {}
    assert rows(etc) == rows(theirs)
    assert change(rename=[RENAMED], etc=str(etc)) == {} and rows(etc) == rows(theirs)
    assert change(rename=[Renamed("other", "user", 2000, "/home/user")], etc=str(etc)) == {}
    for name in ("passwd", "shadow"):
        assert sorted(contents(etc)[name].splitlines()) == sorted(before[name].splitlines())


def test_a_home_alone(etc: Path) -> None:
    made(etc)
    theirs = copy(etc, "theirs")
    tool(theirs, "usermod", "--home", "/srv/x", "--", "user")
    assert change(alter=[Changed("user", home="/srv/x")], etc=str(etc)) == {}
    assert contents(etc) == contents(theirs)


@pytest.mark.parametrize("label", ["gshadow", "group", "shadow", "passwd", "renamed"])
def test_a_new_name_killed_between_two_files_is_one_account_in_its_groups(etc: Path, label: str) -> None:
    made(etc)
    before, whole = rows(etc), copy(etc, "whole")
    change(rename=[RENAMED], etc=str(whole))
    killed_at(etc, label, rename=[RENAMED])
    lines = [line for line in (etc / "passwd").read_bytes().splitlines() if b":2000:" in line]
    (line,) = lines
    name = line.split(b":")[0]
    assert name == (b"other" if label == "renamed" else b"user")
    members = next(line for line in (etc / "group").read_bytes().splitlines() if line.startswith(b"jailed:"))
    assert name in members.rpartition(b":")[2].split(b",")
    assert any(line.startswith(name + b":$y$j9T$x$y:") for line in (etc / "shadow").read_bytes().splitlines())
    back = copy(etc, "back")
    assert change(rename=[Renamed("other", "user", 2000, "/home/user")], etc=str(back)) == {}
    assert rows(back) == before and strays(back) == []
    assert change(rename=[RENAMED], etc=str(etc)) == {}
    assert rows(etc) == rows(whole) and strays(etc) == []
    tool(etc, "pwck", "-q", "-r")
    tool(etc, "grpck", "-q", "-r")


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (Renamed("user", "other", 2001, "/h"), "missing.account"),
        (Renamed("nobody", "x", 9, "/h"), "missing.account"),
        (Renamed("user", "before", 2000, "/h"), "missing.account"),
        (Renamed("user", "sudo", 2000, "/h"), "conflict.group-exists"),
        (Renamed("user", "a:b", 2000, "/h"), "invalid.field"),
        (Renamed("user", "other", 2000, "/h\nx"), "invalid.field"),
    ],
)  # fmt: skip
def test_what_cannot_be_renamed_leaves_the_files(etc: Path, wrong: Renamed, code: str) -> None:
    made(etc)
    before = contents(etc)
    refused = change(rename=[wrong], etc=str(etc))
    assert [error.code for error in refused.values()] == [code]
    assert contents(etc) == before
