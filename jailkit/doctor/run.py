"""All checks, in the order of a login: kernel, files, sshd, PAM, accounts, what is left over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..errors import EXIT_DOCTOR_FAIL, EXIT_DOCTOR_WARN
from . import accounts, cgroups, connectors, disk, jobs, kernel, ownership, pam, sshd, state
from .check import FAIL, OK, WARN, Check, Host, Result, perform

CHECKS: list[Check] = [
    *kernel.CHECKS,
    *cgroups.CHECKS,
    *disk.CHECKS,
    *ownership.CHECKS,
    *sshd.CHECKS,
    *pam.CHECKS,
    *accounts.CHECKS,
    *state.CHECKS,
    *connectors.CHECKS,
    *jobs.CHECKS,
]

EXIT = {OK: 0, WARN: EXIT_DOCTOR_WARN, FAIL: EXIT_DOCTOR_FAIL}


def select(only: Iterable[str]) -> list[Check]:
    """Checks whose id is one of ``only``, or begins with one and a dot; all for none. Raise KeyError for an unknown
    one."""
    wanted = list(only)
    for word in wanted:
        if not any(_means(word, check.id) for check in CHECKS):
            raise KeyError(word)
    return [check for check in CHECKS if not wanted or any(_means(word, check.id) for word in wanted)]


def _means(word: str, check: str) -> bool:
    return check == word or check.startswith(f"{word}.")


def run(host: Host, checks: list[Check], before: Callable[[Check], None] = lambda check: None) -> Iterator[Result]:
    """Perform the checks one by one; ``before`` is told which comes."""
    for check in checks:
        before(check)
        yield perform(check, host)
