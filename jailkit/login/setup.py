"""``jailctl setup``: the steps in their order, what is planned, and the way back when one of them or the test login
fails.

There is no journal: every step finds out by itself whether it is done, so a run that was killed is finished by the
next, and ``--undo`` takes away what is there, however far it came.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import JailkitError
from ..paths import Paths
from . import gates, steps, usage_timer, user_manager, verify
from .steps import Provision, Step

Progress = Callable[[str], None]


@dataclass
class Outcome:
    """state of each step, by id: "already", "done", "planned", "undone", "absent" (nothing to undo). notes: what an
    administrator should know."""

    states: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return any(state in ("done", "undone") for state in self.states.values())


def all_steps(paths: Paths, provision: Provision, scripts: dict[str, str]) -> list[Step]:
    """In the order of applying: sshd is last, as it is the one that lets people in."""
    return [
        steps.Directories(paths, provision),
        steps.Group(provision),
        steps.Options(paths),
        *(steps.Image(paths, template, verify.TEMPLATES) for template in verify.TEMPLATES),
        steps.Completion(scripts),
        user_manager.UserManager(paths),
        usage_timer.UsageTimer(paths),
        gates.Pam(paths),
        gates.Sshd(paths),
    ]


def plan(all_of: Sequence[Step]) -> Outcome:
    """What :func:`apply` would do. Raise what a step's check raises: nothing has been changed then."""
    for step in all_of:
        step.check()
    return Outcome({step.id: "already" if step.done() else "planned" for step in all_of})


class Test(Protocol):
    """The login test, or that there is none. changed: whether this run changes anything."""

    def require(self, changed: bool) -> None:
        """Raise if it cannot be made; called before anything is changed."""

    def run(self, changed: bool) -> str | None:
        """Make it. Return a note, or raise."""


def apply(all_of: Sequence[Step], progress: Progress, test: Test) -> Outcome:
    """Apply what is not done, then test a login. If anything fails, what this run has applied is reverted, latest
    first."""
    with locked():
        outcome = plan(all_of)
        test.require("planned" in outcome.states.values())
        applied: list[Step] = []
        try:
            for step in all_of:
                if outcome.states[step.id] == "already":
                    continue
                progress(step.what)
                step.apply()
                applied.append(step)
                outcome.states[step.id] = "done"
                outcome.notes += filter(None, [getattr(step, "note", "")])
            note = test.run(outcome.changed)
        except BaseException as error:
            _revert(applied, progress, error)
            raise
        outcome.notes += filter(None, [note])
        return outcome


def _revert(applied: list[Step], progress: Progress, error: BaseException) -> None:
    """Take back this run's steps. One that cannot be taken back is said so in the error, and the rest still is."""
    left = []
    for step in reversed(applied):
        progress(f"taking back: {step.what}")
        try:
            step.revert()
        except (JailkitError, OSError) as reason:
            left.append(f"{step.id} ({reason})")
    if isinstance(error, JailkitError) and applied:
        undone = "all that this run did has been undone" if not left else f"could not be undone: {'; '.join(left)}"
        error.hint = f"{error.hint}; {undone}" if error.hint else undone


def undo(all_of: Sequence[Step], provision: Provision, progress: Progress) -> Outcome:
    """Take everything off the host. Raise ``busy.jails`` while there are jails: their users could not log in any more,
    and the door would be all that keeps them."""
    with locked():
        verify.clean(provision)
        names = provision.jails()
        if names:
            shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
            raise JailkitError("busy.jails", f"there are jails: {shown}", f"jailctl remove-user {names[0]}, then again")
        outcome = Outcome()
        for step in reversed(all_of):
            if not step.there():
                outcome.states[step.id] = "absent"
                continue
            progress(f"undoing: {step.what}")
            outcome.notes += filter(None, [step.remove()])
            outcome.states[step.id] = "undone"
        return outcome


@contextlib.contextmanager
def locked(path: str = "/run/jailctl-setup.lock") -> Iterator[None]:
    """One setup at a time (``/run`` itself: our directory may not be there yet). Raise ``busy.setup``."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise JailkitError("busy.setup", "another jailctl setup is at work", "wait until it has ended") from None
    finally:
        os.close(fd)
