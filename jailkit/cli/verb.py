"""What every verb shares: the options before and after it, the need of root, and how names complete.

Imports click only: ``jailctl --help`` loads this module and no verb.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..errors import JailkitError
from ..paths import Paths
from .output import Settings

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _set(key: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        # given before the verb and after it: what is nearer to the verb wins, what is not given changes nothing
        if value:
            setattr(context.ensure_object(Settings), key, value)

    return callback


def _version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from importlib.metadata import version

        from .output import emit

        number = version("jailkit")
        if context.ensure_object(Settings).json:
            emit({"version": number})
        else:
            click.echo(f"jailctl {number}")
        context.exit()


def _root(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        if not os.path.isabs(value):
            raise click.UsageError("--root needs an absolute directory name")
        context.ensure_object(Settings).root = value


def common_options() -> list[click.Parameter]:
    """``--root --quiet --json --version``; fresh objects, as click keeps state in them."""
    return [
        click.Option(
            ["--root"],
            metavar="DIR",
            callback=_root,
            expose_value=False,
            help="Keep jailkit's own files below DIR (accounts, sshd and PAM stay the host's).",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            callback=_set("quiet"),
            expose_value=False,
            help="Print nothing but errors.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            callback=_set("json"),
            expose_value=False,
            help="Print one JSON value (docs/json.md), errors as JSON on stderr.",
        ),
        click.Option(
            ["--version"], is_flag=True, callback=_version, expose_value=False, help="Print the version and exit."
        ),
    ]


class Verb(click.Command):
    """A command with the common options, its examples kept as they are written (below a ``\\b``)."""

    def __init__(
        self, *args: Any, examples: str = "", needs_root: bool = False, usage_hint: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.usage_hint = usage_hint
        self.params = [*self.params, *common_options()]
        self.examples = examples
        self.needs_root = needs_root

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.strip("\n").split("\n"):
                    formatter.write(f"  {line}\n")

    def invoke(self, ctx: click.Context) -> Any:
        if self.needs_root:
            require_root(ctx.command_path.partition(" ")[2])  # without "jailctl"
        return super().invoke(ctx)


def verb(
    help: str, examples: str, needs_root: bool = True, **attributes: Any
) -> Callable[[Callable[..., int | None]], Verb]:
    """Decorator that makes a :class:`Verb`. The function gets a :class:`Settings` first and returns its exit number."""

    def decorate(function: Callable[..., int | None]) -> Verb:
        made = click.command(cls=Verb, help=help, examples=examples, needs_root=needs_root, **attributes)
        result = made(click.pass_obj(function))
        assert isinstance(result, Verb)
        return result

    return decorate


def require_root(what: str) -> None:
    if os.geteuid() != 0:
        raise JailkitError("denied.root", f"{what} needs root", f"sudo jailctl {what} ...")


def complete_jail(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of jails that begin with what was typed; none where their directory cannot be read."""
    return _complete(_names(paths_of(context).specs, ".toml"), incomplete)


def complete_template(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    paths = paths_of(context)
    found = {f"{base}/{name}" for base in (f"{paths.opt}/templates", paths.templates) for name in _names(base)}
    whole = {os.path.basename(path) for path in found if os.path.isfile(f"{path}/template.toml")}
    return _complete(sorted(whole), incomplete)


def complete_plan(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _complete(_names(paths_of(context).plans, ".toml"), incomplete)


def paths_of(context: click.Context) -> Paths:
    return Paths(context.ensure_object(Settings).root)


def _names(directory: str, ending: str = "") -> list[str]:
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return sorted(name[: len(name) - len(ending)] for name in names if name.endswith(ending) and name[0] != ".")


def _complete(names: list[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    # a name that could mean something to the shell that inserts it is not offered
    return [
        CompletionItem(n)
        for n in names
        if n.startswith(incomplete) and n.replace("-", "").replace(".", "").isidentifier()
    ]
