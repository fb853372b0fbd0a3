"""The image that a jail starts from: held while it starts, and the recipe made anew where the image asks for it."""

from __future__ import annotations

import fcntl
import os
import sys

from ..errors import JailkitError
from ..paths import Paths
from . import recipe as recipes
from .recipe import Recipe


class Held:
    """Context that gives the digest of the jail's image and keeps `image prune` away from it (flock(2), shared) until
    the jail runs, whose record then says that the image is in use. Raise ``missing.image``."""

    def __init__(self, paths: Paths, recipe: Recipe) -> None:
        self._paths, self._recipe = paths, recipe

    def __enter__(self) -> str:
        while True:
            digest = recipes.image(self._paths, self._recipe)
            try:
                self._fd = os.open(self._paths.image(digest), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # pruned since; the tag names another one by now, or there is none
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            if os.path.isdir(self._paths.image_root(digest)):
                return digest
            os.close(self._fd)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def refresh(paths: Paths, name: str) -> None:
    """Have the recipe and the files of ``name`` made anew for its image, by provisioning in a process of its own: what
    that needs (templates, validation) is nothing for the login path. Raise what it said."""
    program = f"{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}/provision/refresh.py"
    answer, answer_in = os.pipe2(os.O_CLOEXEC)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, answer_in, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
    try:
        child = os.posix_spawn(
            sys.executable, [sys.executable, "-I", program, name, paths.root], {"LC_ALL": "C.UTF-8"},
            file_actions=actions,
        )  # fmt: skip
        os.close(answer_in)
        text = b""
        while chunk := os.read(answer, 4096):
            text += chunk
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(answer)
        os.close(null)
    if status != 0:
        code, message, hint = (text.decode(errors="replace").strip().split("|") + ["", "", ""])[:3]
        raise JailkitError(code or "jail.refresh", message or f"the recipe of {name} cannot be made anew", hint)
