"""Comparing a root with its manifest, byte by byte."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any


def check_tree(root: str, rows: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Differences between the directory ``root`` and the manifest's ``rows`` (by path): (path, what is wrong)."""
    wrong: list[tuple[str, str]] = []
    seen: set[str] = set()
    pending = [""]
    while pending:
        base = pending.pop()
        for name in os.listdir(root + base or "/"):
            path = f"{base}/{name}"
            seen.add(path)
            status = os.lstat(root + path)
            row = rows.get(path)
            if row is None:
                wrong.append((path, "is not in the manifest"))
                continue
            wrong += [(path, what) for what in _compare(root + path, status, row)]
            if row["kind"] == "directory" and stat.S_ISDIR(status.st_mode):
                pending.append(path)
    wrong += [(path, "is missing") for path in rows if path not in seen]
    return sorted(wrong)


def _compare(path: str, status: os.stat_result, row: dict[str, Any]) -> list[str]:
    kinds = {"file": stat.S_ISREG, "directory": stat.S_ISDIR, "link": stat.S_ISLNK}
    if not kinds[row["kind"]](status.st_mode):
        return [f"is no {row['kind']}"]
    wrong = []
    if (status.st_uid, status.st_gid) != (0, 0):
        wrong.append(f"belongs to {status.st_uid}:{status.st_gid}")
    if row["kind"] == "link":
        target = os.readlink(path)
        return wrong + ([f"points to {target!r}"] if target != row["target"] else [])
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    if mode != row["mode"]:
        wrong.append(f"has mode {mode}")
    if "security.capability" in os.listxattr(path, follow_symlinks=False):
        wrong.append("has file capabilities")
    if row["kind"] == "file" and (status.st_size != row["size"] or _sha256(path) != row["sha256"]):
        wrong.append("has another content")
    return wrong


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
