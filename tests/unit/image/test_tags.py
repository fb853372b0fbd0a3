"""Tags: what they name, their history, rollback."""

from __future__ import annotations

import os

import pytest

from jailkit.errors import JailkitError
from jailkit.image import store, tags
from jailkit.paths import Paths


def test_a_tag_to_nothing_is_no_image(paths: Paths) -> None:
    store.ready(paths)
    os.symlink("../images/" + "0" * 64, f"{paths.tags}/shell")
    assert tags.current(paths, "shell") is None
    os.unlink(f"{paths.tags}/shell")
    os.symlink("/etc", f"{paths.tags}/shell")
    assert tags.current(paths, "shell") is None


def image(paths: Paths, letter: str) -> str:
    """As much of an image as a tag asks for."""
    digest = letter * 64
    os.makedirs(paths.image_root(digest), exist_ok=True)
    with open(paths.image_manifest(digest), "w") as file:
        file.write("{}")
    return digest


def test_a_tag_moves_and_remembers(paths: Paths) -> None:
    store.ready(paths)
    one, two = image(paths, "a"), image(paths, "b")
    assert tags.move(paths, "shell", one, "build", "1" * 64) is None
    assert tags.move(paths, "shell", two, "update", "2" * 64) == one
    assert tags.current(paths, "shell") == two
    assert [(move.digest, move.why, move.inputs) for move in tags.history(paths, "shell")] == [
        (one, "build", "1" * 64),
        (two, "update", "2" * 64),
    ]
    assert tags.before(paths, "shell") == one
    before = os.stat(paths.history("shell")).st_mtime_ns
    assert tags.move(paths, "shell", two, "update", "2" * 64) == two
    assert os.stat(paths.history("shell")).st_mtime_ns == before, "nothing is to be done"


def test_a_move_that_was_killed_was_never_made(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the history and the tag itself."""
    store.ready(paths)
    one, two, three = image(paths, "a"), image(paths, "b"), image(paths, "c")
    tags.move(paths, "shell", one, "build")
    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tags.move(paths, "shell", two, "update")
    assert tags.current(paths, "shell") == one
    assert [move.digest for move in tags.history(paths, "shell")] == [one]
    tags.move(paths, "shell", three, "update")
    assert [move.digest for move in tags.history(paths, "shell")] == [one, three]
    assert tags.before(paths, "shell") == one


def test_a_rollback_goes_to_what_is_still_there(paths: Paths) -> None:
    store.ready(paths)
    one, two, three = image(paths, "a"), image(paths, "b"), image(paths, "c")
    for digest in (one, two, three):
        tags.move(paths, "shell", digest, "update")
    os.unlink(paths.image_manifest(two))
    assert tags.before(paths, "shell") == one
    tags.move(paths, "shell", one, "rollback")
    assert tags.before(paths, "shell") == three, "and back again"


def test_a_damaged_history_is_no_history(paths: Paths) -> None:
    store.ready(paths)
    one = image(paths, "a")
    tags.move(paths, "shell", one, "build")
    with open(paths.history("shell"), "ab") as file:
        file.write(b"\xff\xfe\n12 zz update -\n1790000000 " + b"b" * 64)  # a foreign line, and a torn one
    assert [move.digest for move in tags.history(paths, "shell")] == [one]


@pytest.mark.parametrize(
    "name", ["../x", "", "Shell", "a:", "a:../b", "a:b/c", "a:-x", "a\n", "a:b:c", "x" * 49, "a:" + "b" * 49]
)
def test_a119_names_of_images(paths: Paths, name: str) -> None:
    with pytest.raises(JailkitError) as caught:
        tags.move(paths, name, "a" * 64, "tag")
    assert caught.value.code.startswith("invalid.")


def test_a_tag_to_an_image_that_is_not_there_is_refused(paths: Paths) -> None:
    store.ready(paths)
    with pytest.raises(JailkitError) as caught:
        tags.move(paths, "shell", "a" * 64, "tag")
    assert caught.value.code == "missing.image"
    assert not os.path.lexists(paths.tag("shell"))


def test_a098_no_tag_is_the_draft_of_another(paths: Paths) -> None:
    """A tag may end in ``.new``, as drafts of files do."""
    store.ready(paths)
    one, two = image(paths, "a"), image(paths, "b")
    for digest in (one, two):
        tags.move(paths, "web:a.new", digest, "update")
    tags.move(paths, "web:a", one, "update")
    assert [move.digest for move in tags.history(paths, "web:a.new")] == [one, two]
    assert tags.before(paths, "web:a.new") == one
