"""An image as one file, to be carried to another host: a tar with ``manifest.json`` and each content once, named by its
digest and mode, in this order:

    manifest.json   contents/01/01ab....644   contents/01/01ab....755   ...

The same image gives the same bytes: names are sorted, and the headers hold no clock, no owner, no inode.

Importing trusts nothing in the file. It is read by the confined process that reads any tar (unpack.py). Root checks
the manifest against its own digest, its rows as one checks rows from outside, its settings as those of any template;
then each content against the digest that its row says; and only when all are there, and nothing else, the image gets
its name. Whether the administrator wants what the image holds is another question: run ``image show`` first."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from ...errors import JailkitError
from ...paths import Paths
from ...spec import include, load
from ...spec.template import TemplateSpec
from .. import contents, layer, points, scratch, store, tags
from ..layer import Row
from ..template import SUFFIX, Template, own_trees
from ..world import canonical_digest, settings
from . import outside, unpack
from .outside import shown, unsafe
from .tarball import Limits

LIMITS = Limits()
_MANIFEST = "manifest.json"
_MANIFEST_BYTES = 64 << 20
_JAIL_FILE_BYTES = 1 << 20
_REACH = ("binds", "connectors", "network", "services", "level")
_FILE_MODES = (0o644, 0o755, 0o600, 0o700)
_DIRECTORY_MODES = (0o755, 0o700, 0o1777)


# -- writing


def export(paths: Paths, digest: str, file: str) -> int:
    """Write the image to the new file ``file``, 0600; return its size. Each content is checked as it is written.

    The directory may be somebody else's: it is looked up once, and what stands there under the name afterwards is the
    file that was written. Raise ``conflict.archive``, ``missing.image``, ``invalid.image``, ``io.archive``,
    ``unsafe.archive``; no half of a file stays."""
    rows = {contents.name_of(row): row for row in store.rows(paths, digest) if row.kind == "file"}
    with open(paths.image_manifest(digest), "rb") as source:
        manifest = source.read()
    try:
        with contextlib.ExitStack() as stack:
            place, name = _directory(stack, file), os.path.basename(file)
            out = stack.enter_context(_temporary(place, name))
            with tarfile.TarFile(fileobj=out.file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                archive.addfile(_header(_MANIFEST, len(manifest)), io.BytesIO(manifest))
                for each in sorted(rows):
                    _add(archive, paths.image_root(digest), each, rows[each])
            out.file.flush()
            os.fsync(out.file.fileno())
            # unlike a rename, it never replaces what is there
            os.link(out.name, name, src_dir_fd=place, dst_dir_fd=place, follow_symlinks=False)
            written = os.fstat(out.file.fileno())
            if not os.path.samestat(written, os.stat(name, dir_fd=place, follow_symlinks=False)):
                raise JailkitError("unsafe.archive", f"{file} was replaced meanwhile", "choose a directory of root's")
            return written.st_size
    except FileExistsError:
        raise JailkitError("conflict.archive", f"{file} exists already", "choose another name") from None
    except OSError as error:
        raise JailkitError("io.archive", f"cannot write {file}: {error.strerror}", f"df -h {file}") from None


def _directory(stack: contextlib.ExitStack, file: str) -> int:
    fd = os.open(os.path.dirname(file) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd


@dataclass(frozen=True)
class _Temporary:
    name: str
    file: BinaryIO


@contextlib.contextmanager
def _temporary(place: int, name: str) -> Iterator[_Temporary]:
    """A new file in the directory ``place``, whose name is gone afterwards."""
    temporary = f"{name}.{os.urandom(6).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=place)
    try:
        with os.fdopen(fd, "wb") as file:
            yield _Temporary(temporary, file)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=place)


def _header(name: str, size: int) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.mode, made.mtime = size, 0o600, layer.EPOCH
    return made


def _add(archive: tarfile.TarFile, root: str, name: str, row: Row) -> None:
    fd = os.open(root + row.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as source:
        hashed = _Hashed(source)
        if os.fstat(fd).st_size == row.size:
            archive.addfile(_header(f"contents/{name}", row.size), hashed)  # type: ignore[arg-type]
    if hashed.hexdigest() != row.sha256:
        raise JailkitError(
            "invalid.image", f"{root}{row.path} is not what the manifest says", "jailctl image verify; build it anew"
        )


class _Hashed:
    """A stream that is hashed as it is read."""

    def __init__(self, source: BinaryIO) -> None:
        self._source, self._digest = source, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._digest.update(data)
        return data

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


# -- reading


def import_(paths: Paths, file: str) -> tuple[str, bool]:
    """Take the image from ``file``; return its digest, and whether it is new. No tag is moved.

    Raise ``missing.archive``, ``unsafe.archive``, ``invalid.archive``, ``io.archive``: nothing has a name then."""
    store.ready(paths)
    label = os.path.basename(file)
    try:
        with (
            unpack.opened(file) as fd, contents.in_use(paths), scratch.directory(paths) as place, unpack.named(label),
            contextlib.closing(unpack.records(fd, place, LIMITS)) as records,
        ):  # fmt: skip
            digest, template, rows = _manifest(paths, next(records, None))
            kept = contents.Store(paths, place)
            _contents(records, {contents.name_of(row): row for row in rows if row.kind == "file"}, kept)
            made, changed = store.publish(paths, template, rows, kept, place)
            if made != digest:
                raise JailkitError("internal.archive", f"the image {digest[:12]} was published as {made[:12]}")
            return made, changed
    except OSError as error:
        raise JailkitError("io.archive", f"cannot import {file}: {error.strerror}", "df -h /var/lib/jailctl") from None


def _foreign(text: str) -> JailkitError:
    return JailkitError("invalid.archive", text, "import what `jailctl image export` wrote; a root: source = \"tar\"")


def _manifest(paths: Paths, record: unpack.Record | None) -> tuple[str, Template, list[Row]]:
    """From the first record of the archive: the digest, the settings, the rows."""
    if record is None or record.kind != "file" or record.name != _MANIFEST or record.size > _MANIFEST_BYTES:
        raise _foreign("it does not begin with the manifest of an image")
    try:
        body = json.loads(record.data.read())
        digest = body.pop("digest")
        plain = set(body) == {"format", "template", "jail_files", "entries"} and tags.is_digest(digest)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        plain = False
    if not plain:
        raise _foreign("its manifest is not one")
    if body["format"] != store.FORMAT:
        raise _foreign(f"its format is {shown(str(body['format']))}; this jailkit knows {store.FORMAT}")
    if canonical_digest(body) != digest:
        raise unsafe("its manifest has another digest than it says")
    template = _template(body)
    rows = checked(body["entries"])
    if store.body_of(template, rows) != body:
        raise unsafe("its manifest does not say things as this jailkit would")
    points.check(template.spec, template.jail_names, rows)
    _reaches(paths, template)
    return digest, template, rows


def _template(body: dict[str, Any]) -> Template:
    spec = load.validate(TemplateSpec, body["template"], _MANIFEST, "invalid.archive")
    files = body["jail_files"]
    if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
        raise _foreign("its jail_files are not texts")
    for name, text in files.items():
        if "/" in name or not outside.path(name) or not name.isascii() or len(text) > _JAIL_FILE_BYTES:
            raise unsafe(f"it has a file {shown(name)} for each jail, which cannot be one of /etc")
    try:
        return Template(spec, "", {}, {name: (text.encode(), False) for name, text in files.items()})
    except UnicodeEncodeError:
        raise _foreign("its jail_files are not texts") from None


def _reaches(paths: Paths, made: Template) -> None:
    """What an image shows of the host is for the administrator to say, in a template of that name, not for the file:
    host directories, host services, the host's network, who may log in. Nor is it for the file to say what root
    renders (Jinja2's sandbox has had holes, CVE-2024-56326, CVE-2025-27516; a loop in it has no end)."""
    spec, name = made.spec, shown(made.spec.name)
    try:
        local = include.resolve(paths, spec.name).spec
    except JailkitError:
        local = TemplateSpec(name=spec.name, description="-", source=spec.source, **_needed(spec))
    known, asked = settings(local), settings(spec)
    for key in _REACH:
        if asked.get(key) != known.get(key):
            raise JailkitError(
                "unsafe.archive", f"its template {name} has {key} = {shown(json.dumps(asked.get(key)))}, "
                f"on this host it has {shown(json.dumps(known.get(key)))}", f"jailctl template new {spec.name}",
            )  # fmt: skip
    foreign = {data for file, (data, _) in made.jail_files.items() if file.endswith(SUFFIX)}
    for folder in [*include.names(paths), *include.names(paths, parts=True)]:
        with contextlib.suppress(JailkitError):
            foreign -= {data for data, _ in own_trees(include.directory(paths, folder))["jail/etc"].values()}
    if foreign:
        raise JailkitError(
            "unsafe.archive", f"its template {name} has files to be rendered for each jail that no template on this "
            "host has", f"install template {spec.name} here first, or the same version of jailkit",
        )  # fmt: skip


def _needed(spec: TemplateSpec) -> dict[str, Any]:
    """The table without which a template of that source is none."""
    table = {"copy": spec.copying, "tar": spec.tar}.get(spec.source)
    return {} if table is None else {spec.source: table.model_dump()}


def checked(entries: object) -> list[Row]:
    """Rows of a manifest that somebody else wrote: sorted, plain, each below directories that are there. Raise
    ``unsafe.archive``."""
    if not isinstance(entries, list) or len(entries) > LIMITS.names:
        raise unsafe("its entries are not a list, or too many")
    found: dict[str, Row] = {}
    last, size = "", 0
    for data in entries:
        row = _row(data)
        parent = row.path.rpartition("/")[0]
        if row.path <= last or (parent and (parent not in found or found[parent].kind != "directory")):
            raise unsafe(f"{shown(row.path)} is not where it should be in the manifest")
        found[row.path], last = row, row.path
        size += row.size
    if size > LIMITS.bytes:
        raise unsafe(f"its files have more than {LIMITS.bytes:,} bytes")
    return list(found.values())


def _row(data: object) -> Row:
    try:
        row = layer.from_data(data)  # type: ignore[arg-type]
        good = row.data() == data and all(type(text) is str for text in (row.path, row.kind, row.sha256, row.target))
        good = good and type(row.size) is type(row.mode) is int
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        good = False
    if not good:
        raise unsafe(f"its manifest has an entry that is none: {shown(json.dumps(data)[:200])}")
    if row.path != outside.path(row.path) or not row.path:
        raise unsafe(f"the name {shown(row.path)} is not plain")
    fine = {
        "file": row.mode in _FILE_MODES and row.size >= 0 and tags.is_digest(row.sha256) and not row.target,
        "directory": row.mode in _DIRECTORY_MODES and not row.sha256 + row.target,
        "link": row.kind == "link" and outside.target(row.path, row.target) == row.target and not row.sha256,
    }  # fmt: skip
    if row.kind not in fine or not fine[row.kind] or row.opaque:
        raise unsafe(f"{shown(row.path)} is not as an image has it")
    return row


def _contents(records: Iterator[unpack.Record], wanted: dict[str, Row], kept: contents.Store) -> None:
    """Every content that the manifest names, once, in order, and nothing else."""
    names = iter(sorted(wanted))
    for record in records:
        name = next(names, None)
        if record.kind != "file" or name is None or record.name != f"contents/{name}":
            raise unsafe(f"it has {shown(record.name)} where {shown(name or 'its end')} should be")
        row = wanted[name]
        if record.size != row.size:
            raise unsafe(f"the content of {shown(row.path)} has {record.size:,} bytes, not {row.size:,}")
        sha256, _ = kept.add(record.data, bool(row.mode & 0o100), not row.mode & 0o004)
        if sha256 != row.sha256:
            raise unsafe(f"the content of {shown(row.path)} has another digest than the manifest says")
    if next(names, None) is not None:
        raise unsafe("contents that its manifest names are missing")
