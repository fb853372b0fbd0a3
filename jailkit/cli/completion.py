"""``jailctl completion SHELL``"""

from __future__ import annotations

import click

from .output import Settings, emit
from .verb import verb

SHELLS = ("bash", "zsh", "fish")
_EXAMPLES = """
jailctl setup                                      installs them for everybody
source <(jailctl completion bash)                  only this shell
jailctl completion zsh > ~/.zfunc/_jailctl
jailctl completion fish > ~/.config/fish/completions/jailctl.fish
"""


@verb(
    "Print the script that makes a shell complete verbs, options, names of jails and templates.",
    _EXAMPLES,
    needs_root=False,
)
@click.argument("shell", type=click.Choice(SHELLS))
def command(settings: Settings, shell: str) -> None:
    text = script(shell)
    if settings.json:
        emit({"shell": shell, "script": text})
    else:
        click.echo(text, nl=False)


def script(shell: str) -> str:
    """The completion script of one shell, as click makes it."""
    from click.shell_completion import ShellComplete, get_completion_class

    from .main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    # ShellComplete.source and not kind.source: for bash the latter would run whichever `bash` PATH finds, to ask its
    # version
    return ShellComplete.source(kind(cli, {}, "jailctl", "_JAILCTL_COMPLETE")).strip("\n") + "\n"
