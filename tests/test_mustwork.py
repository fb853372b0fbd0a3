"""The plugin that forbids the quiet skip, tried on suites of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import mustwork

SUITE = """
import pytest

def test_runs():
    pass

def test_skips():
    pytest.skip("no such thing here")

@pytest.mark.skip(reason="marked")
def test_marked():
    pass

@pytest.mark.xfail(reason="known")
def test_known_to_fail():
    assert False
"""


def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, must: str, allowed: str = "") -> dict[str, int]:
    allowed_file = pytester.path / "allowed.txt"
    allowed_file.write_text(allowed)
    monkeypatch.setattr(mustwork, "ALLOWED", allowed_file)
    monkeypatch.setenv("JAILKIT_MUST_WORK", must)
    pytester.makeconftest("")
    pytester.makepyfile(test_suite=SUITE)
    return pytester.runpytest_inprocess("-p", "tests.mustwork", "-p", "no:cacheprovider").parseoutcomes()


def test_without_it_a_skip_is_a_skip(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(pytester, monkeypatch, "0") == {"passed": 1, "skipped": 2, "xfailed": 1}


def test_with_it_a_skip_is_a_failure(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(pytester, monkeypatch, "1") == {"passed": 1, "failed": 2, "errors": 1}


def test_a_named_skip_is_allowed(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = (
        "test_suite.py::test_skips  # needs a thing that CI has not\ntest_suite.py::test_known*  # reported there\n"
    )
    assert run(pytester, monkeypatch, "1", allowed) == {"passed": 1, "skipped": 1, "xfailed": 1, "errors": 1}


def test_a_module_that_skips_itself(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile(test_other="import pytest\npytest.importorskip('no_such_module')\n")
    assert run(pytester, monkeypatch, "1").get("errors") == 1


def test_each_needs_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "allowed.txt"
    file.write_text("tests/test_x.py::test_y\n")
    with pytest.raises(pytest.UsageError, match="no reason given"):
        mustwork.read_allowed(file)


def test_the_projects_own_list_is_well_formed() -> None:
    assert isinstance(mustwork.read_allowed(mustwork.ALLOWED), dict)
