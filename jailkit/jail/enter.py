"""An administrator's way in: the same gate as every login. The hook opens a session for a leader process, the door
enters."""

from __future__ import annotations

import os
import shlex
import signal

from ..errors import JailkitError
from ..kernel import caps, proc
from ..paths import Paths
from . import recipe as recipes

_SERVICE = "jailctl"
_KEEP = ("TERM", "LANG", "LANGUAGE", "COLORTERM", "NO_COLOR", "TZ")


def run(paths: Paths, name: str, argv: list[str] | None) -> int:
    """Run ``argv`` in the jail of ``name`` as its user, or an interactive login shell for None; return the exit
    status, 128 + n when signal n ended it. The jail is started if it is cold, and lingers as after any login.

    The leader, a child, is what the hook knows as the session and moves into the jail's control group; our own
    process stays where it is. Raise ``missing.jail``, ``jail.files-only``, ``jail.disabled``,
    ``login.refused`` (the reason is in the system log)."""
    recipe = recipes.load(paths, name)
    if recipe.level == "chroot":
        raise JailkitError(
            "jail.files-only", f"the jail of {name} has files only: nothing can run in it",
            f"sftp {name}@localhost, or look into {recipe.home}",
        )  # fmt: skip
    if recipe.disabled:  # the hook says so as well, but to the log
        raise JailkitError(
            "jail.disabled", f"the jail of {name} is closed: {recipe.disabled}", f"jailctl show {name}"
        )  # fmt: skip
    for program in (paths.hook, paths.door):
        if not os.access(program, os.X_OK):
            raise JailkitError("missing.program", f"{program} is missing", "run ./install again")
    refused, refused_in = os.pipe2(os.O_CLOEXEC)
    leader = os.fork()
    if leader == 0:
        os.close(refused)
        status = 1
        try:
            status = _lead(paths, recipe, argv, refused_in)
        finally:
            os._exit(status)
    os.close(refused_in)
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        reason = os.read(refused, 1)
        _, status = os.waitpid(leader, 0)
    finally:
        os.close(refused)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if reason:
        where = "journalctl -t jailctl-hook -t jailctl-start; or: grep jailctl /var/log/auth.log"
        raise JailkitError("login.refused", f"the hook refused a session for {name}", where)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _lead(paths: Paths, recipe: recipes.Recipe, argv: list[str] | None, refused: int) -> int:
    proc.fresh_session_keyring()  # the administrator's keys are not the session's
    environment = {"PAM_USER": recipe.user, "PAM_SERVICE": _SERVICE, "PAM_TTY": "", "PAM_RHOST": ""}
    if _spawn_hook(paths, {**environment, "PAM_TYPE": "open_session"}) != 0:
        os.write(refused, b"r")
        return 1
    door = os.fork()
    if door == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGQUIT, signal.SIG_DFL)
            caps.become(recipe.uid, recipe.gid)
            arguments = ["-door"] if argv is None else ["door", "-c", shlex.join(argv)]
            os.execve(paths.door, arguments, {key: os.environ[key] for key in _KEEP if key in os.environ})
        finally:
            os._exit(126)
    _, status = os.waitpid(door, 0)
    _spawn_hook(paths, {**environment, "PAM_TYPE": "close_session"})
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _spawn_hook(paths: Paths, environment: dict[str, str]) -> int:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
    child = os.posix_spawn(paths.hook, [paths.hook], environment, file_actions=actions)
    os.close(null)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
