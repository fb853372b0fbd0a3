"""``--set KEY=VALUE``: values from the command line go through the same model as those of a file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..errors import JailkitError
from .jail import SETTABLE, JailSpec
from .load import validate


def settings(pairs: Iterable[str]) -> dict[str, Any]:
    """``["linger=300", "network=host"]`` as ``{"linger": 300, "network": "host"}``.

    The value is the whole rest of the argument, a number only where the key takes one. Raise ``usage.set``."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or key not in SETTABLE:
            raise JailkitError("usage.set", f"--set {pair!r} is not KEY=VALUE", f"keys: {', '.join(SETTABLE)}")
        if key in values:
            raise JailkitError("usage.set", f"--set {key} stands there twice", "give each key once")
        number = key == "linger" and re.fullmatch(r"-?[0-9]{1,12}", text)
        values[key] = int(text) if number else text
    return values


def jail_spec(user: str, pairs: Iterable[str] = (), **fields: Any) -> JailSpec:
    """The spec that a command line asks for. Raise ``invalid.user-name``, ``usage.set``, ``invalid.spec``."""
    from ..names import user_name

    given = {key: value for key, value in fields.items() if value is not None}
    values = settings(pairs)
    twice = sorted(set(given) & set(values))
    if twice:
        raise JailkitError("usage.set", f"{twice[0]} is given twice", f"leave out --set {twice[0]}=... or its option")
    return validate(JailSpec, {"user": user_name(user), **given, **values}, "command line", "invalid.spec")
