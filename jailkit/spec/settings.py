"""``KEY=VALUE``: values from the command line go through the same model as those of a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from ..errors import JailkitError
from ..names import user_name
from .jail import SETTABLE, JailSpec
from .limits import Limits
from .load import validate

_WHERE = "command line"


def settings(
    pairs: Iterable[str], what: str = "--set ", reset: bool = False, keys: Sequence[str] = SETTABLE
) -> dict[str, Any]:
    """``["linger=300", "limits.memory=1G"]`` as ``{"linger": 300, "limits": {"memory": "1G"}}``.

    The value is the whole rest of the argument, a number or a list only where the key takes one. what: the option, for
    errors. reset: an empty value is None, and asks for the default; else it is one like any. keys: that are taken.
    Raise ``usage.set``."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or key not in keys:
            known = ", ".join([key for key in keys if "." not in key] + ["limits.memory and the other limits"])
            raise JailkitError("usage.set", f"{what}{pair!r} is not KEY=VALUE", f"keys: {known}")
        table, _, name = key.rpartition(".")
        inside = values.setdefault(table, {}) if table else values
        if name in inside:
            raise JailkitError("usage.set", f"{what}{key} stands there twice", "give each key once")
        inside[name] = None if reset and not text else _value(table, name, text)
    return values


def _value(table: str, name: str, text: str) -> Any:
    if not table:
        return int(text) if name == "linger" and re.fullmatch(r"-?[0-9]{1,12}", text) else text
    kinds = _kinds(Limits.model_fields[name].annotation)
    if list in kinds:
        return [] if text in ("unlimited", "none") else [item.strip() for item in text.split(",")]
    if int in kinds and re.fullmatch(r"-?[0-9]{1,12}", text):
        return int(text)
    if float in kinds and re.fullmatch(r"-?[0-9]{1,6}(\.[0-9]{1,6})?", text):
        return float(text)
    return text


def _kinds(annotation: Any) -> set[Any]:
    """All types that ``annotation`` is made of."""
    found = {annotation, getattr(annotation, "__origin__", None)}
    for part in get_args(annotation):
        found |= _kinds(part) if not isinstance(part, str) else set()
    return {kind for kind in found if isinstance(kind, type)}


def jail_spec(user: str, pairs: Iterable[str] = (), **fields: Any) -> JailSpec:
    """The spec that a command line asks for. Raise ``invalid.user-name``, ``usage.set``, ``invalid.spec``."""
    given = {key: value for key, value in fields.items() if value is not None}
    values = settings(pairs)
    twice = sorted(set(given) & set(values))
    if twice:
        raise JailkitError("usage.set", f"{twice[0]} is given twice", f"leave out --set {twice[0]}=... or its option")
    return validate(JailSpec, {"user": user_name(user), **given, **values}, _WHERE, "invalid.spec")


def changed(spec: JailSpec, values: dict[str, Any]) -> JailSpec:
    """``spec`` with ``values`` (of :func:`settings`) over it. Raise ``invalid.spec``."""
    return validate(JailSpec, laid_over(spec.data(), values), _WHERE, "invalid.spec")


def laid_over(data: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """``data`` of a spec or a plan with ``values`` (of :func:`settings`) over it; None goes back to the default."""
    limits = {**data.get("limits", {}), **values.get("limits", {})}
    return _said({**data, **values, "limits": _said(limits)})


def _said(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}
