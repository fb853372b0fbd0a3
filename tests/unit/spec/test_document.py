"""Manifests as text: one strict reading of three formats, every error with its line, nothing built or guessed."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
import tomlkit
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jailkit.errors import InvalidFile
from jailkit.spec import document


def read(text: str, kind: str = "yaml") -> Any:
    return document.read(text.encode(), f"m.{kind}", kind).value


def refused(text: str, kind: str = "yaml") -> list[tuple[int | None, str, str]]:
    """(line, path, sentence) of each error."""
    with pytest.raises(InvalidFile) as caught:
        read(text, kind)
    assert caught.value.code == "invalid.manifest"
    assert caught.value.lines is not None
    return [(line, *error) for line, error in zip(caught.value.lines, caught.value.errors, strict=True)]


def test_the_three_formats_say_the_same() -> None:
    bob = {"linger": 300, "existing": True, "keys": ["a b", "c"], "limits": {"cpu": 0.5}}
    data = {"name": "m", "jails": {"bob": bob}}
    text = "name: m\njails:\n  bob:\n    linger: 300\n    existing: true\n    keys: [a b, c]\n    limits: {cpu: 0.5}\n"
    assert read(text) == data
    assert read(json.dumps(data), "json") == data
    text = 'name = "m"\n[jails.bob]\nlinger = 300\nexisting = true\nkeys = ["a b", "c"]\nlimits.cpu = 0.5'
    assert read(text, "toml") == data
    assert read("expires = 2027-01-31T01:00:00+01:00", "toml") == read("expires: 2027-01-31T00:00:00Z")


@pytest.mark.parametrize(
    "word",
    ["no", "Yes", "on", "OFF", "y", "n", "null", "~", "True", "0123", "1e3", "1_000", "0x10", "0o7", "12:30",
     "190:20:30", ".inf", "-.INF", ".nan", "+5", ".5", "5.", "00", "="],
)  # fmt: skip
def test_a122_a_word_that_yaml_1_1_and_1_2_read_differently_is_an_error(word: str) -> None:
    assert [(line, path) for line, path, _ in refused(f"a: 1\nb: {word}")] == [(2, "b")]
    assert [line for line, _, _ in refused(f"a: 1\n{word}: 1")] == [2]
    assert read(f"b: '{word}'\n\"{word}\": x") == {"b": word, word: "x"}
    assert [path for _, path, _ in refused(f"a:\n- x\n- {word}")] == ["a[1]"]


@pytest.mark.parametrize("word", ["512M", "1.2.3", "10.0.0.0/8", "2027-01-31T00:00:00Z", "no-body", "nobody", "user1",
                                  "e3", "2001:db8::1", "none", "host", "mon-fri 08:00-18:00", "yes!"])  # fmt: skip
def test_what_is_a_text_in_every_version_needs_no_quotes(word: str) -> None:
    assert read(f"a: {word}") == {"a": word}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: 1\nb: 2\na: 3", (3, "a"), "twice"),
        ("x:\n  a: {k: 1, k: 2}", (2, "x.a.k"), "twice"),
        ("a: &x 1\nb: 2", (1, "a"), "anchor"),
        ("a: 1\nb: *x", (2, "b"), "alias"),
        ("a:\n  <<: {b: 1}", (2, "a.<<"), "merge key"),
        ("a: !!python/object/apply:os.system [id]", (1, "a"), "tag"),
        ("a: !!str 5", (1, "a"), "tag"),
        ("? [a]\n: 1", (1, ""), "key must be a text"),
        ("*x : 1", (1, ""), "alias"),
        ("a: 1\n---\nb: 1", (2, ""), "more than one document"),
        ("%TAG ! tag:example.org,2000:\n---\na: 1", (1, ""), "directives"),
        ("a:\n\tb: 1", (2, "a"), "is not YAML"),
        ("a: [1", (1, "a"), "is not YAML"),
        ("a: \x07", (1, ""), "is not YAML"),
        ("- a", (1, ""), "must be a table"),
    ],
)
def test_a122_what_is_refused_of_yaml(text: str, where: tuple[int, str], what: str) -> None:
    found = refused(text)
    assert what in found[0][2]
    assert found[0][0] is not None and abs(found[0][0] - where[0]) <= 1
    assert not where[1] or found[0][1] == where[1]


def test_a122_bombs_end_at_once() -> None:
    begin = time.process_time()
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
    assert refused(laughs)
    for text in ("[" * 100_000, "{a: " * 5_000, "- " * 5_000, "? " * 5_000, "a: " + "[" * 30 + "]" * 30):
        assert refused(text)
    for kind, text in (("json", "[" * 100_000), ("json", '{"a":' * 50_000), ("toml", "a = " + "[" * 50_000)):
        assert refused(text, kind)
    assert time.process_time() - begin < 10  # those that grow would take years


def test_a122_json_has_no_second_reading_either() -> None:
    assert refused('{"a": 1,\n "b": {"c": 1,\n  "c": 2}}', "json")[0][:2] == (3, "b.c")
    assert refused('{"a": NaN}', "json") and refused('{"a": 1e999, "a": 1}', "json") and refused("{'a': 1}", "json")
    assert refused('{"a": "\\ud83d\\ude00", "a": 1}', "json")
    assert refused("a = 1\na = 2", "toml")[0][0] == 2


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = refused("a: no\nb: &x 1\nc: 1\nc: 2\nd: {e: *x}\n")
    assert [(line, path) for line, path, _ in found] == [(1, "a"), (2, "b"), (4, "c"), (5, "d.e")]


def test_a_file_that_is_too_large_or_not_utf8_is_refused() -> None:
    with pytest.raises(InvalidFile, match="larger"):
        document.read(b" " * (document.LIMIT + 1), "m", "yaml")
    with pytest.raises(InvalidFile, match=r"^m:2: is not UTF-8"):
        document.read(b"a: 1\nb: \xff", "m", "yaml")
    assert document.read(b"\xef\xbb\xbfa: 1", "m", "yaml").value == {"a": 1}


TOML = '''name = "x"
[plans.small]
limits.memory = "1G"
description = """
a
[b]"""
[jails.alice]
keys = [
 "a", # [jails.nobody]
 "b",
]
limits = {memory = "x"}
[jails."b.c".limits]
memory = 5
[[list]]
user = "a"
[list.limits]
cpu = 1
[[list]]
user = "b"
limits.cpu = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("plans", "small", "limits", "memory"), 3), (("plans", "small", "description"), 4), (("jails", "alice"), 7),
        (("jails", "alice", "keys", 1), 8), (("jails", "alice", "limits", "memory"), 12),
        (("jails", "b.c", "limits", "memory"), 14), (("list", 0, "user"), 16), (("list", 0, "limits", "cpu"), 18),
        (("list", 1), 19), (("list", 1, "limits", "cpu"), 21), (("jails", "alice", "unknown"), 7), (("nothing",), None),
    ],
)  # fmt: skip
def test_a_path_in_toml_has_its_line(path: document.Path, line: int | None) -> None:
    assert document.read(TOML.encode(), "m", "toml").line(path) == line


def test_a_path_in_yaml_and_json_has_its_line() -> None:
    text = '{"name": "x",\n "jails": {"a": {"keys": ["q",\n "r"]},\n\t"b": {}}}'
    for kind in ("json", "yaml"):
        found = document.read(text.replace("\t", " ").encode(), "m", kind)
        assert [found.line(("jails", "a", "keys", 1)), found.line(("jails", "b"))] == [3, 4]


@pytest.mark.parametrize(
    ("text", "kind"),
    [("# c\n{\n", "json"), ("[jails.a]\n", "toml"), ("name = 'x'", "toml"), ("name: x = y", "yaml"), ("", "yaml")],
)
def test_the_kind_of_standard_input_is_seen_from_its_beginning(text: str, kind: str) -> None:
    assert document.kind_of(text) == kind


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
values = st.recursive(
    st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6, width=32) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
tables = st.dictionaries(texts, values, max_size=4)


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types."""
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9)
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@given(tables)
@settings(max_examples=150, deadline=None)
def test_what_was_written_is_what_is_read(data: dict[str, Any]) -> None:
    assert same(read(json.dumps(data), "json"), data)
    try:  # what another writer of YAML leaves without quotes is read as the same, or refused; never as another value
        assert same(read(yaml.safe_dump(data, allow_unicode=False)), data)
    except InvalidFile as error:
        assert all("more than one way" in what or "has no value" in what for _, what in error.errors), error


@given(st.dictionaries(st.text("abcXYZ_-. 0", min_size=1, max_size=6), values, max_size=4))
@settings(max_examples=60, deadline=None)
def test_toml_as_well(data: dict[str, Any]) -> None:
    try:
        text = tomlkit.dumps(data)
    except Exception:  # noqa: BLE001  # what TOML cannot say
        return
    assert same(read(text, "toml"), data)


@given(st.text(st.characters(codec="utf-8"), max_size=60) | st.text("{}[]:-,&*!<>'\"#|\n \tab1", max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_text_ends_in_anything_but_data_or_a_refusal(text: str) -> None:
    for kind in ("yaml", "json", "toml"):
        try:
            found = document.read(text.encode(), "m", kind)
        except InvalidFile:
            continue
        found.line(("a", 0))
