"""Mount points: what a jail mounts stands on directories (and placeholder files) of its image. That each is reached
without a link is checked here, once an image, as root follows these paths when it stages a jail."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import JailkitError
from ..spec.template import TemplateSpec
from . import layer
from .layer import Contents, Row

ALWAYS = ("/dev", "/etc", "/home", "/proc", "/run", "/tmp", "/var/tmp")


def needed(spec: TemplateSpec, jail_files: Iterable[str], rows: list[Row], contents: Contents) -> list[Row]:
    """The lowest layer: what must be there and is not in ``rows``. jail_files: names below /etc."""
    there = {row.path for row in rows}
    directories = [path for path in (*ALWAYS, *spec.binds, *spec.writable) if path not in there]
    found = [layer.directory(path) for path in directories]
    files = [f"/etc/{name}" for name in jail_files]
    return [*found, *(layer.file(path, b"", 0o644, contents) for path in files if path not in there)]


def check(spec: TemplateSpec, jail_files: Iterable[str], rows: list[Row]) -> None:
    """Raise ``invalid.image`` unless every mount point is a directory (a file of the jail's own: a file), and so is
    everything above it."""
    kinds = {row.path: row.kind for row in rows}
    for path in (*ALWAYS, *spec.binds, *spec.writable):
        parts = path.strip("/").split("/")
        for count in range(1, len(parts) + 1):
            part = "/" + "/".join(parts[:count])
            if kinds.get(part) != "directory":
                raise _wrong(spec, part, kinds.get(part, "missing"), "directory")
    for name in jail_files:
        if kinds.get(f"/etc/{name}") != "file":
            raise _wrong(spec, f"/etc/{name}", kinds.get(f"/etc/{name}", "missing"), "file")


def _wrong(spec: TemplateSpec, path: str, kind: str, wanted: str) -> JailkitError:
    return JailkitError(
        "invalid.image",
        f"{path} in the image of {spec.name} must be a {wanted}, as something is mounted on it; it is {kind}",
        f"make it one with a [[run]] step, or with [image] of template {spec.name}",
    )


def find(rows: dict[str, Row], path: str) -> Row | None:
    """What ``path`` leads to in an image, links resolved as the jail would; None where nothing does. rows: by path."""
    for _ in range(40):  # path_resolution(7): the kernel follows that many
        parts, walked = path.strip("/").split("/"), ""
        for index, part in enumerate(parts):
            if part in ("", "."):
                continue
            if part == "..":
                walked = walked.rpartition("/")[0]
                continue
            row = rows.get(f"{walked}/{part}")
            if row is None:
                return None
            if row.kind == "link":
                rest = "/".join(parts[index + 1 :])
                base = "" if row.target.startswith("/") else walked
                path = f"{base}/{row.target}/{rest}".rstrip("/")
                break
            walked = f"{walked}/{part}"
        else:
            return rows.get(walked)
    return None
