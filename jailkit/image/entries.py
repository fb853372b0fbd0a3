"""What an image holds, as data: sorted entries, their manifest, and the digest that names the image.

The digest is over paths, kinds, modes, link targets and contents and nothing else: no clock, no inode, no order of a
directory's names. The same input has the same digest on every host."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

FORMAT = 1
DIRECTORY_MODE = 0o755


@dataclass(frozen=True)
class Entry:
    """One name below an image's root. path: absolute, as seen inside. mode: permission bits (0 for links).

    data: content of a file; target: of a link. Owner and group are always root."""

    path: str
    kind: Literal["file", "directory", "link"]
    mode: int = 0
    data: bytes = b""
    target: str = ""

    def row(self) -> dict[str, Any]:
        """The entry's line of the manifest."""
        if self.kind == "link":
            return {"path": self.path, "kind": "link", "target": self.target}
        if self.kind == "directory":
            return {"path": self.path, "kind": "directory", "mode": f"{self.mode:04o}"}
        digest = hashlib.sha256(self.data).hexdigest()
        mode = f"{self.mode:04o}"
        return {"path": self.path, "kind": "file", "mode": mode, "size": len(self.data), "sha256": digest}


def file(path: str, data: bytes, executable: bool = False) -> Entry:
    return Entry(path, "file", 0o755 if executable else 0o644, data)


def directory(path: str, mode: int = DIRECTORY_MODE) -> Entry:
    return Entry(path, "directory", mode)


def link(path: str, target: str) -> Entry:
    return Entry(path, "link", target=target)


def tree(layers: Iterable[Iterable[Entry]]) -> list[Entry]:
    """One root of several layers, sorted by path. A later layer wins, and brings the directories above it along;
    what lies below a name that is no directory is left out."""
    found: dict[str, Entry] = {}
    for layer in layers:
        for entry in layer:
            earlier = found.get(entry.path)
            if earlier is not None and earlier.kind == "directory" and entry.kind != "directory":
                prefix = entry.path + "/"
                found = {path: kept for path, kept in found.items() if not path.startswith(prefix)}
            found[entry.path] = entry
            for parent in _parents(entry.path):
                if parent not in found or found[parent].kind != "directory":
                    found[parent] = directory(parent)
    return [found[path] for path in sorted(found)]


def _parents(path: str) -> list[str]:
    parts = path.strip("/").split("/")[:-1]
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def manifest(template: str, entries: list[Entry], binds: list[str]) -> dict[str, Any]:
    """What stands beside the root: ``{"format", "template", "binds", "entries", "digest"}``."""
    rows = [entry.row() for entry in entries]
    body = {"format": FORMAT, "template": template, "binds": binds, "entries": rows}
    return {**body, "digest": manifest_digest(body)}


def manifest_digest(body: dict[str, Any]) -> str:
    """SHA-256 (hex) of a manifest without its own ``digest``, as canonical JSON."""
    plain = {key: value for key, value in body.items() if key != "digest"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
