"""Images as files: the same image, the same bytes; and what somebody may have done to a file on its way."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jailkit.errors import JailkitError
from jailkit.image import contents, layer, points, scratch, store
from jailkit.image.foreign import archive, outside
from jailkit.image.template import Template
from jailkit.image.world import canonical_digest
from jailkit.paths import Paths
from jailkit.spec.template import TemplateSpec
from tests.unit.image.foreign import tars
from tests.unit.rooted import rooted

SETTINGS: dict[str, Any] = {
    "name": "carried", "description": "d", "source": "tar", "tar": {"file": "root.tar"}, "shell": "/bin/sh",
}  # fmt: skip


def publish(paths: Paths, **changed: Any) -> str:
    """A small image with something of everything in it."""
    store.ready(paths)
    spec = TemplateSpec.model_validate(SETTINGS | changed)
    with contents.in_use(paths), scratch.directory(paths) as place:
        kept = contents.Store(paths, place)
        rows = [
            layer.file("/bin/sh", b"#!program", 0o755, kept), layer.file("/etc/secret", b"s", 0o600, kept),
            layer.file("/etc/same", b"#!program", 0o644, kept), layer.file("/large", b"l" * 3_000_000, 0o644, kept),
            layer.link("/usr", "bin/../etc"), layer.directory("/closed", 0o700), layer.file("/empty", b"", 0o644, kept),
        ]  # fmt: skip
        template = Template(spec, "", {}, {"hostname": (b"{{ name }}\n", False)})
        merged = layer.merge([rows])
        merged = layer.merge([points.needed(spec, template.jail_names, merged, kept), merged])
        return store.publish(paths, template, merged, kept, place)[0]


@pytest.fixture
def exported(paths: Paths, tmp_path: Path) -> Path:
    file = tmp_path / "image.tar"
    archive.export(paths, publish(paths), str(file))
    return file


def test_the_same_image_is_the_same_file_on_every_host(paths: Paths, exported: Path, tmp_path: Path) -> None:
    assert exported.stat().st_mode & 0o777 == 0o600
    with rooted() as other:
        digest, changed = archive.import_(other, str(exported))
        assert changed and store.digests(other) == [digest] == store.digests(paths)
        assert store.verify(other, digest) == [] and store.rows(other, digest) == store.rows(paths, digest)
        assert store.template(other, digest).jail_files == {"hostname": (b"{{ name }}\n", False)}
        archive.export(other, digest, str(tmp_path / "again.tar"))
        assert archive.import_(other, str(exported)) == (digest, False)
    assert (tmp_path / "again.tar").read_bytes() == exported.read_bytes()


def test_an_archive_that_was_packed_is_taken_too(exported: Path, tmp_path: Path) -> None:
    import lzma

    (tmp_path / "image.tar.xz").write_bytes(lzma.compress(exported.read_bytes()))
    with rooted() as other:
        assert archive.import_(other, str(tmp_path / "image.tar.xz"))[1]


def test_an_export_replaces_nothing_and_leaves_no_half(paths: Paths, exported: Path, tmp_path: Path) -> None:
    digest = store.digests(paths)[0]
    before = exported.read_bytes()
    with pytest.raises(JailkitError) as caught:
        archive.export(paths, digest, str(exported))
    assert caught.value.code == "conflict.archive" and exported.read_bytes() == before
    with pytest.raises(JailkitError) as caught:
        archive.export(paths, digest, str(tmp_path / "no/such/directory"))
    assert caught.value.code == "io.archive"
    damaged = Path(f"{paths.image_root(digest)}/large")
    damaged.write_bytes(b"x" * 3_000_000)
    with pytest.raises(JailkitError) as caught:
        archive.export(paths, digest, str(tmp_path / "damaged.tar"))
    assert caught.value.code == "invalid.image" and sorted(tmp_path.iterdir()) == [exported]


def test_whose_directory_it_is_cannot_put_something_else_in_its_place(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """She owns the directory: she can replace what root writes before it gets its name, or move it all away."""
    digest, real = publish(paths), os.link
    hers = tmp_path / "hers"
    hers.mkdir()

    def swapped(source: str, target: str, **where: Any) -> None:
        os.unlink(hers / source)
        (hers / source).write_bytes(b"planted")
        real(source, target, **where)

    with monkeypatch.context() as patch, pytest.raises(JailkitError) as caught:
        patch.setattr(os, "link", swapped)
        archive.export(paths, digest, str(hers / "image.tar"))
    assert caught.value.code == "unsafe.archive"

    def moved(source: str, target: str, **where: Any) -> None:
        hers.rename(tmp_path / "elsewhere")
        (tmp_path / "etc").mkdir()
        hers.symlink_to("etc")
        real(source, target, **where)

    (hers / "image.tar").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", moved)
        archive.export(paths, digest, str(hers / "image.tar"))
    assert os.listdir(tmp_path / "etc") == [] and os.listdir(tmp_path / "elsewhere") == ["image.tar"]


# -- what may have been done to it


Parts = list[tuple[str, bytes]]


def changed(file: Path, change: Callable[[Parts], Parts | None]) -> None:
    with tarfile.open(file) as found:
        parts: Parts = []
        for header in found:
            data = found.extractfile(header)
            assert data is not None
            parts.append((header.name, data.read()))
    parts = change(parts) or parts
    file.write_bytes(tars.tar(*[tars.file(name, data) for name, data in parts]))


def manifest(change: Callable[[dict[str, Any]], object], sign: bool = True) -> Callable[[Parts], Parts]:
    """Change the manifest, with its digest made right again or not."""

    def apply(parts: Parts) -> Parts:
        body = json.loads(parts[0][1])
        digest = body.pop("digest")
        change(body)
        text = json.dumps({**body, "digest": canonical_digest(body) if sign else digest})
        return [("manifest.json", text.encode()), *parts[1:]]

    return apply


def entry(path: str, **fields: Any) -> Callable[[dict[str, Any]], object]:
    def change(body: dict[str, Any]) -> None:
        next(row for row in body["entries"] if row["path"] == path).update(fields)

    return change


def added(**row: Any) -> Callable[[dict[str, Any]], object]:
    return lambda body: body.update(entries=sorted([*body["entries"], row], key=lambda row: str(row["path"])))


def setting(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda body: body["template"].update(fields)


EMPTY = hashlib.sha256(b"").hexdigest()
HARM: dict[str, tuple[Callable[[Parts], Parts | None], str]] = {
    "another-digest": (manifest(setting(description="e"), sign=False), "another digest than it says"),
    "content-changed": (lambda parts: [(n, d.replace(b"#!pro", b"#!evi")) for n, d in parts], "digest than the"),
    "content-longer": (lambda parts: [*parts[:-1], (parts[-1][0], parts[-1][1] + b"x")], "bytes, not"),
    "content-missing": (lambda parts: parts[:-1], "are missing"),
    "content-more": (lambda parts: [*parts, ("contents/x", b"")], "where 'its end' should be"),
    "content-twice": (lambda parts: [*parts[:2], parts[1], *parts[2:]], "should be"),
    "contents-first": (lambda parts: [*parts[1:], parts[0]], "does not begin with the manifest"),
    "content-outside": (lambda parts: [parts[0], ("../../etc/passwd", parts[1][1]), *parts[2:]], "should be"),
    "empty": (lambda parts: [("x", b"")], "does not begin with the manifest"),
    "not-json": (lambda parts: [("manifest.json", b"{" * 5000), *parts[1:]], "its manifest is not one"),
    "deep-json": (lambda parts: [("manifest.json", b"[" * 500_000), *parts[1:]], "its manifest is not one"),
    "a-list": (lambda parts: [("manifest.json", b"[]"), *parts[1:]], "its manifest is not one"),
    "digest-is-a-path": (lambda parts: [("manifest.json", json.dumps(
        {**json.loads(parts[0][1]), "digest": "../../x"}).encode()), *parts[1:]], "its manifest is not one"),
    "more-fields": (manifest(lambda body: body.update(more=1)), "its manifest is not one"),
    "later-format": (manifest(lambda body: body.update(format=99)), "its format is '99'"),
    "climbing": (manifest(added(path="/../../etc/cron.d/x", kind="link", target="y")), "climbs out"),
    "relative": (manifest(added(path="etc/x", kind="link", target="y")), "is not plain"),
    "doubled-slash": (manifest(added(path="/etc//x", kind="link", target="y")), "is not plain"),
    "the-root": (manifest(added(path="/", kind="directory", mode="0755")), "is not plain"),
    "control": (manifest(added(path="/etc/\x1b[2J", kind="link", target="y")), "cannot be printed"),
    "below-a-link": (manifest(added(path="/usr/x", kind="file", mode="0644", sha256=EMPTY, size=0)), "not where it"),
    "below-nothing": (manifest(added(path="/no/x", kind="directory", mode="0755")), "not where it should"),
    "twice": (manifest(added(path="/etc", kind="directory", mode="0755")), "not where it should"),
    "not-sorted": (manifest(lambda body: body["entries"].reverse()), "not where it should"),
    "link-out": (manifest(entry("/usr", target="../../etc")), "climbs out"),
    "link-to-nothing": (manifest(entry("/usr", target="")), "an entry that is none"),
    "link-with-mode": (manifest(entry("/usr", mode="0777")), "an entry that is none"),
    "set-id": (manifest(entry("/bin/sh", mode="4755")), "not as an image has it"),
    "writable": (manifest(entry("/bin/sh", mode="0777")), "not as an image has it"),
    "writable-directory": (manifest(entry("/closed", mode="0777")), "not as an image has it"),
    "device": (manifest(entry("/bin/sh", kind="device")), "an entry that is none"),
    "gone": (manifest(lambda body: body["entries"].append({"path": "/zz", "kind": "gone"})), "not as an image has it"),
    "opaque": (manifest(entry("/closed", opaque=True)), "not as an image has it"),
    "file-with-target": (manifest(entry("/bin/sh", target="/etc/shadow")), "not as an image has it"),
    "size-is-true": (manifest(entry("/etc/secret", size=True)), "an entry that is none"),
    "size-negative": (manifest(entry("/etc/secret", size=-1)), "not as an image has it"),
    "size-huge": (manifest(entry("/etc/secret", size=1 << 60)), "its files have more than"),
    "sha-is-a-path": (manifest(entry("/etc/secret", sha256="../../../etc/shadow")), "not as an image has it"),
    "unknown-field": (manifest(entry("/etc/secret", owner=0)), "an entry that is none"),
    "entry-is-a-text": (manifest(lambda body: body["entries"].append("x")), "an entry that is none"),
    "mount-point-is-a-link": (manifest(lambda body: body.update(entries=[
        row if row["path"] != "/run" else {"path": "/run", "kind": "link", "target": "/etc"}
        for row in body["entries"]])), "must be a directory"),
    "setting-unknown": (manifest(setting(more=1)), "more"),
    "setting-wrong": (manifest(setting(shell="sh -c x")), "shell"),
    "setting-as-default": (manifest(setting(network="none")), "as this jailkit would"),
    "shows-the-hosts-etc": (manifest(setting(binds=["/etc/ssh"])), "binds"),
    "takes-the-hosts-network": (manifest(setting(network="host")), "network"),
    "lets-cron-in": (manifest(setting(services=["cron"])), "services"),
    "jail-file-climbs": (manifest(lambda body: body["jail_files"].update({"../x": ""})), "cannot be one of /etc"),
    "renders-what-nobody-knows": (
        manifest(lambda body: body.update(jail_files={"hostname.j2": "{{ 1 }}"})),
        "be rendered",
    ),
    "jail-file-is-a-number": (manifest(lambda body: body["jail_files"].update(x=1)), "not texts"),
}  # fmt: skip


@pytest.mark.parametrize("name", HARM)
def test_a109_an_archive_that_was_changed_is_refused_whole(name: str, paths: Paths, exported: Path) -> None:
    change, sentence = HARM[name]
    changed(exported, change)
    with rooted() as other:
        store.ready(other)
        with pytest.raises(JailkitError) as caught:
            archive.import_(other, str(exported))
        assert sentence in caught.value.message, caught.value.message
        assert caught.value.code in ("unsafe.archive", "invalid.archive", "invalid.image")
        assert not [name for name in os.listdir(other.images) if name != ".lock"]
        assert [str(path) for path in Path(other.contents).rglob("*") if path.name != ".lock"] == []


def test_the_changes_are_made_in_the_right_format(exported: Path) -> None:
    changed(exported, manifest(lambda body: None))
    with rooted() as other:
        assert archive.import_(other, str(exported))[1]


def test_what_a_template_of_this_host_allows_an_import_may_have(paths: Paths, tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    archive.export(paths, publish(paths, network="host"), str(file))
    with rooted() as other:
        with pytest.raises(JailkitError, match="network"):
            archive.import_(other, str(file))
        os.makedirs(f"{other.templates}/carried")
        text = 'name = "carried"\ndescription = "d"\nsource = "tar"\nnetwork = "host"\n[tar]\nfile = "x"\n'
        Path(f"{other.templates}/carried/template.toml").write_text(text)
        assert archive.import_(other, str(file))[1]


def test_what_the_host_renders_anyway_an_import_may_have(paths: Paths, exported: Path) -> None:
    (known,) = Path(paths.opt, "templates").rglob("jail/etc/hostname.j2")
    changed(exported, manifest(lambda body: body.update(jail_files={"hostname.j2": known.read_text()})))
    assert archive.import_(paths, str(exported))[1]


def test_no_file_and_no_plain_file(paths: Paths, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, code in (("none", "missing.archive"), ("fifo", "invalid.archive"), (".", "invalid.archive")):
        with pytest.raises(JailkitError) as caught:
            archive.import_(paths, str(tmp_path / name))
        assert caught.value.code == code


def test_names_from_outside_have_one_form() -> None:
    for name in ("a", "/a", "./a", "a/", "//a", "./././a//"):
        assert outside.path(name) == "/a"
    assert [outside.path(name) for name in ("", ".", "/", "./")] == [""] * 4
    assert io.StringIO(outside.shown("\x1b\u202e\udcff" * 100)).read().isprintable()
