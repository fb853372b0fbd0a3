"""Rows and how layers of them become one root."""

from __future__ import annotations

from jailkit.image import layer

from .memory import Memory


def file(path: str) -> layer.Row:
    return layer.file(path, path.encode(), 0o644, Memory())


def test_a_later_layer_wins_and_brings_its_directories() -> None:
    found = layer.merge([[file("/a/b"), file("/c")], [file("/a/b/c")]])
    assert [(row.path, row.kind) for row in found] == [
        ("/a", "directory"),
        ("/a/b", "directory"),
        ("/a/b/c", "file"),
        ("/c", "file"),
    ]
    found = layer.merge([[file("/a/b/c")], [layer.link("/a/b", "/etc")]])
    assert [row.path for row in found] == ["/a", "/a/b"]
