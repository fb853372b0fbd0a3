"""Images and what keeps them, on made-up images and jails."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from jailkit.image import store, tags
from jailkit.jail import recipe as recipes
from jailkit.jail.recipe import Recipe
from jailkit.paths import Paths
from jailkit.provision import images
from tests.unit.rooted import rooted


@pytest.fixture
def paths() -> Iterator[Paths]:
    with rooted() as made:
        store.ready(made)
        yield made


def image(paths: Paths, letter: str) -> str:
    """As much of an image as tags and prune ask for."""
    digest = letter * 64
    os.makedirs(paths.image_root(digest))
    with open(paths.image_manifest(digest), "w") as file:
        file.write("{}")
    return digest


def test_prune_reads_each_recipe_as_often_whatever_the_number_of_images(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alice", "bob"):
        os.makedirs(paths.jail(name))
    read: list[str] = []

    def load(paths: Paths, name: str) -> Recipe:
        read.append(name)
        return Recipe(
            user=name, uid=1, gid=1, base=1, home="/home/x", hostname=name, template="shell",
            image="b" * 64 if name == "bob" else "",
        )  # fmt: skip

    monkeypatch.setattr(recipes, "load", load)
    pinned, one, *_ = (image(paths, letter) for letter in "ba")
    assert images.prune(paths).images == (one,)
    few = len(read)
    made = tuple(image(paths, letter) for letter in "acdef0123456789")
    assert images.prune(paths, dry_run=True).images == tuple(sorted(made))
    read.clear()
    assert images.prune(paths).images == tuple(sorted(made))
    assert len(read) == few
    assert store.digests(paths) == [pinned]
    assert sorted(os.listdir(paths.images)) == [".lock", pinned]


def test_prune_leaves_what_is_held_and_what_came_to_be_used_since_it_looked(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, tagged, unused = (image(paths, letter) for letter in "abc")
    claim = images._claim

    def slow(paths: Paths, digest: str) -> int:
        if digest == tagged and tags.current(paths, "shell") is None:
            tags.move(paths, "shell", tagged, "build")
        return claim(paths, digest)

    monkeypatch.setattr(images, "_claim", slow)
    fd = os.open(paths.image(held), os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    assert images.prune(paths).images == (unused,)
    os.close(fd)
    assert images.prune(paths).images == (held,)
    assert store.digests(paths) == [tagged]


def test_a_rollback_remembers_what_its_image_was_built_from(paths: Paths) -> None:
    """Or no image would be stale any more after one (build.stale)."""
    one, two = image(paths, "a"), image(paths, "b")
    tags.move(paths, "shell", one, "build", "1" * 64)
    tags.move(paths, "shell", two, "update", "2" * 64)
    assert images.rollback(paths, "shell").digest == one
    assert tags.history(paths, "shell")[-1].inputs == "1" * 64
    assert images.rollback(paths, "shell").digest == two
    assert tags.history(paths, "shell")[-1].inputs == "2" * 64
    assert images.rollback(paths, "shell", image(paths, "c")).changed
    assert tags.history(paths, "shell")[-1].inputs == "", "never built from this template"
