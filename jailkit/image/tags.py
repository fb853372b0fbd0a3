"""Tags: which image a template's jails start from. A tag is one symbolic link, so that moving it is one rename(2):
a jail that starts sees the image before or the one after, whatever the number of jails.

Each move is a line in the tag's history, which is written before the tag is moved: a last line that names another
image than the tag does is a move that was never made."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import JailkitError
from ..kernel import disk
from ..names import image_reference
from ..paths import Paths

_DIGEST_LENGTH = 64
_KEPT = 99


@dataclass(frozen=True)
class Move:
    """at: seconds since the epoch. inputs: what the image was built from (build.inputs), "" for one that was not built
    from its template, such as an imported one. why: "build", "update", "rollback", "tag", "commit", "import"."""

    at: int
    digest: str
    why: str
    inputs: str = ""

    def data(self) -> dict[str, Any]:
        return asdict(self)


def is_digest(name: str) -> bool:
    return len(name) == _DIGEST_LENGTH and all(char in "0123456789abcdef" for char in name)


def current(paths: Paths, reference: str) -> str | None:
    """Digest of the image that jails of ``reference`` start from, or None if there is none (any more)."""
    try:
        digest = os.path.basename(os.readlink(paths.tag(image_reference(reference))))
    except OSError:
        return None
    return digest if is_digest(digest) and os.path.isfile(paths.image_manifest(digest)) else None


def all_tags(paths: Paths) -> dict[str, str]:
    """Every tag and the digest that it names."""
    found = {}
    for name in sorted(os.listdir(paths.tags)) if os.path.isdir(paths.tags) else []:
        with contextlib.suppress(JailkitError):
            digest = current(paths, name)
            if digest is not None:
                found[name] = digest
    return found


def history(paths: Paths, reference: str) -> list[Move]:
    """The moves of a tag, oldest first; the last one is what it names now. Empty for a tag that does not exist."""
    moves = []
    try:
        with open(paths.history(image_reference(reference)), encoding="ascii", errors="replace") as file:
            for line in file:
                fields = line.rstrip("\n").split(" ")
                if line.endswith("\n") and len(fields) == 4 and fields[0].isdigit() and is_digest(fields[1]):
                    moves.append(Move(int(fields[0]), fields[1], fields[2], fields[3].removeprefix("-")))
    except FileNotFoundError:
        return []
    now = current(paths, reference)
    while moves and moves[-1].digest != now:
        moves.pop()  # a move that was killed before it was made
    return moves


def move(paths: Paths, reference: str, digest: str, why: str, inputs: str = "") -> str | None:
    """Let ``reference`` name ``digest``; return the digest that it named before. Nothing is written if it does so
    already and was built from the same. Raise ``missing.image``, OSError."""
    image_reference(reference)
    with held(paths, digest), _turn(paths):
        before = current(paths, reference)
        moves = history(paths, reference)
        if before == digest and moves and moves[-1].inputs == inputs:
            return before
        _write(paths.history(reference), [*moves[-_KEPT:], Move(int(time.time()), digest, why, inputs)])
        if before != digest:
            link = paths.tag(reference)
            temporary = f"{paths.tags}/.{reference}.new"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            os.symlink(f"../images/{digest}", temporary)
            os.rename(temporary, link)
            disk.sync_names(paths.tags)
        return before


def inputs(paths: Paths, reference: str, digest: str) -> str:
    """What the tag says that image was built from when it named it last, "" if it never was."""
    return next((made.inputs for made in reversed(history(paths, reference)) if made.digest == digest), "")


@contextlib.contextmanager
def held(paths: Paths, digest: str) -> Iterator[None]:
    """Keep an image from being pruned (flock(2), shared; prune takes it alone, and looks for tags then). Raise
    ``missing.image``."""
    missing = JailkitError("missing.image", f"there is no image {digest[:12]}", "jailctl image list shows all")
    try:
        fd = os.open(paths.image(digest), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise missing from None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        if not os.path.isfile(paths.image_manifest(digest)):
            raise missing
        yield
    finally:
        os.close(fd)


def remove(paths: Paths, reference: str) -> None:
    """Forget a tag and its history. Raise ``missing.image`` where there is none."""
    with _turn(paths):
        try:
            os.unlink(paths.tag(image_reference(reference)))
        except FileNotFoundError:
            raise JailkitError("missing.image", f"there is no image {reference}", "jailctl image list") from None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(paths.history(reference))
        disk.sync_names(paths.tags)


def before(paths: Paths, reference: str) -> str | None:
    """The image that a rollback goes to: the latest that the tag named and that is another one than now and there."""
    now = current(paths, reference)
    for made in reversed(history(paths, reference)):
        if made.digest != now and os.path.isfile(paths.image_manifest(made.digest)):
            return made.digest
    return None


def _turn(paths: Paths) -> contextlib.AbstractContextManager[None]:
    return disk.turn(f"{paths.histories}/.lock")


def _write(path: str, moves: list[Move]) -> None:
    directory, _, name = path.rpartition("/")
    temporary = f"{directory}/.{name}.new"  # no tag begins with a dot, but "web:a.new" is one
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.writelines(f"{move.at} {move.digest} {move.why} -{move.inputs}\n" for move in moves)
        file.flush()
        os.fsync(fd)
    os.rename(temporary, path)
