"""docs/templates.md: what it shows as a template is one, and what it says of the shipped ones is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jailkit.image import render
from jailkit.image.template import load_template
from jailkit.spec import include
from tests.unit.rooted import TREE, rooted

PAGE = (TREE / "docs/templates.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split('"')[1])
def test_what_the_page_shows_is_a_template(text: str) -> None:
    name = text.split('"')[1]
    with rooted() as paths:
        Path(paths.templates, name).mkdir(parents=True)
        Path(paths.templates, name, "template.toml").write_text(text)
        assert load_template(paths, name).spec.name == name


def test_every_shipped_template_and_part_is_on_the_page() -> None:
    assert len(EXAMPLES) == 3
    with rooted() as paths:
        for name in [*include.names(paths), *include.names(paths, parts=True)]:
            assert f"`{name}`" in PAGE, name


def test_every_name_for_jinja_is_on_the_page() -> None:
    with rooted() as paths:
        spec = include.resolve(paths, "shell").spec
    user = dict.fromkeys(("name", "uid", "gid", "group", "gecos", "home", "shell"), "")
    found = render.jail_context(spec, {**user}, {"hostname": "", "network": ""}, [])
    assert set(found) == {"template", "os", "user", "jail", "dns"}
    for name, values in found.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}"))
        assert set(re.findall(r"`(?:\w*\.)(\w+)`", row)) == (set(values) if isinstance(values, dict) else set())
