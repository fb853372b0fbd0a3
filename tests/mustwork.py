"""With ``JAILKIT_MUST_WORK=1`` (``.ci/run`` sets it) a skipped or expected-to-fail test is a failed one: a proof that
was not made proves nothing. What cannot work on CI's kind of machine stands in ``allowed-skips.txt``, with the reason.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ALLOWED = Path(__file__).with_name("allowed-skips.txt")


def must_work() -> bool:
    return os.environ.get("JAILKIT_MUST_WORK") == "1"


def read_allowed(path: Path) -> dict[str, str]:
    """Reason by test id (a pattern of fnmatch). Each line: ``ID  # reason``; one without a reason is an error."""
    allowed: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            pattern, _, reason = line.partition("  # ")
            if not reason.strip():
                raise pytest.UsageError(f"{path}:{number}: no reason given (write: test id, two spaces, '# ', reason)")
            allowed[pattern.strip()] = reason.strip()
    return allowed


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport, allowed: dict[str, str]) -> None:
    if report.outcome != "skipped" or any(fnmatch.fnmatchcase(report.nodeid, pattern) for pattern in allowed):
        return
    longrepr = report.longrepr
    reason = longrepr[2] if isinstance(longrepr, tuple) else str(getattr(report, "wasxfail", longrepr))
    report.outcome = "failed"
    report.longrepr = (
        f"{report.nodeid}: not run ({reason}), but JAILKIT_MUST_WORK=1 and {ALLOWED.name} does not name it"
    )
    if hasattr(report, "wasxfail"):
        del report.wasxfail


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    if must_work():
        fail_if_skipped(report, read_allowed(ALLOWED))
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report = yield
    if must_work():
        fail_if_skipped(report, read_allowed(ALLOWED))
    return report
