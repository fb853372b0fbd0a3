"""The build cache: the rows of layers that cost something to make, by a key of what went in. Anything in it may be
thrown away at any time."""

from __future__ import annotations

import contextlib
import json
import os

from ..paths import Paths
from . import contents, layer
from .layer import Row


def get(paths: Paths, key: str, store: contents.Store) -> list[Row] | None:
    """The layer of ``key``, if it and all its contents are still there."""
    path = f"{paths.cache}/{key}"
    try:
        with open(path, encoding="ascii") as file:
            rows = [layer.from_data(data) for data in json.load(file)["rows"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not all(store.has(row) for row in rows):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # what was not used for long goes first
    return rows


def put(paths: Paths, key: str, template: str, rows: list[Row]) -> None:
    """Keep a layer; its contents are in the store. template: whose it is, for people."""
    temporary = f"{paths.cache}/.{key}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        json.dump({"template": template, "rows": [row.data() for row in rows]}, file)
    os.rename(temporary, f"{paths.cache}/{key}")


def needed(paths: Paths, days: float, now: float) -> tuple[set[str], list[str]]:
    """Contents (contents.name_of) that layers used within ``days`` need, and the paths of the older ones."""
    keep: set[str] = set()
    old = []
    for name in sorted(os.listdir(paths.cache)):
        path = f"{paths.cache}/{name}"
        if name.startswith(".") or now - os.stat(path).st_mtime > days * 86400:
            old.append(path)
            continue
        try:
            with open(path, encoding="ascii") as file:
                rows = [layer.from_data(data) for data in json.load(file)["rows"]]
        except (ValueError, KeyError, TypeError):
            old.append(path)
            continue
        keep.update(contents.name_of(row) for row in rows if row.kind == "file")
    return keep, old
