"""From a spec and the facts to a plan: pure, no host. What must not be done is refused before anything is touched.

The order of adding, and why each boundary is safe when the process is killed there:

    reserve         only a row: ids that nobody else gets. There is no account yet.
    image, files    a jail that is disabled: the hook cannot start it.
    key-file        sshd looks at it for members of the group only, and there is no such account.
    create-account  has the door as its shell, is a member, has no password; its jail is disabled.
    make-home       the user could authenticate with a key now: the disabled jail and the door refuse.
    set-quota, password, spec
                    as before.
    enable          one rename; from here on the jail is as a finished one.

So a half-made account meets two refusals, the hook's (disabled) and the door's (no verdict); an interrupted plan
goes on from its last step at the next run. Removing starts with the same switch turned back, and deletes last what it
needs to find its way: the row that holds the ids.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..errors import JailkitError
from ..spec.config import Config
from ..spec.jail import JailSpec, differences
from ..spec.template import TemplateSpec
from . import change, refuse
from .facts import Facts
from .operations import (
    CleanSpool,
    ClearQuota,
    Confine,
    CreateAccount,
    Disable,
    Enable,
    Forget,
    GiveBack,
    JailFiles,
    KeepHome,
    KeyFile,
    MakeHome,
    Operation,
    RemoveAccount,
    RemoveHome,
    RemoveJailFiles,
    RemoveKeys,
    RemoveSpec,
    RequireUnmounted,
    Reserve,
    SetPassword,
    StopJail,
    WriteArchive,
    WriteSpec,
)


@dataclass(frozen=True)
class Plan:
    """What is to be done to one jail, in order. kind: "add", "mend" or "remove". No operations: nothing is to be done.

    warnings: sentences for the administrator. resumes: these are the steps that an interrupted plan has left; when
    they are done, what was asked for is planned anew. level: of confinement of the jail that is to be."""

    name: str
    kind: str
    operations: tuple[Operation, ...]
    warnings: tuple[str, ...] = ()
    resumes: bool = False
    level: str = "namespaces"

    def data(self) -> dict[str, Any]:
        """For people and ``--json``: no secrets."""
        return {
            "name": self.name,
            "kind": self.kind,
            "resumes": self.resumes,
            "operations": [operation.public() for operation in self.operations],
            "warnings": list(self.warnings),
        }


def plan_add(spec: JailSpec, template: TemplateSpec, config: Config, facts: Facts, hashed: str | None = None) -> Plan:
    """How ``spec`` comes true. hashed: of the password that was given. Raise what refuse.py raises, and
    ``conflict.differs`` for a jail that is there and is another one."""
    refuse.always(spec, template, config, facts)
    if facts.managed is not None:
        made = _mend(spec, template, facts, hashed)
    elif spec.existing:
        refuse.existing(spec, template, config, facts)
        made = _take(spec, facts, hashed)
    else:
        refuse.new(spec, template, facts)
        made = _new(spec, template.level, facts, hashed)
    return replace(made, warnings=(*made.warnings, *facts.weak)) if made.operations else made


def _new(spec: JailSpec, level: str, facts: Facts, hashed: str | None) -> Plan:
    assert facts.home is not None
    home, data = facts.home.path, spec.data()
    plan: list[Operation] = [Reserve(f"{spec.user} is new", home=home, spec=data, level=level)]
    plan += change.image(facts)
    plan.append(JailFiles(f"the jail is made from template {facts.reference}", spec=data))
    plan += _keys(spec, facts)
    plan.append(CreateAccount(f"there is no account {spec.user}", home=home))
    plan.append(MakeHome(f"there is no {home}", home=home))
    plan += change.quota(facts)
    if hashed is not None:
        plan.append(SetPassword("a password was given", hashed=hashed))
    plan.append(WriteSpec("it says what this jail should be", spec=data))
    plan.append(Enable("everything is there"))
    warnings = [] if spec.keys or hashed else ["there is no way to log in yet: give --key FILE or --password-stdin"]
    return Plan(spec.user, "add", tuple(plan), tuple(warnings), level=level)


def _take(spec: JailSpec, facts: Facts, hashed: str | None) -> Plan:
    account = facts.account
    assert account is not None
    if hashed is not None:
        raise JailkitError(
            "usage.password",
            "an existing account keeps its password",
            f"leave --password-stdin out; passwd {spec.user}",
        )
    data = spec.data()
    reserve = Reserve(
        f"the account {spec.user} exists", home=account.home, existing=True, uid=account.uid, gid=account.gid,
        old_shell=account.shell, was_member=account.member, spec=data,
    )  # fmt: skip
    plan: list[Operation] = [reserve, *change.image(facts)]
    plan.append(JailFiles(f"the jail is made from template {facts.reference}", spec=data))
    plan += _keys(spec, facts)
    plan.append(Confine("it is not confined", old_shell=account.shell, was_member=account.member))
    plan += change.quota(facts)
    plan.append(WriteSpec("it says what this jail should be", spec=data))
    plan.append(Enable("everything is there"))
    warning = f"keys in {account.home}/.ssh count no longer: give those that may log in with --key"
    return Plan(spec.user, "add", tuple(plan), (warning,))


def _clear_quota(facts: Facts, keep: bool) -> list[Operation]:
    found = facts.quota
    if found is None:
        return []
    return [ClearQuota("its number is given to nobody again", found.old_disk, found.old_inodes, keep)]


def _keys(spec: JailSpec, facts: Facts) -> list[Operation]:
    if spec.keys:
        return [KeyFile("keys were given", keys=tuple(spec.keys))]
    # whoever left it there: what it opens was never given to this user
    return [KeyFile("an old key file lies there")] if facts.keys == "differ" else []


def _mend(spec: JailSpec, template: TemplateSpec, facts: Facts, hashed: str | None) -> Plan:
    """The jail is there. What differs from the spec on the disk is a conflict; what has drifted from it is mended."""
    refuse.managed(spec, template, facts)
    assert facts.account is not None
    assert facts.managed is not None
    if facts.spec is not None:
        _require_same(JailSpec.model_validate(facts.spec), spec, facts)
    if facts.password is not False or facts.account.password != "locked":
        hashed = None
    steps, warnings = change.operations(spec, facts, hashed)
    return Plan(spec.user, "mend", tuple(steps), tuple(warnings), level=template.level)


def plan_change(
    spec: JailSpec, template: TemplateSpec, config: Config, facts: Facts, hashed: str | None = None, force: bool = False
) -> Plan:
    """How ``spec`` comes true, whatever jail is there or none. force: drop what was edited in the spec file and never
    applied, and end sessions where the home is moved. Raise what refuse.py raises, ``conflict.edited``."""
    if facts.managed is None:
        return plan_add(spec, template, config, facts, hashed)
    refuse.always(spec, template, config, facts)
    refuse.managed(spec, template, facts, move=True)
    if facts.target is not None:
        refuse.move(spec, template, facts, force)
    if not force:
        change.require_unedited(spec, facts)
    steps, warnings = change.operations(spec, facts, hashed)
    return Plan(spec.user, "change", tuple(steps), tuple(warnings), level=template.level)


def _require_same(have: JailSpec, want: JailSpec, facts: Facts) -> None:
    rows = differences(have, want)
    assert facts.account is not None
    if facts.password is False and facts.account.password != "locked":
        rows.append(("password", "another one", "the given one"))
    if not rows:
        return
    text = "; ".join(f"{field}: is {old}, asked for {new}" for field, old, new in rows)
    hint = f"to keep it, ask for what is; to change it: jailctl set {want.user} KEY=VALUE"
    if [field for field, _, _ in rows] == ["password"]:
        hint = f"passwd {want.user}"
    raise JailkitError("conflict.differs", f"{want.user} has a jail already, and it differs: {text}", hint)


def plan_remove(
    name: str, facts: Facts, keep_home: bool = False, archive: str | None = None, whole: bool = False
) -> Plan:  # fmt: skip
    """How the jail of ``name`` goes. archive: absolute path of a tar of the home, or of all (whole). Raise
    ``missing.jail``, ``conflict.not-ours``, ``conflict.not-marked``, ``busy.mounted``, ``unsafe.home-owner``,
    ``usage.remove``."""
    refuse.remove(name, facts, keep_home, archive)
    managed, home = facts.managed, facts.home
    assert managed is not None
    assert home is not None
    spec = facts.spec or {}
    plan: list[Operation] = [
        Disable("nobody may come back while it is taken apart"),
        RemoveKeys("no key may open anything any more", keys=tuple(spec.get("keys", ()))),
        StopJail("what runs would go on"),
        RequireUnmounted("what is mounted there is not the user's", home=_doomed_home(facts, keep_home)),
    ]
    if archive is not None:
        plan.append(WriteArchive("it was asked for", home=managed.home, file=archive, whole=whole))
    warnings: list[str] = []
    plan += _clear_quota(facts, keep=not _doomed_home(facts, keep_home))
    if managed.existing:
        plan.append(GiveBack("the account was there before jailkit", managed.old_shell, managed.was_member))
    else:
        plan += _remove_account(facts, keep_home, warnings)
    plan.append(RemoveJailFiles("the jail is gone"))
    if facts.spec is not None:
        plan.append(RemoveSpec("what it describes is gone"))
    plan.append(Forget("all is done"))
    return Plan(name, "remove", tuple(plan), tuple(warnings))


def _doomed_home(facts: Facts, keep_home: bool) -> str:
    """The home that is to be deleted, or ""."""
    return facts.managed.home if facts.managed is not None and refuse.deletes_home(facts, keep_home) else ""


def _remove_account(facts: Facts, keep_home: bool, warnings: list[str]) -> list[Operation]:
    managed, home = facts.managed, facts.home
    assert managed is not None
    assert home is not None
    plan: list[Operation] = []
    if home.kind and not facts.home_is_own:
        warnings.append(f"{home.path} belongs to uid {home.uid}, gid {home.gid}, not to this jail: left as it is")
    elif home.kind and keep_home:
        plan.append(KeepHome("--keep-home", home=home.path))
    elif home.kind:
        plan.append(RemoveHome("it was made with the account", home=home.path))
    plan.append(CleanSpool("a later user of that name must not find it"))
    if facts.account is not None and facts.account.uid != managed.uid:
        warnings.append(f"the account {facts.name} has another uid now, so it is somebody else's: left as it is")
    elif facts.account is not None:
        plan.append(RemoveAccount("it was made by jailkit"))
    return plan
