"""``jailctl doctor``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import JailkitError
from .output import Settings, counted, emit, escape, paint, plain, say
from .progress import Progress
from .verb import verb

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ..doctor.check import Result

_EXAMPLES = """
jailctl doctor                  everything; exit 0: fine, 20: warnings, 21: failures
jailctl doctor sshd pam.order   only these
jailctl doctor --quiet || mail -s jails root < /dev/null
"""
_SHOWN = 20
"""Findings of one check that are printed for people."""

_COLORS = {"ok": "32", "warn": "33", "fail": "1;31"}


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from ..doctor.run import CHECKS

    ids = {check.id for check in CHECKS} | {check.id.partition(".")[0] for check in CHECKS}
    return [CompletionItem(word) for word in sorted(ids) if word.startswith(incomplete)]


@verb(
    "Check this host and every jail: kernel, sshd, PAM, owners and modes, accounts, what is left over. Changes "
    "nothing. One line a check; below a finding, the command that mends it.",
    _EXAMPLES,
)
@click.argument("checks", metavar="[CHECK]...", nargs=-1, shell_complete=_complete)
def command(settings: Settings, checks: tuple[str, ...]) -> int:
    from ..doctor import run
    from ..doctor.check import FAIL, OK, ORDER, WARN, Host
    from ..paths import Paths

    try:
        selected = run.select(checks)
    except KeyError as error:
        ids = sorted({check.id for check in run.CHECKS})
        raise JailkitError("usage.check", f"there is no check {error.args[0]!r}", f"one of: {', '.join(ids)}") from None
    results = []
    with Progress(settings, "checking") as progress:
        for result in run.run(Host(Paths(settings.root)), selected, lambda check: progress.step(check.title)):
            results.append(result)
            progress.clear()
            _print(settings, result)
    worst = max((result.state for result in results), key=ORDER.index, default=OK)
    if settings.json:
        emit({"worst": worst, "checks": plain(results)})
    else:
        count = {state: sum(result.state == state for result in results) for state in ORDER}
        say(settings, f"\n{count[OK]} ok, {counted(count[WARN], 'warning')}, {counted(count[FAIL], 'failure')}")
    return run.EXIT[worst]


def _print(settings: Settings, result: Result) -> None:
    """One line a check: state, id, what was seen; a check with several findings has one line for each below it."""
    label = paint(f"{result.state:<4}", _COLORS[result.state])
    if len(result.findings) == 1:
        say(settings, f"{label}  {result.id:<21}  {escape(result.findings[0].seen)}")
    else:
        say(settings, f"{label}  {result.id:<21}  {len(result.findings)} findings; should be: {result.title}")
    shown = result.findings[:_SHOWN]
    for finding, after in zip(shown, [*shown[1:], None], strict=True):
        if len(result.findings) > 1:
            say(settings, f"      {finding.state}: {escape(finding.seen)}")
        if finding.mend and finding.state != "ok" and (after is None or after.mend != finding.mend):
            say(settings, f"      mend: {escape(finding.mend)}")
    if len(result.findings) > _SHOWN:
        say(settings, f"      ... and {len(result.findings) - _SHOWN} more: jailctl doctor {result.id} --json")
