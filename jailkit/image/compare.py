"""What differs between two images, or between an image and what a jail has made of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from .layer import Row


@dataclass(frozen=True)
class Change:
    """path: of the name; "template: KEY" for a setting. what: in words, "" where the kind says all."""

    kind: Literal["added", "changed", "removed"]
    path: str
    what: str = ""

    def data(self) -> dict[str, Any]:
        return asdict(self)


def images(first: dict[str, Any], second: dict[str, Any]) -> list[Change]:
    """From one manifest (store.manifest) to another: settings first, then names by path."""
    return [
        *_tables("template", first["template"], second["template"]),
        *_tables("jail/etc", first["jail_files"], second["jail_files"]),
        *_entries({row["path"]: row for row in first["entries"]}, {row["path"]: row for row in second["entries"]}),
    ]


def rows(first: list[Row], second: list[Row]) -> list[Change]:
    """From the rows of one root to those of another, by path."""
    return _entries({row.path: row.data() for row in first}, {row.path: row.data() for row in second})


def _tables(what: str, first: dict[str, Any], second: dict[str, Any]) -> list[Change]:
    found = []
    for key in sorted({*first, *second}):
        if key not in first:
            found.append(Change("added", f"{what}: {key}"))
        elif key not in second:
            found.append(Change("removed", f"{what}: {key}"))
        elif first[key] != second[key]:
            found.append(Change("changed", f"{what}: {key}"))
    return found


def _entries(first: dict[str, dict[str, Any]], second: dict[str, dict[str, Any]]) -> list[Change]:
    found = []
    for path in sorted({*first, *second}):
        if path not in first:
            found.append(Change("added", path))
        elif path not in second:
            found.append(Change("removed", path))
        elif first[path] != second[path]:
            found.append(Change("changed", path, _how(first[path], second[path])))
    return found


def _how(first: dict[str, Any], second: dict[str, Any]) -> str:
    if first["kind"] != second["kind"]:
        return f"{first['kind']} to {second['kind']}"
    words = []
    if first.get("mode") != second.get("mode"):
        words.append(f"mode {first['mode']} to {second['mode']}")
    if first.get("target") != second.get("target"):
        words.append(f"to {second['target']}")
    if first.get("sha256") != second.get("sha256"):
        words.append(f"{first['size']} to {second['size']} bytes")
    return ", ".join(words)
