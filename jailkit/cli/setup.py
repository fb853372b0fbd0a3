"""``jailctl setup``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .output import Settings, emit, escape, paint, say
from .progress import Progress
from .verb import verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..login.setup import Outcome
    from ..login.steps import Provision, Step
    from ..paths import Paths

_EXAMPLES = """
jailctl setup --dry-run          what would be done and why, and the files that would be written
jailctl setup                    do it, and test a login; run it again after an upgrade
jailctl setup --no-login-test    where sshd is not running yet
jailctl setup --undo             take everything off the host again (remove the users first)
"""
_WORDS = {"already": "is there", "planned": "would", "done": "done", "undone": "undone", "absent": "not here"}


@verb(
    "Prepare this host: groups, directories, the images of templates shell and sftp-only, PAM profile, sshd fragment, "
    "completion. Each file is checked before it replaces anything. Then users made for the test log in over ssh and "
    "are removed; if that fails, all that this run did is undone. Nothing changes for users outside the group. "
    "A second run changes nothing.",
    _EXAMPLES,
)
@click.option("--dry-run", is_flag=True, help="Show the plan and the rendered files; change nothing.")
@click.option("--undo", is_flag=True, help="Take off the host what setup put there. Refused while there are jails.")
@click.option(
    "--login-test/--no-login-test",
    default=None,
    help="Test a login even if nothing was changed; or never.  [default: if something was changed]",
)
def command(settings: Settings, dry_run: bool, undo: bool, login_test: bool | None) -> None:
    from ..errors import JailkitError
    from ..login import setup
    from ..paths import Paths
    from .completion import SHELLS, script
    from .provisioning import for_setup

    if undo and dry_run:
        raise JailkitError("usage.arguments", "--undo and --dry-run exclude each other", "jailctl setup --help")
    paths = Paths(settings.root)
    provision = for_setup(paths)
    steps = setup.all_steps(paths, provision, {shell: script(shell) for shell in SHELLS})
    with Progress(settings, "looking at this host") as progress:
        test = _LoginTest(paths, provision, login_test, progress)
        if undo:
            outcome = setup.undo(steps, provision, progress.step)
        elif dry_run:
            outcome = setup.plan(steps)
        else:
            outcome = setup.apply(steps, progress.step, test)
    _report(settings, steps, outcome, test.where, dry_run)


class _LoginTest:
    """wanted: True always, False never, None if something was changed. where: it was made there, or ""."""

    def __init__(self, paths: Paths, provision: Provision, wanted: bool | None, progress: Progress) -> None:
        self._paths, self._provision, self._wanted, self._progress = paths, provision, wanted, progress
        self.where = ""

    def require(self, changed: bool) -> None:
        from ..login import verify

        if self._due(changed):
            verify.require_sshd()

    def run(self, changed: bool) -> str | None:
        from ..login import verify

        if self._due(changed):
            self.where = verify.login(self._paths, self._provision, self._progress.step)
        return None if self._wanted is not False else "no login was tested: jailctl setup --login-test does it"

    def _due(self, changed: bool) -> bool:
        return changed if self._wanted is None else self._wanted


def _report(settings: Settings, steps: Sequence[Step], outcome: Outcome, tested: str, dry_run: bool) -> None:
    if settings.json:
        emit(
            {
                "changed": outcome.changed,
                "dry_run": dry_run,
                "login_test": tested or None,
                "notes": outcome.notes,
                "steps": [{"id": s.id, "what": s.what, "why": s.why, "state": outcome.states[s.id]} for s in steps],
                "files": {path: text for s in steps for path, text in s.files().items()} if dry_run else {},
            }
        )
        return
    if not outcome.changed and not dry_run:
        undone = "absent" in outcome.states.values()
        say(settings, "No changes: nothing is set up here." if undone else "No changes: this host is set up.")
    for step in steps:
        state = outcome.states[step.id]
        if outcome.changed or dry_run:
            say(
                settings,
                f"{paint(f'{_WORDS[state]:<8}', '2' if state in ('already', 'absent') else '32')}  {escape(step.what)}",
            )
        if dry_run and state == "planned":
            say(settings, f"          because {escape(step.why)}")
    if tested:
        say(
            settings,
            f"{paint('passed  ', '32')}  logins over ssh ({tested}): a command and sftp in the jail, a tunnel refused; "
            "with files only: sftp in the chroot, a command and a tunnel refused",
        )
    for line in outcome.notes:
        say(settings, f"note      {escape(line)}")
    if dry_run:
        _show_files(settings, steps)
    elif outcome.changed and "undone" not in outcome.states.values():
        say(settings, "\nNext: jailctl add-user NAME --key FILE")


def _show_files(settings: Settings, steps: Sequence[Step]) -> None:
    for step in steps:
        for path, text in step.files().items():
            if step.id == "completion":
                say(settings, f"\n--- {path}: see jailctl completion")
            else:
                say(settings, f"\n--- {path}")
                say(settings, escape(text.rstrip("\n"), keep="\n\t"))
