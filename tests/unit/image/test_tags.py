"""Tags: what they name, their history, rollback."""

from __future__ import annotations

import os

from jailkit.image import store, tags
from jailkit.paths import Paths


def test_a_tag_to_nothing_is_no_image(paths: Paths) -> None:
    store.ready(paths)
    os.symlink("../images/" + "0" * 64, f"{paths.tags}/shell")
    assert tags.current(paths, "shell") is None
    os.unlink(f"{paths.tags}/shell")
    os.symlink("/etc", f"{paths.tags}/shell")
    assert tags.current(paths, "shell") is None
