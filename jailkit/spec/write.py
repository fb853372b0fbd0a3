"""Writing specs and plans so that an administrator's comments and order stay."""

from __future__ import annotations

from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from .jail import MARK, JailSpec


def spec_text(spec: JailSpec, old: str = "") -> str:
    """The file of ``spec``; see :func:`text`."""
    return text(spec.data(), old)


def text(values: dict[str, Any], old: str) -> str:
    """A file of ours: the mark, then ``values``, what differs from the defaults.

    old: the file as it stands, whose comments and order are kept; a text that is no TOML counts as empty."""
    try:
        document = tomlkit.parse(old)
    except TOMLKitError:
        document = tomlkit.document()
    _into(document, values)
    made = tomlkit.dumps(document).lstrip("\n")
    return made if made.partition("\n")[0].strip() == MARK else f"{MARK}\n{made}"


def _into(table: tomlkit.TOMLDocument | tomlkit.items.Table, values: dict[str, Any]) -> None:
    """Make ``table`` say ``values``; what says so already stays as it is written."""
    have = table.unwrap()
    for key in [key for key in table if key not in values]:
        del table[key]
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(inner := table.get(key), tomlkit.items.Table):
            _into(inner, value)
            continue
        item = tomlkit.item(value)
        if isinstance(item, tomlkit.items.Array):
            item.multiline(True)
        if key not in have or have[key] != value:
            table[key] = item
