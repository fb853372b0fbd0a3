"""What is true on the host now, as far as one jail is concerned: plain data, read by inspect.py, judged by plan.py.

Everything converts to and from JSON, so that a case for the planner is a file (tests/unit/provision/plans)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .quota import Quota


@dataclass(frozen=True)
class Account:
    """groups: names of all groups, where the account is not ours yet. sharing: other accounts with the same uid.
    home_of: other accounts whose home is the same, above or below. processes: pids with that uid. password: "set",
    "locked", "empty" or "unknown". member, chroot: of group jailed, of group jailed-chroot."""

    uid: int
    gid: int
    gecos: str = ""
    home: str = ""
    shell: str = ""
    local: bool = True
    member: bool = False
    chroot: bool = False
    groups: tuple[str, ...] = ()
    sharing: tuple[str, ...] = ()
    home_of: tuple[str, ...] = ()
    processes: tuple[int, ...] = ()
    password: str = "locked"


@dataclass(frozen=True)
class Home:
    """The directory where the home is, or is to be. kind: "" (nothing is there), "directory", "link" or "other".

    unsafe: why the directories above it cannot be trusted, or "". owner: the account that it belongs to, "" where that
    is root or nobody; asked for only where it is not the jail's own."""

    path: str
    kind: str = ""
    uid: int = -1
    gid: int = -1
    mode: int = 0
    unsafe: str = ""
    owner: str = ""


@dataclass(frozen=True)
class Managed:
    """The row of a jail that is ours. spec: data of the spec that was applied last; applied: it is the one that is
    asked for."""

    uid: int
    gid: int
    phase: str = "present"
    existing: bool = False
    home: str = ""
    old_shell: str = ""
    was_member: bool = False
    applied: bool = True
    level: str = "namespaces"
    spec: dict[str, Any] | None = None


@dataclass(frozen=True)
class Facts:
    """group: whether a group of the user's name exists without the account. spec: data of the spec file, or None;
    marked: it carries jailkit's mark. image: digest that the template's tag names, or None. files: how the jail's own
    files stand: "missing", "same" or "differ". keys: "missing", "same" or "differ", against the spec on the disk.
    reference: the template that the jail is made from, the plan's or the default where the spec names none. shell: the
    jail's login shell exists. unused: settings of its plan that mean nothing in its level. running: the jail runs.
    suspended: see resolve.suspended. target: where the home is to be, if that is elsewhere. unheld: what of its limits
    this host cannot hold, (name, reason); weak: sentences about what it holds in part. mounts: mount points at or below
    home and jail directory. quota: limits of disk and inodes, those that are asked for and those that hold; None: there
    are none. password: whether a given password is the account's; None when none was given. door: its path, and whether
    it is installed."""

    name: str
    account: Account | None = None
    group: bool = False
    managed: Managed | None = None
    spec: dict[str, Any] | None = None
    marked: bool = False
    home: Home | None = None
    image: str | None = None
    files: str = "missing"
    keys: str = "missing"
    reference: str = "shell"
    shell: bool = True
    unused: tuple[str, ...] = ()
    running: bool = False
    suspended: str | None = None
    target: Home | None = None
    unheld: tuple[tuple[str, str], ...] = ()
    weak: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    quota: Quota | None = None
    password: bool | None = None
    door: bool = True
    door_path: str = "/opt/jailctl/libexec/door"
    uid_min: int = 1000

    @property
    def door_is_shell(self) -> bool:
        return self.account is not None and self.account.shell == self.door_path

    @property
    def confined(self) -> bool:
        """Member of the groups of its level, with the door as its shell."""
        account, chroot = self.account, self.managed is not None and self.managed.level == "chroot"
        return account is not None and account.member and account.chroot == chroot and self.door_is_shell

    @property
    def home_is_own(self) -> bool:
        """The directory at the jail's home is the one that was made for it, or taken with the account: her uid's; in a
        chroot jail root's, with a group that nobody else ever had."""
        row, home = self.managed, self.home
        if row is None or home is None:
            return False
        return (home.uid, home.gid) == (0, row.gid) if row.level == "chroot" else home.uid == row.uid

    def data(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def from_data(data: Mapping[str, Any]) -> Facts:
    """The inverse of :meth:`Facts.data`; what is left out has its default. Raise TypeError at unknown names."""
    values = dict(data)
    kinds = {"account": Account, "home": Home, "target": Home, "managed": Managed, "quota": Quota}
    for key, kind in kinds.items():
        if values.get(key) is not None:
            values[key] = kind(**{name: _frozen(value) for name, value in values[key].items()})
    return Facts(**{key: value if key == "spec" else _frozen(value) for key, value in values.items()})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
