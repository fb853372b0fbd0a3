"""The store: ``images/<digest>/{root/,manifest.json}`` and ``tags/<template>``, a link to one of them.

An image is built beside its place and renamed into it when every byte is on the disk, so what has a digest for a name
is whole. A build in progress holds a lock on its own directory; the next build removes those that nobody holds."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from typing import Any

from ..errors import JailkitError
from ..kernel import libc
from ..kernel.beneath import remove_tree
from ..paths import Paths
from . import entries as entry_data
from .entries import Entry
from .template import Template, image_entries, load_template
from .verify import check_tree

_DIGEST_LENGTH = 64
_PREFIX = ".build-"


def root(paths: Paths, digest: str) -> str:
    """The directory that is a jail's ``/``."""
    return f"{paths.images}/{digest}/root"


def tagged(paths: Paths, template: str) -> str | None:
    """Digest of the image that new jails of ``template`` get, or None if there is none (any more)."""
    try:
        digest = os.path.basename(os.readlink(f"{paths.tags}/{template}"))
    except OSError:
        return None
    return digest if _is_digest(digest) and os.path.isfile(f"{paths.images}/{digest}/manifest.json") else None


def wanted(paths: Paths, template: str, host_root: str = "/") -> str:
    """Digest of what an image of ``template`` would be if it were built now. Reads some megabyte, writes nothing."""
    return _plan(load_template(paths, template), host_root)[1]


def stale(paths: Paths, template: str) -> bool:
    """Whether template or host have changed since the image was built. False where there is no image."""
    have = tagged(paths, template)
    return have is not None and have != wanted(paths, template)


def build(paths: Paths, template: str, host_root: str = "/") -> str:
    """Make the image of ``template`` unless it is there, set its tag, return its digest.

    Two at once are safe: one of them wins, with the same content. Raise ``missing.template``, ``invalid.template``,
    ``host.usrmerge``, ``io.image``."""
    plan, digest = _plan(load_template(paths, template), host_root)
    try:
        _ready(paths)
        if not os.path.isfile(f"{paths.images}/{digest}/manifest.json"):
            _build(paths, plan, digest)
        _tag(paths, template, digest)
    except OSError as error:
        raise JailkitError(
            "io.image", f"cannot build the image of {template}: {error.strerror or error}", f"df -h {paths.images}"
        ) from None
    return digest


def manifest(paths: Paths, digest: str) -> dict[str, Any]:
    """The manifest of an image (see entries.manifest). Raise ``missing.image``, ``invalid.image``."""
    path = f"{paths.images}/{digest}/manifest.json"
    try:
        with open(path, encoding="utf-8") as file:
            body = json.load(file)
    except FileNotFoundError:
        raise JailkitError("missing.image", f"there is no image {digest[:12]}", "jailctl doctor") from None
    except (OSError, ValueError) as error:
        raise JailkitError(
            "invalid.image", f"{path} is damaged: {error}", "remove its directory; jailctl add-user NAME builds it anew"
        ) from None
    if not isinstance(body, dict) or body.get("digest") != digest or entry_data.manifest_digest(body) != digest:
        raise JailkitError(
            "invalid.image",
            f"{path} is not the manifest of {digest[:12]}",
            "remove its directory; jailctl add-user NAME builds it anew",
        )
    return body


def verify(paths: Paths, digest: str) -> list[tuple[str, str]]:
    """Compare every byte, mode, owner and link of an image with its manifest. Return (path, what is wrong), sorted."""
    body = manifest(paths, digest)
    return check_tree(root(paths, digest), {row["path"]: row for row in body["entries"]})


def digests(paths: Paths) -> list[str]:
    """Digests of all images that are there."""
    try:
        return sorted(name for name in os.listdir(paths.images) if _is_digest(name))
    except FileNotFoundError:
        return []


def _is_digest(name: str) -> bool:
    return len(name) == _DIGEST_LENGTH and all(char in "0123456789abcdef" for char in name)


def _plan(template: Template, host_root: str) -> tuple[dict[str, Any], str]:
    found = image_entries(template, host_root)
    body = entry_data.manifest(template.spec.name, found, template.spec.binds)
    return {"manifest": body, "entries": found}, body["digest"]


def _ready(paths: Paths) -> None:
    for path, mode in ((paths.var, 0o755), (paths.images, 0o711), (paths.tags, 0o755)):
        os.makedirs(path, mode, exist_ok=True)
        if os.stat(path).st_mode & 0o7777 != mode:
            os.chmod(path, mode)


@contextlib.contextmanager
def _lock(paths: Paths) -> Iterator[None]:
    """Between the mkdir of a build's directory and the lock on it nobody may clean up."""
    fd = os.open(f"{paths.images}/.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def clean(paths: Paths) -> int:
    """Remove what interrupted builds have left; return how many. A build that is under way is left alone."""
    count = 0
    with _lock(paths):
        for name in sorted(os.listdir(paths.images)):
            if not name.startswith(_PREFIX):
                continue
            fd = os.open(f"{paths.images}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            finally:
                os.close(fd)
            remove_tree(f"{paths.images}/{name}")
            count += 1
    return count


def _build(paths: Paths, plan: dict[str, Any], digest: str) -> None:
    clean(paths)
    scratch = f"{paths.images}/{_PREFIX}{os.urandom(6).hex()}"
    with _lock(paths):
        os.mkdir(scratch, 0o700)
        held = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        os.mkdir(f"{scratch}/root")
        os.chmod(f"{scratch}/root", 0o755)
        for entry in plan["entries"]:
            _write(f"{scratch}/root{entry.path}", entry)
        text = json.dumps(plan["manifest"], sort_keys=True, indent=1) + "\n"
        _write_file(f"{scratch}/manifest.json", text.encode(), 0o644)
        # and its directory stays 0700: an image has a /tmp, which would be everybody's on the host to write
        libc.call("syncfs", held)  # one flush of the file system instead of hundreds of fsync(2)
        _publish(paths, scratch, digest)
    except BaseException:
        os.close(held)
        held = -1
        remove_tree(scratch)
        raise
    finally:
        if held >= 0:
            os.close(held)


def _publish(paths: Paths, scratch: str, digest: str) -> None:
    target = f"{paths.images}/{digest}"
    if os.path.isdir(target) and not os.path.isfile(f"{target}/manifest.json"):
        remove_tree(target)  # never one of ours: those appear whole
    try:
        os.rename(scratch, target)
    except OSError:
        if not os.path.isfile(f"{target}/manifest.json"):
            raise
        remove_tree(scratch)  # another build of the same input was first
    _sync(paths.images)


def _write(path: str, entry: Entry) -> None:
    if entry.kind == "link":
        os.symlink(entry.target, path)
    elif entry.kind == "directory":
        os.mkdir(path, 0o700)
        os.chmod(path, entry.mode)  # not by mkdir's mode: the umask is the caller's
    else:
        _write_file(path, entry.data, entry.mode)


def _write_file(path: str, data: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), mode)


def _tag(paths: Paths, template: str, digest: str) -> None:
    link, target = f"{paths.tags}/{template}", f"../images/{digest}"
    if os.path.islink(link) and os.readlink(link) == target:
        return
    temporary = f"{paths.tags}/.{template}-{os.urandom(6).hex()}"
    os.symlink(target, temporary)
    os.rename(temporary, link)
    _sync(paths.tags)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
