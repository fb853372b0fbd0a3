"""Verbs under one name: ``jailctl`` itself, and a group such as ``jailctl template``.

A group is a package of ``cli/``: its ``__init__`` holds ``command = Group("template", TABLE, ...)``, each verb a module
beside it. A verb's module is imported when the verb is called, so the help of a group costs click and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click

from ..errors import EXITS
from .verb import common_options

Table = dict[str, tuple[str, str]]
"""name of a verb: (module below jailkit.cli, one line of help)."""


class Group(click.Group):
    """A table of verbs, with two-level help (``jailctl template --help``) and completion."""

    def __init__(self, name: str, table: Table, help: str, examples: str) -> None:
        super().__init__(
            name,
            params=common_options(),
            help=help,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
            subcommand_metavar="VERB [ARGUMENTS]",
            no_args_is_help=False,
        )
        self.table = table
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        command = import_module(f"jailkit.cli.{self.table[cmd_name][0]}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.table and not ctx.resilient_parsing:
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.table, 1)
            raise click.UsageError(f"there is no verb {args[0]!r}{f'; is it {close[0]!r}?' if close else ''}", ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            if ctx.obj is not None and ctx.obj.json:
                raise click.UsageError(f"{self.name} needs a verb", ctx)
            click.echo(ctx.get_help(), err=True)
            ctx.exit(EXITS["usage"][0])
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for line in self.examples.strip("\n").split("\n"):
                formatter.write(f"  {line}\n")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        # click's own would import every verb only to find out whether it is hidden
        verbs = [CompletionItem(n, help=line) for n, (_, line) in self.table.items() if n.startswith(incomplete)]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)

    def verbs(self, before: str = "") -> Iterator[tuple[str, click.Command]]:
        """All verbs with their whole names ("list", "template list"), in the table's order. Imports each."""
        context = click.Context(self)
        for name in self.table:
            command = self.get_command(context, name)
            if isinstance(command, Group):
                yield from command.verbs(f"{before}{name} ")
            elif command is not None:
                yield f"{before}{name}", command
