"""``jailctl add-user NAME``"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ..errors import JailkitError
from .output import Settings, emit, escape, note, say
from .verb import complete_plan, complete_template, verb

if TYPE_CHECKING:
    from ..paths import Paths
    from ..provision.host import Plan
    from ..provision.info import JailInfo
    from ..spec.jail import JailSpec

_EXAMPLES = """
jailctl add-user alice --key alice.pub
ssh-add -L | jailctl add-user alice --key -          keys from standard input
jailctl add-user alice --key a.pub --key b.pub --set network=host --set linger=600
jailctl add-user alice --key a.pub --plan small --set limits.memory=512M
jailctl add-user bob --existing --key bob.pub        confine an account that is there
jailctl add-user alice                               after an edit of /etc/jailctl/jails.d/alice.toml
"""


@verb(
    "Give NAME a jail. The account is made, unless --existing takes one that is there (local or LDAP), whose "
    "shell is remembered. The same call again changes nothing; for a jail that is there, what is left out is what its "
    "spec file says.",
    _EXAMPLES,
)
@click.argument("name")
@click.option(
    "--template",
    metavar="NAME",
    shell_complete=complete_template,
    help="What the jail is made from.  [default: the plan's, else shell]",
)
@click.option(
    "--plan", "sold", metavar="NAME", shell_complete=complete_plan, help="The plan whose limits and settings it has."
)
@click.option(
    "--key", "keys", metavar="FILE", multiple=True, help="Public keys that may log in; - is standard input. Repeatable."
)
@click.option("--password-stdin", is_flag=True, help="Read a password, one line, from standard input.")
@click.option("--existing", is_flag=True, help="Take an account that is there; remove-user gives it back.")
@click.option(
    "--set",
    "pairs",
    metavar="KEY=VALUE",
    multiple=True,
    help="plan, hostname, shell, home, network, linger or limits.X. Repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Show the steps and why; change nothing.")
def command(
    settings: Settings,
    name: str,
    template: str | None,
    sold: str | None,
    keys: tuple[str, ...],
    password_stdin: bool,
    existing: bool,
    pairs: tuple[str, ...],
    dry_run: bool,
) -> None:
    from ..login import gates, verify
    from ..names import user_name
    from ..paths import Paths
    from ..provision.host import Host
    from . import provisioning

    name = user_name(name)
    verify.require_other_name(name)
    paths = Paths(settings.root)
    lines, password = _read(keys, password_stdin)
    host = Host(paths)
    try:
        spec = _spec(
            paths, host.config.template, name, pairs, template=template, plan=sold, existing=existing or None,
            keys=lines or None,
        )  # fmt: skip
        plan = host.plan_add(spec, (), password)
        if plan.kind == "add" and not dry_run:
            gates.require(gates.not_set_up(paths), name, password is not None, spec.existing)
        jail = None if dry_run else provisioning.apply(settings, host, plan)
        if jail is None and not plan.operations:
            jail = host.show(name)
    except JailkitError as error:
        raise _with_way_out(error, paths, name) from None
    finally:
        host.close()
    _report(settings, paths, plan, jail, password is not None, dry_run)


def _read(files: tuple[str, ...], password_stdin: bool) -> tuple[list[str], str | None]:
    """Keys of all files, and the password."""
    if files.count("-") + password_stdin > 1:
        raise JailkitError(
            "usage.stdin",
            "standard input can be read once: for keys or for the password",
            "put the keys into a file: --key FILE",
        )
    lines = read_keys(files)
    if not password_stdin:
        return lines, None
    if sys.stdin.isatty():
        from getpass import getpass  # does not show what is typed

        return lines, getpass("Password: ")
    text = sys.stdin.buffer.read(1024).decode(errors="surrogateescape")
    return lines, text.removesuffix("\n").removesuffix("\r")


def read_keys(files: tuple[str, ...]) -> list[str]:
    """Keys of all files; ``-`` is standard input. Raise ``invalid.key*``, ``missing.key-file``, ``io.key-file``."""
    from ..provision import keys

    lines: list[str] = []
    for file in files:
        if file == "-":
            lines += keys.parse(sys.stdin.buffer.read(1 << 18).decode(errors="replace"), "standard input")
        else:
            lines += keys.read_file(file)
    return lines


def _spec(paths: Paths, default_template: str, name: str, pairs: tuple[str, ...], **given: object) -> JailSpec:
    """What is asked for: the spec file, where there is one, and over it what the command line says."""
    from ..spec import load
    from ..spec.settings import changed, jail_spec, settings

    asked = {key: value for key, value in given.items() if value is not None}
    try:
        have, _ = load.jail_spec(paths, name)
    except JailkitError as error:
        if error.code != "missing.spec":
            raise
        # a plan may name another template some day, and its jails follow; the host's default is for new jails
        if not {"template", "plan"} & (set(asked) | set(settings(pairs))):
            asked["template"] = default_template
        return jail_spec(name, pairs, **asked)
    jail_spec(name, pairs, **asked)  # all that is wrong with the command line, before it is laid over the file
    return changed(have.model_copy(update=asked), settings(pairs))


def _with_way_out(error: JailkitError, paths: Paths, name: str) -> JailkitError:
    if error.code == "conflict.differs" and not error.hint.startswith("passwd"):
        error.hint = f"to change it: jailctl set {name} KEY=VALUE; or edit {paths.spec(name)}, then add-user again"
    return error


def _report(settings: Settings, paths: Paths, plan: Plan, jail: JailInfo | None, password: bool, dry_run: bool) -> None:
    from ..jail.chroot import FILES
    from ..login.gates import not_set_up
    from . import provisioning

    login = provisioning.ssh_line(plan.name, jail.level if jail else plan.level)
    missing = not_set_up(paths)
    if settings.json:
        warnings = [*plan.warnings, *([missing] if missing else [])]
        body = {**provisioning.plan_data(plan, dry_run), "warnings": warnings}
        emit({**body, "login": login, "jail": jail.data() if jail else None})
        return
    provisioning.show_plan(settings, plan, dry_run)
    if missing:
        note(settings, f"jailctl: note: {missing}")
    if jail is None or not plan.operations:
        return
    say(settings, f"\n{escape(jail.name)} has a jail (uid {jail.uid}, home {escape(jail.home)}).")
    if jail.keys or jail.existing or password:
        say(settings, f"Log in with:   {login}")
    if jail.level == "chroot":
        say(settings, f"Her files:     {escape(jail.home)}/{FILES}")
    look = "" if jail.level == "chroot" else f"; jailctl enter {jail.name}"
    say(settings, f"Look at it:    jailctl show {jail.name}{look}")
