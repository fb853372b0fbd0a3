"""Which jails a command is about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jailkit.errors import JailkitError
from jailkit.provision.select import Choice, names
from jailkit.provision.state import Row, State

JAILS = {
    "alice": {"template": "shell"}, "bob": {"plan": "gold"}, "web-1": {"template": "web", "plan": "gold"},
    "web-2": {"template": "web:v1"}, "webmaster": {"template": "web-old"},
}  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(str(tmp_path / "state.db"))
    for number, (name, spec) in enumerate(JAILS.items(), 1001):
        row = Row(name, 0, 0, 0, "present", False, "", False, f"/home/{name}", "", {"user": name, **spec}, 1)
        made.reserve(row, lambda uid, base, number=number: (number, number, number << 10))
    yield made
    made.close()


def of(template: str | None, plan: str | None) -> str:
    return template or {"gold": "big", None: "shell"}[plan]


def chosen(state: State, *words: str, **more: object) -> list[str]:
    return names(state, Choice(words, **more), of)  # type: ignore[arg-type]


def test_names_are_taken_as_they_are(state: State) -> None:
    assert chosen(state, "bob", "alice", "bob", "nobody-here") == ["alice", "bob", "nobody-here"]


def test_patterns_plans_and_templates(state: State) -> None:
    assert chosen(state, "web-*") == ["web-1", "web-2"]
    assert chosen(state, "web*", "alice") == ["alice", "web-1", "web-2", "webmaster"]
    assert chosen(state, "[ab]*") == ["alice", "bob"]
    assert chosen(state, plan="gold") == ["bob", "web-1"]
    assert chosen(state, template="web") == ["web-1", "web-2"]
    assert chosen(state, template="big") == ["bob"]
    assert chosen(state, "web*", plan="gold") == ["web-1"]
    assert chosen(state, "alice", "bob", plan="gold") == ["bob"]
    assert chosen(state, every=True) == sorted(JAILS)


@pytest.mark.parametrize("word", ["*", "?", "**", "[!]*", "a b*", "A*", "../*", "a*\n", "", "-*"])
def test_a117_what_is_neither_a_name_nor_a_pattern(state: State, word: str) -> None:
    with pytest.raises(JailkitError) as caught:
        chosen(state, "alice", word)
    assert caught.value.code == "invalid.user-name"


def test_a_choice_of_nothing_is_no_choice(state: State) -> None:
    for more, code in (
        ({}, "usage.names"), ({"plan": "silver"}, "missing.jail"), ({"template": "a_b"}, "invalid.template-name"),
    ):  # fmt: skip
        with pytest.raises(JailkitError) as caught:
            chosen(state, **more)
        assert caught.value.code == code
    for words in (["x*"], ["alice", "x*"]):
        with pytest.raises(JailkitError) as caught:
            chosen(state, *words)
        assert caught.value.code == "missing.jail"
    with pytest.raises(JailkitError) as caught:
        chosen(state, "alice", every=True)
    assert caught.value.code == "usage.names"
    assert names(None, Choice(every=True), of) == []


def test_without_patterns_a_word_is_a_name(state: State) -> None:
    with pytest.raises(JailkitError) as caught:
        chosen(state, "web-*", patterns=False)
    assert caught.value.code == "invalid.user-name" and "--match" in caught.value.hint


def test_a_jail_that_was_renamed_is_known_by_what_it_was(state: State) -> None:
    state.rename("bob", "bobby", {"user": "bobby", "plan": "gold"})
    state.rename("bobby", "robert", {"user": "robert", "plan": "gold"})
    assert state.get("bob") is None
    row = state.get("robert")
    assert row is not None and row.uid == 1002 and row.spec["plan"] == "gold"
    assert state.was_called("robert", "bob") and state.was_called("robert", "bobby")
    assert not state.was_called("robert", "alice") and not state.was_called("alice", "bob")
    state.rename("robert", "bob", {"user": "bob"})
    assert state.was_called("bob", "robert") and not state.was_called("bob", "bob")
