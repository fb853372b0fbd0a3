"""The package as other programs import it: light, complete, typed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import jailkit
from jailkit import Host, JailInfo, JailkitError, JailSpec, Limits, Manifest, PlanSpec, Result
from tests.unit.rooted import TREE, rooted


def test_importing_the_package_imports_nothing_else() -> None:
    """A login imports it (jail/cold.py): each module would cost it milliseconds."""
    source = "import sys; have = set(sys.modules); import jailkit; print(sorted(set(sys.modules) - have))"
    done = subprocess.run([sys.executable, "-c", source], cwd=TREE, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("['__future__', 'jailkit']", "['jailkit']")


def test_every_public_name_is_there() -> None:
    assert {name for name in jailkit.__all__ if getattr(jailkit, name) is None} == set()
    assert set(jailkit.__all__) <= set(dir(jailkit)) and jailkit.Host is Host
    with pytest.raises(AttributeError):
        _ = jailkit.nothing  # type: ignore[attr-defined]


def test_users_of_mypy_get_types() -> None:
    """test_lint.py runs mypy over this: where something had no type, the comments would be errors."""

    def used(host: Host) -> str:
        jail = host.jails["alice"]
        _ = jail.colour  # type: ignore[attr-defined]
        host.add_user(5)  # type: ignore[arg-type]
        host.apply(Manifest(name="m"), policy="mnd")  # type: ignore[arg-type]
        plan = host.plan(JailSpec(user="alice", limits=Limits(memory="1G")))
        done: JailInfo | None = plan.apply(lambda number, total, what: None)
        results: list[Result] = host.set_plan(PlanSpec(name="small"))
        return done.state if done else str(results[0].error)

    assert callable(used)


def test_looking_at_a_host_makes_nothing() -> None:
    with rooted() as paths, Host.open(paths.root) as host:
        assert list(host.jails) == [] and len(host.jails) == 0 and "alice" not in host.jails
        assert dict(host.plans) == {} and host.jails.of_plan("small") == []
        with pytest.raises(KeyError):
            host.jails["alice"]
        with pytest.raises(KeyError):
            host.plans["no such"]
        with pytest.raises(JailkitError) as caught:
            host.spec("alice")
        assert caught.value.code == "missing.jail"
        assert not os.path.exists(paths.var) and not os.path.exists(paths.run)
