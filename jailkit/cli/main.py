"""``jailctl``: finds the verb, runs it, prints what went wrong and picks the exit number (the verbs: group.py)."""

from __future__ import annotations

import os
import sys

import click

from ..errors import EXIT_INTERRUPT, JailkitError
from .group import Group, Table
from .output import Settings, fail
from .verb import Verb

VERBS: Table = {
    "setup": ("setup", "Prepare this host: group, directories, PAM, sshd, and a test login."),
    "add-user": ("add_user", "Give a user a jail, making the account if need be."),
    "remove-user": ("remove_user", "End a user's sessions and remove the jail."),
    "apply": ("apply", "Make this host as manifests say: plans and jails added, changed, put right."),
    "plan": ("plan", "Plans that jails are sold as: list, show, set, remove."),
    "list": ("list", "All jails, one line each."),
    "show": ("show", "One jail: what it should be and what it is now."),
    "set": ("set", "Change what jails should be: settings, limits, keys."),
    "suspend": ("suspend", "End sessions and block every way in, with a message; keep all data."),
    "resume": ("resume", "Let the users of suspended jails in again."),
    "expire": ("expire", "Say when logins to jails end."),
    "rename": ("rename", "Give a jail's user another name."),
    "move-home": ("move_home", "Move a user's home elsewhere, to another disk as well."),
    "backup": ("backup", "Write jails into files that bring them back."),
    "restore": ("restore", "Bring a jail, or its home, back from a backup."),
    "clone": ("clone", "Make a new jail as another one is, with a copy of its files."),
    "archive": ("archive", "Write a backup of jails and remove them."),
    "start": ("start", "Start a jail before anybody logs in."),
    "stop": ("stop", "End a jail's sessions and processes."),
    "exec": ("exec", "Run a command in a jail, as its user."),
    "enter": ("enter", "Open a shell in a jail, as its user."),
    "usage": ("usage", "What jails use: disk, CPU, memory, sessions; now and over time."),
    "diff": ("diff", "What a jail has changed in its writable root; with -f, how this host differs from manifests."),
    "reset": ("reset", "Drop what a jail has changed in its writable root."),
    "commit": ("commit", "Make an image of a jail's root as it is."),
    "image": ("image", "Images that jails share: build, list, show, diff, tag, rollback, prune, verify."),
    "update": ("update", "Build images of templates anew and let their jails start from them."),
    "template": ("template", "Recipes of jails: list, show, check, new, schema."),
    "doctor": ("doctor", "Check this host and every jail, with the command that mends each finding."),
    "completion": ("completion", "Print the completion script for bash, zsh or fish."),
}

_COMPLETE = "_JAILCTL_COMPLETE"
"""What click's completion scripts set, beside COMP_WORDS."""

_EXAMPLES = """
sudo jailctl setup                              once on each host
sudo jailctl add-user alice --key alice.pub     then: ssh alice@this-host
sudo jailctl doctor                             when something does not work
jailctl VERB --help                             each verb's options and examples
"""


cli = Group(
    "jailctl",
    VERBS,
    help="Give each user of this host a jail of their own: every login of hers, however made, ends in it.",
    examples=_EXAMPLES,
)


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Return the exit number (errors.EXITS; docs/exit-codes.md)."""
    os.umask(0o022)  # no mode of what we make may depend on the shell we were started from (attacks A199)
    words = sys.argv[1:] if arguments is None else arguments
    settings = Settings(json="--json" in words[: words.index("--")] if "--" in words else "--json" in words)
    try:
        return _run(words, settings)
    except JailkitError as error:
        return fail(settings, error)
    except BrokenPipeError:
        return _reader_gone()
    except (KeyboardInterrupt, click.Abort):
        print("\njailctl: stopped; the next run finishes or undoes what was begun", file=sys.stderr)
        return EXIT_INTERRUPT
    except Exception as error:  # noqa: BLE001 - the last resort: say where, so that it can be reported
        return fail(settings, told(error))


def told(error: Exception) -> JailkitError:
    """Whatever was raised, as something that can be printed."""
    if isinstance(error, JailkitError):
        return error
    return _os_error(error) if isinstance(error, OSError) else _bug(error)


def _reader_gone() -> int:
    """`jailctl list | head`: the reader has what it wanted. Python flushes stdout at exit, so it is pointed
    elsewhere."""
    sys.stdout = open("/dev/null", "w", encoding="ascii")
    return 0


def _run(words: list[str], settings: Settings) -> int:
    if _COMPLETE in os.environ:
        cli.main(words, "jailctl", complete_var=_COMPLETE)  # answers the shell and exits
    try:
        # not cli.main(): that makes its own ends of a reader that went away, and of ^C
        with cli.make_context("jailctl", list(words), obj=settings) as context:
            result = cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        hint = f"{error.ctx.command_path if error.ctx else 'jailctl'} --help"
        if error.ctx and isinstance(error.ctx.command, Verb) and "--" not in words:
            hint = error.ctx.command.usage_hint or hint
        return fail(settings, JailkitError("usage.arguments", error.format_message().rstrip("."), hint))
    except click.ClickException as error:
        return fail(settings, JailkitError("usage.arguments", error.format_message().rstrip(".")))
    return result if isinstance(result, int) else 0


def _os_error(error: OSError) -> JailkitError:
    import errno

    what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JailkitError("io.full", what, "free some space (df -h; df -i), then run the same command again")
    if error.errno == errno.EROFS:
        return JailkitError("io.read-only", what, "the file system is mounted read-only: see findmnt")
    if error.errno in (errno.EACCES, errno.EPERM):
        return JailkitError("denied.access", what, "run it as root: sudo jailctl ...")
    return JailkitError("io.failed", what, "nothing is left half done: the next run finishes or undoes it")


def _bug(error: Exception) -> JailkitError:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno}, in {frames[-1].name}" if frames else ""
    return JailkitError(
        "internal.bug", f"{type(error).__name__}: {error}{where}", "this is a bug in jailkit: please report this line"
    )
