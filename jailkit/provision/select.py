"""Which jails a command is about: by name, by pattern, by plan, by template."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import JailkitError
from ..names import template_name, user_name
from .state import State

_SIGNS = frozenset("*?[")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_ALLOWED = _SIGNS | _LETTERS | frozenset("]!.-")


@dataclass(frozen=True)
class Choice:
    """words: names, and patterns as in fnmatch(3) (``web-*``). plan, template: only those that have it; a template's
    tags are its own. every: all jails. What is asked for must be named by something. patterns: words may be such;
    else a word is a name, so that no name that somebody chose can mean somebody else's jail."""

    words: tuple[str, ...] = ()
    plan: str | None = None
    template: str | None = None
    every: bool = False
    patterns: bool = True


def is_pattern(word: str) -> bool:
    """Whether it is one, and says something: ``*`` alone means all, and that has to be said in other words."""
    return not _SIGNS.isdisjoint(word) and _ALLOWED.issuperset(word) and not _LETTERS.isdisjoint(word)


def names(state: State | None, choice: Choice, of: Callable[[str | None, str | None], str]) -> list[str]:
    """Names of jails, sorted, each once. A name that is given as such is among them, jail or not: whoever works on it
    says what is wrong with it. of: what a jail is made from whose spec names that template (or tag) and that plan.

    Raise ``usage.names`` for a choice of nothing, ``invalid.user-name``, ``missing.jail`` where a pattern or the whole
    choice fits no jail."""
    if not choice.words and choice.plan is None and choice.template is None and not choice.every:
        raise JailkitError("usage.names", "no jail is named", "give names, 'web-*', --plan, --template or --all")
    if choice.words and choice.every:
        raise JailkitError("usage.names", "names and --all exclude each other", "leave one out")
    given = {_name(word, choice) for word in choice.words if not (choice.patterns and is_pattern(word))}
    if len(given) == len(choice.words) and given and choice.plan is None and choice.template is None:
        return sorted(given)
    fit = _fitting(state, choice, of) if state else []
    if not choice.words:
        found = set(fit)
    else:
        found = given if choice.plan is None and choice.template is None else given & set(fit)
        found |= _matching(choice.words, fit)
    if not found and not choice.every:
        raise JailkitError("missing.jail", "no jail is like that", "jailctl list shows all")
    return sorted(found)


def _name(word: str, choice: Choice) -> str:
    try:
        return user_name(word)
    except JailkitError as error:
        if is_pattern(word) and not choice.patterns:
            error.hint = "--match takes it for a pattern"
        raise


def _fitting(state: State, choice: Choice, of: Callable[[str | None, str | None], str]) -> list[str]:
    if choice.template is None:
        return state.names(choice.plan)
    wanted, rows = template_name(choice.template), state.named()
    return [
        name for name, template, plan in rows
        if choice.plan in (None, plan) and of(template, plan).partition(":")[0] == wanted
    ]  # fmt: skip


def _matching(words: Sequence[str], fit: list[str]) -> set[str]:
    found: set[str] = set()
    for word in filter(is_pattern, words):
        some = fnmatch.filter(fit, word)
        if not some:
            raise JailkitError("missing.jail", f"no jail is like {word!r}", "jailctl list shows all")
        found.update(some)
    return found
