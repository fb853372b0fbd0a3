"""What a check is, and what it may look at.

A check never changes anything, and never takes a mended state for granted: what the kernel, sshd or libpam will do is
asked of them wherever they can be asked.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from ..errors import JailkitError
from ..jail import recipe as recipes
from ..jail.recipe import Recipe
from ..names import user_name
from ..paths import CHROOT_GROUP, GROUP, Paths

OK, WARN, FAIL = "ok", "warn", "fail"
ORDER = (OK, WARN, FAIL)


@dataclass(frozen=True)
class Finding:
    """One thing seen. state: ok, warn (works, but something is lost or odd), fail (a jail does not hold, or a login
    does not work). mend: a command or a step, or ""."""

    state: str
    seen: str
    mend: str = ""


@dataclass(frozen=True)
class Check:
    """id: stable, for programs. title: what is right when it is ok. run: returns at least one finding."""

    id: str
    title: str
    run: Callable[[Host], list[Finding]]


@dataclass(frozen=True)
class Result:
    """What one check found. state: of the worst finding."""

    id: str
    title: str
    state: str
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class Account:
    """A line of passwd(5)."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


class Host:
    """What several checks read, read once."""

    def __init__(self, paths: Paths, passwd: str = "/etc/passwd") -> None:
        self.paths = paths
        self._passwd = passwd

    @cached_property
    def accounts(self) -> list[Account]:
        """The host's own accounts: of the file and not of the name service, which may hold a whole company."""
        found = []
        with open(self._passwd, encoding="utf-8", errors="replace") as file:
            for line in file:
                parts = line.rstrip("\n").split(":")
                if len(parts) == 7 and parts[2].isdigit() and parts[3].isdigit():
                    found.append(Account(parts[0], int(parts[2]), int(parts[3]), parts[5], parts[6]))
        return found

    @cached_property
    def _local(self) -> dict[str, Account]:
        return {account.name: account for account in reversed(self.accounts)}

    def account(self, name: str) -> Account | None:
        """The account ``name``: of the file, else by the name service, so that users of LDAP are found too. (Not the
        latter alone: that reads the file from its beginning for each of 10,000 names.)"""
        if name in self._local:
            return self._local[name]
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return None
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell)

    @cached_property
    def group(self) -> grp.struct_group | None:
        try:
            return grp.getgrnam(GROUP)
        except KeyError:
            return None

    @cached_property
    def members(self) -> dict[str, None]:
        """Names in the group, by its own list or as their primary group; sorted."""
        if self.group is None:
            return {}
        primary = {account.name for account in self.accounts if account.gid == self.group.gr_gid}
        return dict.fromkeys(sorted({*self.group.gr_mem, *primary}))

    @cached_property
    def chroot_group(self) -> grp.struct_group | None:
        try:
            return grp.getgrnam(CHROOT_GROUP)
        except KeyError:
            return None

    @cached_property
    def files_only(self) -> dict[str, None]:
        """Names in the group of chroot jails; sorted."""
        return dict.fromkeys(sorted(self.chroot_group.gr_mem)) if self.chroot_group else {}

    @cached_property
    def specs(self) -> dict[str, None]:
        """Names of the spec files; sorted."""
        return dict.fromkeys(_names(self.paths.specs, ".toml"))

    @cached_property
    def jailed(self) -> list[str]:
        """Users with a spec, an account and the group: those whom the host should confine."""
        return [name for name in self.specs if name in self.members and self.account(name) is not None]

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """Recipes that can be read; the others are found by the checks of state."""
        found = {}
        for name in _names(self.paths.jails):
            try:
                found[name] = recipes.load(self.paths, user_name(name))
            except JailkitError:
                continue
        return found


def _names(directory: str, ending: str = "") -> list[str]:
    try:
        return sorted(n[: len(n) - len(ending)] for n in os.listdir(directory) if n.endswith(ending) and n[0] != ".")
    except OSError:
        return []


def warn(seen: str, mend: str = "") -> Finding:
    return Finding(WARN, seen, mend)


def fail(seen: str, mend: str = "") -> Finding:
    return Finding(FAIL, seen, mend)


def ok(seen: str) -> list[Finding]:
    return [Finding(OK, seen)]


def count(number: int, what: str) -> str:
    """``1 home``, ``2 homes``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def several(problems: list[Finding], fine: str) -> list[Finding]:
    """The problems, or that there are none."""
    return problems or ok(fine)


def perform(check: Check, host: Host) -> Result:
    """Run one check. One that breaks is a failure of the host (or of the check), never a silent pass."""
    try:
        findings = check.run(host)
    except JailkitError as error:
        findings = [fail(error.message, error.hint)]
    except (OSError, ValueError) as error:
        findings = [fail(f"could not be checked: {error}")]
    state = max((finding.state for finding in findings), key=ORDER.index)
    return Result(check.id, check.title, state, findings)
