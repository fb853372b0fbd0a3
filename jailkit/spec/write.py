"""Writing spec files so that an administrator's comments and order stay."""

from __future__ import annotations

import tomlkit
from tomlkit.exceptions import TOMLKitError

from .jail import MARK, JailSpec


def spec_text(spec: JailSpec, old: str = "") -> str:
    """The file of ``spec``: the mark, then every key that differs from its default.

    old: the file as it stands, whose comments and order are kept; a text that is no TOML counts as empty."""
    try:
        document = tomlkit.parse(old)
    except TOMLKitError:
        document = tomlkit.document()
    values = spec.data()
    have = document.unwrap()
    for key in [key for key in document if key not in values]:
        del document[key]
    for key, value in values.items():
        item = tomlkit.item(value)
        if isinstance(item, tomlkit.items.Array):
            item.multiline(True)
        if key not in have or have[key] != value:
            document[key] = item
    text = tomlkit.dumps(document).lstrip("\n")
    return text if text.partition("\n")[0].strip() == MARK else f"{MARK}\n{text}"
