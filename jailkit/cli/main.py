"""``jailctl``: finds the verb, runs it, prints what went wrong and picks the exit number.

A verb's module is imported when the verb is called, so ``jailctl --help`` costs click and nothing else
(``tests/unit/cli/test_imports.py`` holds it).
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from ..errors import EXIT_INTERRUPT, EXITS, JailkitError
from .output import Settings, fail
from .verb import Verb, common_options

VERBS: dict[str, tuple[str, str]] = {
    # name: (module, one line of help)
    "setup": ("setup", "Prepare this host: group, directories, PAM, sshd, and a test login."),
    "add-user": ("add_user", "Give a user a jail, making the account if need be."),
    "remove-user": ("remove_user", "End a user's sessions and remove the jail."),
    "list": ("list", "All jails, one line each."),
    "show": ("show", "One jail: what it should be and what it is now."),
    "start": ("start", "Start a jail before anybody logs in."),
    "stop": ("stop", "End a jail's sessions and processes."),
    "exec": ("exec", "Run a command in a jail, as its user."),
    "enter": ("enter", "Open a shell in a jail, as its user."),
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


class Jailctl(click.Group):
    """The verbs, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = import_module(f"jailkit.cli.{VERBS[cmd_name][0]}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not ctx.resilient_parsing:
            from difflib import get_close_matches

            close = get_close_matches(args[0], VERBS, 1)
            raise click.UsageError(f"there is no verb {args[0]!r}{f'; is it {close[0]!r}?' if close else ''}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for line in _EXAMPLES.strip("\n").split("\n"):
                formatter.write(f"  {line}\n")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        # click's own would import every verb only to find out whether it is hidden
        verbs = [CompletionItem(n, help=line) for n, (_, line) in VERBS.items() if n.startswith(incomplete)]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)


cli = Jailctl(
    "jailctl",
    params=common_options(),
    help="Give each user of this host a jail of their own: every login of hers, however made, ends in it.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="VERB [ARGUMENTS]",
    no_args_is_help=False,
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
    except OSError as error:
        return fail(settings, _os_error(error))
    except Exception as error:  # noqa: BLE001 - the last resort: say where, so that it can be reported
        return fail(settings, _bug(error))


def _reader_gone() -> int:
    """`jailctl list | head`: the reader has what it wanted. Python flushes stdout at exit, so it is pointed
    elsewhere."""
    sys.stdout = open("/dev/null", "w", encoding="ascii")
    return 0


def _run(words: list[str], settings: Settings) -> int:
    if not words and _COMPLETE not in os.environ:
        print(cli.get_help(click.Context(cli, info_name="jailctl", **cli.context_settings)), file=sys.stderr)
        return EXITS["usage"][0]
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

    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
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
