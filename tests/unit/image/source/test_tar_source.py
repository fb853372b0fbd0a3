"""source = "tar": which file it is, that it is the right one, and that it is read whole."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from jailkit.errors import JailkitError
from jailkit.image import build, store
from jailkit.image.source import Build, tar
from jailkit.paths import Paths
from jailkit.spec.template import TemplateSpec
from tests.unit.image.foreign import tars
from tests.unit.image.memory import Memory

ROOT = tars.tar(tars.directory("etc"), tars.file("bin/sh", b"#!", 0o4755))


def spec(**table: Any) -> TemplateSpec:
    return TemplateSpec.model_validate({"name": "t", "description": "d", "source": "tar", "tar": table})


@pytest.fixture
def made(paths: Paths, tmp_path: Path) -> Build:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "template").mkdir()
    (tmp_path / "template/root.tar").write_bytes(ROOT)
    directory, place = str(tmp_path / "template"), str(tmp_path / "scratch")
    return Build(paths, spec(file="root.tar"), directory, Memory(), place, str(tmp_path))


def but(made: Build, **table: Any) -> Build:
    return Build(made.paths, spec(**table), made.directory, Memory(), made.scratch, made.host_root)


def test_beside_the_template_or_anywhere(made: Build, tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/root.tar.gz").write_bytes(gzip.compress(ROOT))
    first = list(tar.rows(made))
    assert [row.path for row in first] == ["/bin", "/bin/sh", "/etc"]
    assert list(tar.rows(but(made, file="/srv/root.tar.gz"))) == first


def test_only_the_file_that_the_template_means(made: Build) -> None:
    right = hashlib.sha256(ROOT).hexdigest()
    assert list(tar.rows(but(made, file="root.tar", sha256=right)))
    with pytest.raises(JailkitError) as caught:
        tar.rows(but(made, file="root.tar", sha256="0" * 64))
    assert caught.value.code == "conflict.archive" and right in caught.value.message


def test_inputs_change_with_the_file_and_with_nothing_else(made: Build, tmp_path: Path) -> None:
    def inputs(**table: Any) -> Any:
        return tar.inputs(spec(**table), made.directory, made.host_root)

    first, file = inputs(file="root.tar"), tmp_path / "template/root.tar"
    os.utime(file, (1, 1))
    assert inputs(file="root.tar") == first != inputs(file="root.tar", max_bytes=10)
    file.write_bytes(ROOT + bytes(512))
    assert inputs(file="root.tar") != first
    assert inputs(file="none", sha256="1" * 64) == {"sha256": "1" * 64, "limits": first["limits"]}
    with open(tmp_path / "template/large.tar", "wb") as large:
        large.truncate(tar._SMALL + 1)
    before = inputs(file="large.tar")
    os.utime(tmp_path / "template/large.tar", (1, 1))
    assert inputs(file="large.tar") != before


@pytest.mark.parametrize(
    ("name", "code"),
    [("none.tar", "missing.archive"), ("link.tar", "missing.archive"), ("way/root.tar", "missing.archive"),
     ("fifo.tar", "invalid.archive"), ("folder", "invalid.archive")],
)  # fmt: skip
def test_a_file_that_is_not_there_or_none(name: str, code: str, made: Build, tmp_path: Path) -> None:
    (tmp_path / "template/link.tar").symlink_to("root.tar")
    (tmp_path / "template/way").symlink_to(".")
    (tmp_path / "template/folder").mkdir()
    os.mkfifo(tmp_path / "template/fifo.tar")
    for look in (lambda: tar.inputs(spec(file=name), made.directory, "/"), lambda: tar.rows(but(made, file=name))):
        with pytest.raises(JailkitError) as caught:
            look()
        assert caught.value.code == code


def test_limits_of_the_template(made: Build) -> None:
    for table in ({"max_bytes": 1024}, {"max_names": 1}):
        with pytest.raises(JailkitError) as caught:
            tar.rows(but(made, file="root.tar", **table))
        assert caught.value.code == "unsafe.archive" and caught.value.message.startswith("root.tar: ")


def template(paths: Paths, data: bytes) -> None:
    os.makedirs(f"{paths.templates}/boxed", exist_ok=True)
    text = 'name = "boxed"\ndescription = "d"\nsource = "tar"\nshell = "/bin/sh"\n[tar]\nfile = "root.tar"\n'
    Path(f"{paths.templates}/boxed/template.toml").write_text(text)
    Path(f"{paths.templates}/boxed/root.tar").write_bytes(data)


def test_an_image_of_a_tar_the_same_on_two_hosts_and_from_the_cache(paths: Paths) -> None:
    from tests.unit.rooted import rooted

    template(paths, ROOT)
    first = build.build(paths, "boxed")
    assert (os.stat(f"{paths.image_root(first.digest)}/bin/sh").st_mode & 0o7777, first.changed) == (0o755, True)
    assert store.verify(paths, first.digest) == []
    again = build.build(paths, "boxed")
    assert again.digest == first.digest and [layer.cached for layer in again.layers if layer.name == "source"] == [True]
    log = Path(f"{paths.logs}/boxed.log").read_text()
    assert "from the cache" in log
    with rooted() as other:
        template(other, gzip.compress(ROOT))
        assert build.build(other, "boxed").digest == first.digest
        assert "dropped the set-id bits (4755) of '/bin/sh'" in Path(f"{other.logs}/boxed.log").read_text()


def test_a109_nothing_is_left_of_an_image_whose_tar_is_refused(paths: Paths) -> None:
    good = tars.file("usr/share/large", b"l" * 3_000_000)
    template(paths, tars.tar(good, tars.link("way", "/etc"), tars.file("way/passwd", b"root::0:0::/:/bin/sh")))
    with pytest.raises(JailkitError) as caught:
        build.build(paths, "boxed")
    assert caught.value.code == "unsafe.archive"
    assert store.digests(paths) == [] and [name for name in os.listdir(paths.images) if name != ".lock"] == []
    assert [path.name for path in Path(paths.contents).rglob("*") if path.name != ".lock"] == []
    assert "failed: root.tar: '/way/passwd' lies below '/way', which is a link" in Path(
        f"{paths.logs}/boxed.log"
    ).read_text()
