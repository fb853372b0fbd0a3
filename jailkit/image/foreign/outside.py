"""Names and links that come from outside, such as an archive: made plain, or refused.

Nothing is looked up on a disk here. A name that is accepted has one form, so two names that differ are two files."""

from __future__ import annotations

from ...errors import JailkitError

PATH_MAX = 3072
"""Bytes: a path below the store's directories must be shorter than the kernel's 4,096 (limits.h)."""
NAME_MAX = 255
DEPTH_MAX = 128
TARGET_MAX = 4095


def shown(text: str) -> str:
    """For a message: on one line, without what a terminal would obey, and not too long."""
    short = text if len(text) <= 200 else f"{text[:200]}..."
    return repr(short.encode("ascii", "backslashreplace").decode() if not short.isprintable() else short)


def unsafe(text: str) -> JailkitError:
    return JailkitError("unsafe.archive", text, "nothing of it was used; ask who made it")


def _plain_text(what: str, text: str, limit: int) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise unsafe(f"{what} {shown(text)} is not UTF-8") from None
    if not text.isprintable():
        raise unsafe(f"{what} {shown(text)} has characters that cannot be printed")
    if size > limit:
        raise unsafe(f"{what} {shown(text)} has {size} bytes, more than {limit}")


def path(name: str) -> str:
    """``name`` as an absolute path in the image; "" for the root itself. A leading "/" or "./", doubled slashes and
    "." in between are what tools write; ".." is what attacks write (CVE-2007-4559). Raise ``unsafe.archive``."""
    _plain_text("the name", name, PATH_MAX)
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise unsafe(f"the name {shown(name)} climbs out with '..'")
    if any(len(part.encode()) > NAME_MAX for part in parts) or len(parts) > DEPTH_MAX:
        raise unsafe(f"the name {shown(name)} is too long or too deep")
    return "".join(f"/{part}" for part in parts)


def target(path_: str, text: str) -> str:
    """``text`` if it may be what the symbolic link at ``path_`` points to. An absolute one is absolute in the jail;
    one that climbs above the image's root is refused, although in the jail it would end at the root: whoever looks
    at the image from outside would be led to the host's files. Raise ``unsafe.archive``."""
    _plain_text(f"the link {shown(path_)} to", text, TARGET_MAX)
    if not text:
        raise unsafe(f"the link {shown(path_)} points to nothing")
    depth = 0 if text.startswith("/") else path_.count("/") - 1
    for part in text.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            raise unsafe(f"the link {shown(path_)} to {shown(text)} climbs out with '..'")
    return text
