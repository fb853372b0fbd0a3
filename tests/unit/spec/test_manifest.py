"""Manifests: every error with file, line and path; defaults, files of one name, and the same again after writing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import tomlkit
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jailkit import names
from jailkit.errors import InvalidFile, JailkitError
from jailkit.paths import Paths
from jailkit.provision import keys, manifests, plans
from jailkit.spec import document
from jailkit.spec import manifest as specs
from jailkit.spec.manifest import SUSPENDED, Manifest
from jailkit.spec.plan import PlanSpec
from jailkit.spec.schema import manifest_schema
from tests.unit.rooted import rooted

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@pytest.fixture
def paths() -> Iterator[Paths]:
    with rooted() as made:
        os.makedirs(made.plans)
        yield made


def read(*texts: str, kind: str = "yaml") -> dict[str, Manifest]:
    sources = [document.read(text.encode(), f"m{number}.{kind}", kind) for number, text in enumerate(texts)]
    return specs.read(sources, keys.normalise).manifests


def refused(*texts: str, kind: str = "yaml") -> list[str]:
    with pytest.raises(InvalidFile) as caught:
        read(*texts, kind=kind)
    assert caught.value.code == "invalid.manifest"
    return caught.value.message.splitlines()


BROKEN = """\
name: Customers
defaults: {plann: x}
plans:
  small: {limits: {memory: 512, cpus: 3}}
  Bad_: {}
jails:
  alice:
    limits:
      memory: lots
      hours: [always]
    keys:
      - ssh-ed25519 AAAA
    limit: {}
    expires: tomorrow
    plan:
  bob:
  root: {}
