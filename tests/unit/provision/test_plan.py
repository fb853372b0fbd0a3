"""Facts in, operations out, no host. Each case is a file in ``plans/``:

do          "add", "change" or "remove"; for change also "force", for remove "keep_home", "archive"
spec        data of the spec that is asked for (add, change)
template    the shipped template that it names (default shell)
facts       data of the facts; what is left out has its default (jailkit/provision/facts.py)
operations  what the plan must be: "kind", or ["kind", {fields that must have these values}]
warnings    how many (default 0)
error       instead of operations: the code of the refusal, and "says": a part of its text
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from jailkit.errors import JailkitError
from jailkit.provision import facts as facts_module
from jailkit.provision.operations import from_data
from jailkit.provision.plan import Plan, plan_add, plan_change, plan_remove
from jailkit.spec import include
from jailkit.spec.config import Config
from jailkit.spec.jail import JailSpec
from jailkit.spec.template import TemplateSpec
from tests.unit.rooted import TREE, rooted

CASES = sorted(Path(__file__).with_name("plans").glob("*.json"))
HASH = "$y$hash"


@functools.cache
def shipped(name: str) -> TemplateSpec:
    with rooted() as paths:
        return include.resolve(paths, name).spec


def planned(case: dict[str, Any]) -> Plan:
    facts = facts_module.from_data(case["facts"])
    if case["do"] == "remove":
        return plan_remove(facts.name, facts, case.get("keep_home", False), case.get("archive"))
    template = shipped(case.get("template", "shell"))
    config = Config.model_validate(case.get("config", {}))
    spec = JailSpec.model_validate(case["spec"])
    if case["do"] == "change":
        return plan_change(spec, template, config, facts, case.get("hashed"), case.get("force", False))
    return plan_add(spec, template, config, facts, case.get("hashed"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_plan(path: Path) -> None:
    case = json.loads(path.read_text())
    if "error" in case:
        with pytest.raises(JailkitError) as caught:
            planned(case)
        assert caught.value.code == case["error"]
        assert case["says"] in caught.value.message
        assert caught.value.hint
        return
    plan = planned(case)
    wanted = [(item, {}) if isinstance(item, str) else item for item in case["operations"]]
    assert [operation.kind for operation in plan.operations] == [kind for kind, _ in wanted]
    for operation, (_, fields) in zip(plan.operations, wanted, strict=True):
        data = json.loads(json.dumps(operation.data()))
        assert {key: data.get(key) for key in fields} == fields
        assert from_data(data) == operation
        assert operation.why and operation.describe()
    assert len(plan.warnings) == case.get("warnings", 0)
    assert HASH not in json.dumps(plan.data())


def test_facts_survive_json() -> None:
    for path in CASES:
        facts = facts_module.from_data(json.loads(path.read_text())["facts"])
        assert facts_module.from_data(json.loads(json.dumps(facts.data()))) == facts


def test_there_is_a_case_for_every_refusal() -> None:
    import re

    source = "".join((TREE / f"jailkit/provision/{name}.py").read_text() for name in ("refuse", "plan", "change"))

    codes = set(re.findall(r'JailkitError\(\s*"([a-z.-]+)"', source))
    seen = {json.loads(path.read_text()).get("error") for path in CASES}
    assert codes - seen == set()
