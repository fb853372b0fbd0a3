"""A whole template as TOML again, with a comment where each value comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tomlkit

from .template import TemplateSpec

_DEFAULT = "default"


def text(spec: TemplateSpec, origins: dict[str, str]) -> str:
    """``spec`` as one template.toml without includes; it reads back as the same. Keys that nobody has set stand there
    with their defaults, commented out. origins: see include.Resolved."""
    data = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    data.pop("includes", None)
    every = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    left = {key: value for key, value in every.items() if key not in (*data, "includes") and value not in ({}, [])}
    lines = [f"# merged from: {', '.join(spec.includes)}"] if spec.includes else []
    lines += [f"#{_key(key)} = {_item(value)}" for key, value in left.items() if not isinstance(value, dict)]
    lines += _table(data, origins, "")
    return "\n".join(lines).strip("\n") + "\n"


def _table(data: dict[str, Any], origins: dict[str, str], above: str) -> Iterator[str]:
    """Plain values first: after a ``[header]`` all keys would be that table's."""
    tables = {key: value for key, value in data.items() if isinstance(value, dict)}
    steps = {key: value for key, value in data.items() if _is_steps(value)}
    for key, value in data.items():
        if key not in tables and key not in steps:
            yield from _value(key, value, origins, f"{above}{key}")
    for key, value in tables.items():
        if value:
            yield from ("", f"[{'.'.join(_key(part) for part in [*above.split('.')[:-1], key])}]")
            yield from _table(value, origins, f"{above}{key}.")
    for key, value in steps.items():
        for index, step in enumerate(value):
            yield from ("", f"[[{_key(key)}]]  # {origins.get(f'{above}{key}[{index}]', _DEFAULT)}")
            yield from (f"{_key(name)} = {_item(one)}" for name, one in step.items())


def _is_steps(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _value(key: str, value: Any, origins: dict[str, str], where: str) -> Iterator[str]:
    if not isinstance(value, list) or f"{where}[0]" not in origins:
        yield f"{_key(key)} = {_item(value)}  # {origins.get(where, _DEFAULT)}"
        return
    yield f"{_key(key)} = ["
    for index, item in enumerate(value):
        yield f"    {_item(item)},  # {origins.get(f'{where}[{index}]', _DEFAULT)}"
    yield "]"


def _key(name: str) -> str:
    return tomlkit.key(name).as_string() if not name.replace("-", "").replace("_", "").isalnum() else name


def _item(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {_item(one)}" for name, one in value.items()) + "}"
    return str(tomlkit.item(value).as_string())
