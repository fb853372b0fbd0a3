"""A root in a tar file, such as ``docker export`` writes. How it is read without being trusted: foreign/unpack.py."""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager
from typing import Any

from ...errors import JailkitError
from ...kernel.beneath import Tree
from ...spec.source import TarSource
from ...spec.template import TemplateSpec
from ..foreign import unpack
from ..foreign.tarball import Limits
from ..layer import Row
from . import Build

_SMALL = 64 << 20
"""Bytes that are hashed in a moment; a larger file is known by its inode, size and times."""


def inputs(spec: TemplateSpec, directory: str, host_root: str) -> Any:
    """The file's SHA-256: the one that the template demands, else that of what is there; of a large file its identity.
    Raise ``missing.archive``, ``invalid.archive``."""
    table = _table(spec)
    limits = [table.max_bytes, table.max_names]
    if table.sha256:
        return {"sha256": table.sha256, "limits": limits}
    with _opened(table, directory, host_root) as fd:
        if os.fstat(fd).st_size > _SMALL:
            return {"file": _identity(fd), "limits": limits}
        return {"sha256": _sha256(fd), "limits": limits}


def problems(spec: TemplateSpec, directory: str, host_root: str) -> list[tuple[str, str]]:
    """Another file than the one that the template wants; :func:`inputs` finds that there is none."""
    table = _table(spec)
    with _opened(table, directory, host_root) as fd:
        other = table.sha256 and _sha256(fd) != table.sha256
    return [("tar.sha256", f"{table.file} is another file")] if other else []


def rows(build: Build) -> list[Row]:
    """Raise ``missing.archive``, ``conflict.archive``, ``busy.archive``, and as unpack.rows."""
    table = _table(build.spec)
    with _opened(table, build.directory, build.host_root) as fd:
        before = _identity(fd)
        if table.sha256:
            _compare(table, _sha256(fd))
        os.lseek(fd, 0, os.SEEK_SET)
        limits = Limits(table.max_bytes, table.max_names)
        build.log(f"unpacking {table.file}, {os.fstat(fd).st_size:,} bytes")
        found = unpack.rows(fd, build.contents, build.scratch, limits, table.file, build.log)
        if _identity(fd) != before:
            raise JailkitError("busy.archive", f"{table.file} changed while it was read", "try again when it is whole")
    return found


def _table(spec: TemplateSpec) -> TarSource:
    if spec.tar is None:
        raise JailkitError("invalid.template", f"template {spec.name} has no table [tar]", "add [tar] with file = ...")
    return spec.tar


def _opened(table: TarSource, directory: str, host_root: str) -> AbstractContextManager[int]:
    """A descriptor of the file. One of the template's folder is reached without a link."""
    if table.file.startswith("/"):
        return unpack.opened(table.file, lambda flags: os.open(host_root.rstrip("/") + table.file, flags))
    return unpack.opened(f"{directory}/{table.file}", lambda flags: _beneath(directory, table.file, flags))


def _beneath(directory: str, file: str, flags: int) -> int:
    with Tree(directory) as tree:
        return tree.open(file, flags)


def _identity(fd: int) -> list[int]:
    status = os.fstat(fd)
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _sha256(fd: int) -> str:
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compare(table: TarSource, found: str) -> None:
    if found != table.sha256:
        raise JailkitError(
            "conflict.archive", f"{table.file} is another file: its SHA-256 is {found}, the template wants "
            f"{table.sha256}", "get the right file, or change sha256 in the template",
        )  # fmt: skip