"""


def test_every_error_of_a_manifest_comes_at_once_with_line_and_path() -> None:
    found = refused(BROKEN)
    assert [line.split(": ")[:2] for line in found] == [
        ["m0.yaml:1", "name"], ["m0.yaml:2", "defaults.plann"], ["m0.yaml:4", "plans.small.limits.memory"],
        ["m0.yaml:4", "plans.small.limits.cpus"], ["m0.yaml:5", "plans.Bad_"],
        ["m0.yaml:9", "jails.alice.limits.memory"], ["m0.yaml:10", "jails.alice.limits.hours"],
        ["m0.yaml:12", "jails.alice.keys[0]"], ["m0.yaml:13", "jails.alice.limit"],
        ["m0.yaml:14", "jails.alice.expires"], ["m0.yaml:15", "jails.alice.plan"], ["m0.yaml:17", "jails.root"],
    ]  # fmt: skip
    assert "did you mean 'limits'?" in found[8]
    assert "must be a whole number with K, M or G" in found[5] and "or must be 'unlimited'" in found[5]


def test_in_toml_and_json_and_in_a_list_as_well() -> None:
    text = 'name = "x"\n[[jails]]\nuser = "bob"\nlimits.memory = 5\n[[jails]]\nuser = "al"\nplan = "X Y"\n'
    first, second = refused(text, kind="toml")
    assert first.startswith("m0.toml:4: jails[0].limits.memory: ") and second.startswith("m0.toml:7: jails[1].plan: ")
    only = refused('{"name": "x",\n "jails": {"a":\n {"linger": "x"}}}', kind="json")[0]
    assert only.startswith("m0.json:3: jails.a.linger: ")


def test_a_manifest_is_of_the_reader_s_own_making_only() -> None:
    assert "'manifest' is not a key here" in refused("name: a\njails: {bob: {manifest: b}}")[0]
    assert "another one than the name" in refused("name: a\njails: {bob: {user: eve}}")[0]
    assert "has 'bob' twice" in refused("name: a\njails: [{user: bob}, {user: bob}]")[0]
    assert "with 'user'" in refused("name: a\njails: [{plan: x}]")[0]
    assert "password alone" not in refused("name: a\njails: {bob: {password_hash: secret}}")[0]
    assert "keeps its password" in refused("name: a\njails: {bob: {existing: true, password_hash: $6$a$b}}")[0]


@pytest.mark.parametrize("sign", ["\\r\\nadmin: x", "\\nbob:x:0:0::/:/bin/sh", "\\x00", "\\x1b[0m", "\\u2028", "\\x85"])
def test_a125_no_line_break_gets_through_a_manifest(sign: str) -> None:
    for where in ("shell", "suspended", "home", "expires", "plan", "hostname", "keys", "password_hash"):
        value = f'["{KEY} a{sign}"]' if where == "keys" else f'"/x{sign}"'
        assert refused(f"name: m\njails: {{bob: {{{where}: {value}}}}}")
    assert refused(f'name: m\njails: {{"bob{sign}": {{}}}}')
    assert refused(f'name: m\nplans: {{a: {{description: "a{sign}"}}}}')


def test_defaults_are_for_jails_that_do_not_say_it_themselves() -> None:
    made = read(
        "name: m\ndefaults: {plan: small, linger: 5, limits: {memory: 1G, cpu: 2}}\n"
        "jails: {a: , b: {plan: big, linger: forever, limits: {memory: 2G}, suspended: true}, c: {suspended: No money}}"
    )["m"]
    assert made.spec("a").data() == {
        "user": "a", "plan": "small", "linger": 5, "limits": {"memory": "1G", "cpu": 2}, "manifest": "m"
    }  # fmt: skip
    assert made.spec("b").data() == {
        "user": "b", "plan": "big", "linger": "forever", "limits": {"memory": "2G", "cpu": 2}, "suspended": SUSPENDED,
        "manifest": "m",
    }  # fmt: skip
    assert made.spec("c").suspended == "No money"


def test_files_of_one_name_are_one_manifest_with_their_own_defaults() -> None:
    made = read("name: m\ndefaults: {linger: 1}\njails: {a: {}}", "name: m\njails: {b: {}}", "name: o\njails: {c: {}}")
    assert {name: one.spec(name).linger for one in [made["m"]] for name in one.jails} == {"a": 1, "b": None}
    assert set(made) == {"m", "o"}
    twice = refused("name: m\njails:\n  a: {}", "name: o\njails: {b: {}, a: {}}")
    assert twice == ["m1.yaml:2: jails.a: stands in m0.yaml:3 already"]


def test_keys_are_normalised_and_each_is_there_once() -> None:
    made = read(f"name: m\njails: {{a: {{keys: ['{KEY}   me ', '{KEY} again']}}}}")["m"]
    assert made.spec("a").keys == [f"{KEY} me"]


def test_a_plan_that_nobody_has_is_an_error_with_its_line(paths: Paths) -> None:
    file = Path(paths.root) / "m.yaml"
    file.write_text("name: m\nplans: {own: {}}\njails:\n  a: {plan: own}\n  b: {plan: here}\n  c: {plan: gone}\n")
    plans.write(paths, PlanSpec(name="here"))
    with pytest.raises(InvalidFile) as caught:
        manifests.read(paths, [str(file)])
    assert caught.value.message == f"{file}:6: jails.c.plan: there is no plan gone"


def test_a123_a_manifest_that_others_may_write_is_refused(paths: Paths) -> None:
    folder = Path(paths.root) / "m.d"
    folder.mkdir()
    file = folder / "a.yaml"
    file.write_text("name: m\n")
    assert [*manifests.read(paths, [str(folder)]).manifests] == ["m"]
    link = folder / "b.yaml"
    link.symlink_to(file)
    changes: list[tuple[Callable[[], None], Callable[[], None]]] = [
        (lambda: None, link.unlink), (lambda: file.chmod(0o664), lambda: file.chmod(0o644)),
        (lambda: os.chown(file, 1000, 0), lambda: os.chown(file, 0, 0)),
        (lambda: folder.chmod(0o775), lambda: folder.chmod(0o755)),
    ]  # fmt: skip
    for change, back in changes:
        change()
        with pytest.raises(JailkitError) as caught:
            manifests.read(paths, [str(folder)])
        assert caught.value.code == "unsafe.path" and str(folder) in caught.value.message
        back()
    assert [*manifests.read(paths, [str(folder)]).manifests] == ["m"]


def test_what_is_no_manifest_is_said(paths: Paths) -> None:
    folder = Path(paths.root) / "m.d"
    folder.mkdir()
    (folder / "notes.txt").write_text("x")
    for source, code in ((folder, "missing.manifest"), (folder / "notes.txt", "invalid.manifest"),
                         (folder / "gone.yaml", "missing.manifest")):  # fmt: skip
        with pytest.raises(JailkitError) as caught:
            manifests.read(paths, [str(source)])
        assert caught.value.code == code


def test_a_plan_s_file_keeps_its_comments(paths: Paths) -> None:
    plan = PlanSpec(name="small", description="Small", limits={"memory": "1G"})  # type: ignore[arg-type]
    plans.write(paths, plan)
    assert plans.get(paths, "small") == plan
    file = Path(paths.plan("small"))
    file.write_text(file.read_text().replace("[limits]", "# sold until May\n[limits]"))
    other = plans.changed(plan, ["limits.memory=2G", "limits.cpu=1.5", "description="])
    plans.write(paths, other)
    assert plans.get(paths, "small") == other and other.limits.cpu == 1.5 and other.description == ""
    assert "# sold until May" in file.read_text()
    assert [row.field for row in manifests.plan_differences(plan, other)] == [
        "description", "limits.memory", "limits.cpu"
    ]  # fmt: skip
    for pair in ("colour=red", "limits.colour=1", "limits.memory=lots", "shell=bash"):
        with pytest.raises(JailkitError):
            plans.changed(plan, [pair])


# -- names and manifests of all kinds


words = st.text(st.characters(codec="utf-8"), max_size=40) | st.text("abz09_.-:/\n~$ ", max_size=40)


@given(words)
@settings(max_examples=200, deadline=None)
def test_what_is_a_name_harms_no_file(text: str) -> None:
    for check in (names.user_name, names.plan_name, names.manifest_name, names.template_name, names.host_name):
        try:
            name = check(text)
        except JailkitError:
            continue
        assert name == text and text.isascii() and text.isprintable()
        assert not set(text) & set("/:\\ \n\t*?[]$~#'\"") and text not in (".", "..") and text[0] not in "-."
        assert os.path.normpath(f"/x/{text}") == f"/x/{text}"


user_names = st.from_regex(r"[a-z_][a-z0-9_-]{0,8}[a-z0-9_]", fullmatch=True).filter(lambda n: n not in names._RESERVED)
labels = st.sampled_from(["no", "on", "small", "e3", "a1", "null"])
limits = st.fixed_dictionaries(
    {},
    optional={
        "memory": st.sampled_from(["1K", "512M", "unlimited"]), "cpu": st.sampled_from([1, 0.5, 2.25]),
        "processes": st.integers(4, 1000),
        "sources": st.lists(st.sampled_from(["10.0.0.0/8", "2001:db8::1"]), max_size=2),
        "hours": st.lists(st.sampled_from(["mon-fri 08:00-18:00", "08:00-24:00"]), max_size=2),
    },
)  # fmt: skip
jails = st.fixed_dictionaries(
    {},
    optional={
        "plan": labels, "linger": st.integers(0, 100) | st.just("forever"), "limits": limits,
        "keys": st.just([f"{KEY} me"]), "expires": st.just("2027-01-31T00:00:00Z"), "network": st.just("none"),
        "suspended": st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(
            lambda t: t.isprintable() and bool(t.strip())
        ),
        "password_hash": st.just("$6$salt$hash/."), "hostname": st.sampled_from(["no", "web1"]),
    },
)  # fmt: skip
sold = st.fixed_dictionaries({}, optional={"limits": limits})
whole = st.fixed_dictionaries(
    {"name": labels},
    optional={"jails": st.dictionaries(user_names, jails, max_size=4), "plans": st.dictionaries(labels, sold)},
)
SCHEMA = manifest_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@given(whole)
@settings(max_examples=50, deadline=None)
def test_a_manifest_comes_back_from_each_format_as_it_was(data: dict[str, Any]) -> None:
    made = Manifest.model_validate(data)
    plain = made.data()
    VALIDATOR.validate(plain)
    assert Manifest.model_validate(plain) == made
    quoted = json.dumps(plain, ensure_ascii=False)  # every text in quotes, as a careful writer of YAML has it
    for text, kind in ((quoted, "yaml"), (json.dumps(plain), "json"), (tomlkit.dumps(plain), "toml")):
        assert read(text, kind=kind) == {made.name: made}
    assert all(made.spec(name).manifest == made.name for name in made.jails)


@given(whole)
@settings(max_examples=60, deadline=None)
def test_a_careless_writer_of_yaml_is_understood_or_refused(data: dict[str, Any]) -> None:
    made = Manifest.model_validate(data)
    try:
        assert read(yaml.safe_dump(made.data())) == {made.name: made}
    except InvalidFile as error:
        assert all("more than one way" in what for _, what in error.errors)


def test_the_schema_refuses_what_the_model_refuses() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    broken: list[dict[str, Any]] = [
        {"jails": {}}, {"name": "m", "jails": {"a": {"limit": {}}}}, {"name": "m", "jails": [{"plan": "x"}]},
        {"name": "m", "jails": {"a": {"manifest": "m"}}}, {"name": "m", "plans": {"a": {"shell": "x"}}},
    ]  # fmt: skip
    for data in broken:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data, SCHEMA)
    jsonschema.validate({"name": "m", "jails": {"a": None, "b": {"suspended": True}}}, SCHEMA)
