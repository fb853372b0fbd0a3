"""``jailctl template``: what its verbs print, write and refuse; and what the shipped templates look like to them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from jailkit.cli.main import main
from jailkit.image.template import load_template
from jailkit.paths import Paths
from jailkit.provision import new_template
from jailkit.spec import include, load
from jailkit.spec.schema import template_schema
from jailkit.spec.template import TemplateFile, TemplateSpec
from tests.unit.rooted import TREE, rooted

Capture = pytest.CaptureFixture[str]
SHIPPED = sorted(path.parent.relative_to(TREE / "templates") for path in TREE.glob("templates/**/template.toml"))


@pytest.fixture
def paths() -> Iterator[Paths]:
    with rooted() as made:
        yield made


def run(paths: Paths, *words: str, status: int = 0) -> None:
    assert main(["--root", paths.root, "template", *words]) == status


def value(paths: Paths, capsys: Capture, *words: str, status: int = 0) -> Any:
    capsys.readouterr()
    run(paths, *words, "--json", status=status)
    return json.loads(capsys.readouterr().out)


def test_list_has_own_and_shipped_and_what_is_broken(paths: Paths, capsys: Capture) -> None:
    run(paths, "new", "mine")
    run(paths, "new", "bad")
    Path(paths.templates, "bad/template.toml").write_text("name = 1\n")
    rows = {row["name"]: row for row in value(paths, capsys, "list")["templates"]}
    assert rows["mine"]["kept"] == "own" and rows["shell"]["kept"] == "shipped"
    assert rows["shell"]["source"] == "host" and "must be a text" in rows["bad"]["problem"]
    assert not {"parts", "locale", "skeleton"} & set(rows)
    run(paths, "list")
    shown = capsys.readouterr().out
    assert re.search(r"^shell +host +namespaces +shipped +A shell", shown, re.M)
    assert re.search(r"^bad .*not valid: jailctl template check bad$", shown, re.M)


def test_the_resolved_text_reads_back_as_the_same(paths: Paths, capsys: Capture) -> None:
    for name in include.names(paths):
        capsys.readouterr()
        run(paths, "show", name, "--resolved")
        text = capsys.readouterr().out
        spec = include.resolve(paths, name).spec
        assert load.parse(TemplateSpec, text, name, "invalid.template") == spec.model_copy(update={"includes": []})


def test_the_resolved_text_says_where_each_comes_from(paths: Paths, capsys: Capture) -> None:
    folder = Path(paths.templates, "mine")
    (folder / "files/etc").mkdir(parents=True)
    (folder / "files/etc/motd").write_text("hi\n")
    (folder / "template.toml").write_text(
        'name = "mine"\ndescription = "d"\nincludes = ["shell"]\nlinger = 5\n[image]\ndirectories = ["/data"]\n'
        '[image.links]\n"/etc/mtab" = "x y"\n[[run]]\ncommand = "a\\nb \\"c\\""\nenvironment = {A = "b"}\n'
    )
    run(paths, "show", "mine", "--resolved")
    text = capsys.readouterr().out
    for line in (
        "linger = 5  # mine",
        'network = "none"  # shell',
        '#level = "namespaces"',
        '    "/data",  # mine',
        '    "/dev",  # skeleton',
        '"/etc/mtab" = "x y"  # mine',
        '"/var/run" = "/run"  # skeleton',
        "[[run]]  # mine",
        "#   files/etc/motd  from mine",
        "#   files/etc/profile  from shells",
        "#   jail/etc/passwd.j2  from accounts",
    ):
        assert line in text.splitlines(), line
    spec = load.parse(TemplateSpec, text, "mine", "invalid.template")
    assert spec.run[0].command == 'a\nb "c"' and spec.run[0].environment == {"A": "b"}
    found = value(paths, capsys, "show", "mine")
    assert {"key": "linger", "from": "mine"} in found["origins"]
    assert {"path": "files/etc/motd", "from": "mine"} in found["files"]
    assert [piece["name"] for piece in found["made_of"]][-2:] == ["shell", "mine"]
    run(paths, "show", "mine")
    assert re.search(r"^includes +shell$", capsys.readouterr().out, re.M)


def test_check_says_all_at_once(paths: Paths, capsys: Capture) -> None:
    run(paths, "check", "shell")
    assert capsys.readouterr().out == "shell: valid\n"
    run(paths, "new", "one", "--from", "shell")
    run(paths, "new", "two", "--from", "shell")
    one, two = Path(paths.templates, "one"), Path(paths.templates, "two")
    for name, text in {
        "files/etc/a.j2": "{{ nothing }}",
        "jail/etc/b.j2": "{% if %}",
        "jail/etc/c.j2": "{% if jail.network == 'host' %}{{ nowhere }}{% endif %}",
        "files/var/run/d": "",
        "files/home": "",
        "files/usr/local/bin/e": "",
    }.items():
        (one / name).parent.mkdir(parents=True, exist_ok=True)
        (one / name).write_text(text)
    text = (one / "template.toml").read_text().replace('shell = "/bin/bash"', 'shell = "/bin/nosuchshell"')
    (one / "template.toml").write_text(
        text.replace('source = "host"', 'source = "host"\nbinds = ["/usr", "/opt/none"]')
    )
    (two / "template.toml").write_text((two / "template.toml").read_text() + "jial = 1\n")
    capsys.readouterr()
    rows = value(paths, capsys, "check", "one", "shell", "two", status=5)["templates"]
    assert [row["valid"] for row in rows] == [False, True, False]
    found = {error["where"]: error["what"] for error in rows[0]["errors"]}
    assert set(found) == {
        "files/etc/a.j2", "jail/etc/b.j2", "jail/etc/c.j2", "files/var/run/d", "files/home", "files/usr/local/bin/e",
        "shell", "binds[1]",
    }  # fmt: skip
    assert found["binds[1]"] == "this host has no directory /opt/none"
    assert [error["where"] for error in rows[2]["errors"]] == ["jial"]
    run(paths, "check", "one", "two", status=5)
    assert len(capsys.readouterr().out.splitlines()) == 9
    run(paths, "check", "nowhere", status=3)


def test_check_asks_the_source_what_the_host_lacks(paths: Paths, capsys: Capture) -> None:
    folder = Path(paths.templates, "lacking")
    folder.mkdir(parents=True)
    (folder / "template.toml").write_text(
        'name = "lacking"\ndescription = "d"\nsource = "copy"\n[copy]\nprograms = ["sh", "no-such-program"]\n'
        'packages = ["no-such-package"]\nglobs = ["/usr/share/no-such-glob*"]\noptional = []\n'
    )
    (row,) = value(paths, capsys, "check", "lacking", status=5)["templates"]
    said = " ".join(error["what"] for error in row["errors"])
    for name in ("no-such-program", "no-such-package", "no-such-glob"):
        assert name in said
    text = (folder / "template.toml").read_text()
    (folder / "template.toml").write_text(
        text.replace("optional = []", 'optional = ["no-such-program", "no-such-package", "/usr/share/no-such-glob*"]')
    )
    assert value(paths, capsys, "check", "lacking")["templates"][0]["valid"]


@pytest.mark.parametrize("name", [str(path) for path in SHIPPED if path.parts[0] != "parts"])
def test_every_shipped_template_is_valid(paths: Paths, name: str) -> None:
    spec = load_template(paths, name).spec
    assert (spec.smoke or spec.level == "chroot") and spec.name == name
    text = (TREE / "templates" / name / "template.toml").read_text()
    head = text.partition("\n\nname =")[0].splitlines()
    assert all(line.startswith("#") for line in head) and len(head) >= 3, "a header for an administrator"
    assert f"--template {name}" in text.partition("\n\nname =")[0]


@pytest.mark.parametrize("path", [str(path) for path in SHIPPED])
def test_the_schema_takes_every_shipped_file(path: str) -> None:
    schema = template_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    data = tomllib.loads((TREE / "templates" / path / "template.toml").read_text())
    assert list(validator.iter_errors(data)) == []
    assert list(validator.iter_errors({**data, "jial": 1})) != []
    assert list(validator.iter_errors({**data, "linger": "soon"})) != []
    assert list(validator.iter_errors({**data, "tmp": "1T"})) != []


def test_the_schema_describes_every_key(paths: Paths, capsys: Capture) -> None:
    schema = value(paths, capsys, "schema")
    assert schema == template_schema()
    models = [schema, *schema["$defs"].values()]
    fields = {key: field for model in models for key, field in model["properties"].items()}
    assert set(TemplateFile.model_json_schema(by_alias=True)["properties"]) <= set(fields)
    assert [key for key, field in fields.items() if not field.get("description")] == []
    assert "null" not in json.dumps(schema)


def test_the_reference_page_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "docs/template_reference.py"], cwd=TREE, capture_output=True, text=True, check=True
    )
    assert done.stdout == (TREE / "docs/template-reference.md").read_text(), done.args


def test_new_from_nothing_is_valid_and_its_comments_too(paths: Paths, capsys: Capture) -> None:
    assert value(paths, capsys, "new", "mine", "--dry-run")["files"] == ["template.toml"]
    assert not os.path.exists(paths.templates)
    os.umask(0o077)
    try:
        run(paths, "new", "mine")
    finally:
        os.umask(0o022)
    shown = capsys.readouterr().out
    assert f"next: edit {paths.templates}/mine/template.toml" in shown and "jailctl template check mine" in shown
    assert os.stat(f"{paths.templates}/mine").st_mode & 0o7777 == 0o755
    assert os.stat(f"{paths.templates}/mine/template.toml").st_mode & 0o7777 == 0o644
    run(paths, "check", "mine")
    text = new_template.skeleton("mine")["template.toml"][0].decode()
    every = "\n".join(line[1:] if re.match(r"#[a-z\[\"]", line) else line for line in text.splitlines())
    spec = load.parse(TemplateSpec, every.replace("includes =", "#"), "mine", "invalid.template")
    assert spec.root == "overlay" and spec.run and spec.image.links and spec.connectors


def test_new_from_another_is_a_copy_with_its_name(paths: Paths, capsys: Capture) -> None:
    base = Path(paths.templates, "base")
    (base / "files/etc").mkdir(parents=True)
    (base / "files/etc/run").write_text("#!/bin/sh\n")
    (base / "files/etc/run").chmod(0o755)
    (base / "jail/etc").mkdir(parents=True)
    (base / "jail/etc/x.j2").write_text("{{ user.name }}\n")
    (base / "template.toml").write_text(
        '# a comment\nname = "base"   # its name\ndescription = "d"\nincludes = ["locale"]\nsource = "tar"\n'
        '[tar]\nfile = "r.tar"\n'
    )
    assert value(paths, capsys, "new", "mine", "--from", "base")["files"] == [
        "files/etc/run", "jail/etc/x.j2", "template.toml",
    ]  # fmt: skip
    mine = Path(paths.templates, "mine")
    text = (mine / "template.toml").read_text()
    assert '# a comment\nname = "mine"   # its name\n' in text and f'file = "{base}/r.tar"' in text
    assert (mine / "files/etc/run").stat().st_mode & 0o777 == 0o755
    first, second = load_template(paths, "base"), load_template(paths, "mine")
    assert second.files == first.files and second.jail_files == first.jail_files
    assert second.spec.includes == ["locale"]


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["taken"], 4, "conflict.template"),
        (["skeleton"], 4, "conflict.template"),
        (["../x"], 5, "invalid.template-name"),
        (["parts"], 5, "invalid.template-name"),
        (["X"], 5, "invalid.template-name"),
        (["mine", "--from", "nowhere"], 3, "missing.template"),
        (["mine", "--from", "locale"], 5, "invalid.template"),
    ],
)
def test_new_is_refused(paths: Paths, capsys: Capture, words: list[str], status: int, code: str) -> None:
    run(paths, "new", "taken")
    before = sorted(os.walk(paths.etc))
    run(paths, "new", *words, "--json", status=status)
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["error"]["code"] == code
    assert sorted(os.walk(paths.etc)) == before


def test_a_killed_new_leaves_nothing_in_the_way(paths: Paths) -> None:
    os.makedirs(f"{paths.templates}/.mine.new/files")
    assert "mine" not in include.names(paths)
    run(paths, "new", "mine")
    assert os.listdir(paths.templates) == ["mine"]


def test_a123_new_in_a_folder_that_others_may_write_is_refused(paths: Paths) -> None:
    run(paths, "new", "first")
    os.chown(paths.templates, 54321, 0)
    run(paths, "new", "mine", status=8)
    assert os.listdir(paths.templates) == ["first"]
