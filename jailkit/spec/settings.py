"""``--set KEY=VALUE``: values from the command line go through the same model as those of a file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..errors import JailkitError
from .jail import SETTABLE, JailSpec
from .load import validate

_NUMBERS = re.compile(r"-?[0-9]{1,12}")
_FRACTION = re.compile(r"[0-9]{1,6}\.[0-9]{1,6}")
_LISTS = ("limits.hours", "limits.sources")
_TEXTS = ("template", "plan", "hostname", "shell", "home", "network", "limits.swap")


def settings(pairs: Iterable[str]) -> dict[str, Any]:
    """``["linger=300", "limits.memory=512M"]`` as ``{"linger": 300, "limits": {"memory": "512M"}}``.

    The value is the whole rest of the argument: a number only where the key takes one, a list with commas between its
    items (``limits.hours``, ``limits.sources``; "none" is the empty one), and where nothing stands behind the ``=``
    None: what plan or template say. Raise ``usage.set``."""
    values: dict[str, Any] = {}
    seen = set()
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or key not in SETTABLE:
            raise JailkitError("usage.set", f"--set {pair!r} is not KEY=VALUE", f"keys: {', '.join(SETTABLE)}")
        if key in seen:
            raise JailkitError("usage.set", f"--set {key} stands there twice", "give each key once")
        seen.add(key)
        table, _, name = key.rpartition(".")
        (values.setdefault(table, {}) if table else values)[name] = _value(key, text)
    return values


def _value(key: str, text: str) -> Any:
    if not text:
        return None
    if key in _LISTS:
        return [] if text == "none" else [item.strip() for item in text.split(",")]
    if key not in _TEXTS and _NUMBERS.fullmatch(text):
        return float(text) if key == "limits.cpu" else int(text)
    return float(text) if key == "limits.cpu" and _FRACTION.fullmatch(text) else text


def jail_spec(user: str, pairs: Iterable[str] = (), **fields: Any) -> JailSpec:
    """The spec that a command line asks for. Raise ``invalid.user-name``, ``usage.set``, ``invalid.spec``."""
    from ..names import user_name

    return over(JailSpec(user=user_name(user)), pairs, **fields)


def over(have: JailSpec, pairs: Iterable[str] = (), **fields: Any) -> JailSpec:
    """``have`` with what a command line asks for laid over it; fields: other options, those that are None left out.
    Raise ``usage.set``, ``invalid.spec``."""
    given = {key: value for key, value in fields.items() if value is not None}
    values = settings(pairs)
    twice = sorted(set(given) & set(values))
    if twice:
        raise JailkitError("usage.set", f"{twice[0]} is given twice", f"leave out --set {twice[0]}=... or its option")
    base = have.model_dump(exclude_defaults=True)
    if "limits" in values:
        values["limits"] = {**base.get("limits", {}), **values["limits"]}
    return validate(JailSpec, {**base, "user": have.user, **given, **values}, "command line", "invalid.spec")
