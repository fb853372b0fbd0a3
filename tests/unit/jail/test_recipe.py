"""The recipe: what is written is what is read, whatever a template's files hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jailkit.jail.recipe import Recipe, parse, text


def recipe(**fields: object) -> Recipe:
    return Recipe(user="ann", uid=1, gid=1, base=7, home="/home/ann", hostname="ann", template="shell", **fields)  # type: ignore[arg-type]


@given(st.dictionaries(st.sampled_from(["passwd", "group", "hosts", "a.b"]), st.binary(min_size=1) | st.sampled_from(
    [b"\\", b"\\n", b"\\\n", b"\\\\n\n", b"\r\n", b"a\n\nb", b" \n", b"\xff\xfe", b"\0"])))  # fmt: skip
def test_files_come_back_byte_by_byte(files: dict[str, bytes]) -> None:
    made = recipe(files=files)
    written = text(made).encode(errors="surrogateescape")
    assert parse(written.decode(errors="surrogateescape")) == made
    assert b"\r" not in written


@pytest.mark.parametrize("line", ["file.a/b x", "file.passwd one\nfile.passwd two", "uid 1\nuid 2", "files passwd"])
def test_what_no_recipe_says_is_refused(line: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        parse(text(recipe()) + line + "\n")


def test_a_value_with_a_line_break_is_never_written() -> None:
    with pytest.raises(ValueError, match="line break"):
        text(recipe(path="/bin\ndisabled "))
