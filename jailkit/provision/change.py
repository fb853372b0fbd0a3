"""What brings a jail that is there to another spec, and what has drifted from its spec back: pure, facts in, operations
out.

The order, and why each boundary is safe when the process is killed there:

    suspend, stop   first where nobody may log in any more: hook and start refuse from here on; then who is in is ended,
                    a login that came in between as well.
    key-file        one rename; a key that is taken away opens nothing while the rest goes on.
    home, confine, password
                    each as it was or as it is to be.
    image           nobody's in particular.
    jail-files      one rename of the recipe, which a start reads whole. A jail that runs keeps its root, its shell and
                    its network until it stops.
    set-quota       after the home and the layer that it is for; for who is writing as well.
    resume          last of what the user meets: logins become possible when everything is there.
    spec            the file says it when it is so.

Where the home is moved, the jail is closed and ended first, and opened last (see _move).

Until the last step has its mark, the next run goes on from here; an error undoes what was done, by the data of the spec
that was applied before."""

from __future__ import annotations

from typing import Any

from ..errors import JailkitError
from ..spec.jail import JailSpec, changes, differences
from .facts import Facts
from .operations import (
    BuildImage,
    Close,
    Confine,
    Enable,
    JailFiles,
    KeyFile,
    LeaveHome,
    MakeHome,
    MoveHome,
    Operation,
    OwnHome,
    SetHome,
    SetLimits,
    SetPassword,
    SetQuota,
    StopJail,
    Suspend,
    WriteSpec,
)

_AT_ONCE = ("keys", "suspended", "expires", "manifest", "plan")
"""Fields that a running jail need not start anew for; limits as well."""


def require_unedited(want: JailSpec, facts: Facts) -> None:
    """Raise ``conflict.edited`` where the spec file says something that was never applied and is not asked for: an
    edit of somebody's that would be lost."""
    if facts.spec is None or facts.managed is None or facts.managed.spec is None:
        return
    if facts.spec == facts.managed.spec:
        return
    applied, file = JailSpec.model_validate(facts.managed.spec), JailSpec.model_validate(facts.spec)
    asked = {field for field, _, _ in changes(file, want)}
    lost = [row for row in differences(applied, file) if row[0] in asked]
    if lost:
        text = "; ".join(f"{field}: was {old}, is {new}" for field, old, new in lost)
        raise JailkitError(
            "conflict.edited", f"the spec file of {want.user} was edited and never applied: {text}",
            f"jailctl add-user {want.user} applies it; or ask for the same; or --force to drop it",
        )  # fmt: skip


def own_home(facts: Facts) -> bool:
    """Whether the home is there and belongs to root or to nobody instead of its user."""
    managed, home = facts.managed, facts.home
    return (
        managed is not None and home is not None and home.kind == "directory" and not managed.existing
        and not facts.home_is_own and not home.owner and not home.unsafe
    )  # fmt: skip


def image(facts: Facts) -> list[Operation]:
    return [] if facts.image else [BuildImage(f"template {facts.reference} has no image", template=facts.reference)]


def quota(facts: Facts) -> list[Operation]:
    """Limits of disk and inodes, where others hold than are asked for."""
    found = facts.quota
    if found is None or found.held:
        return []
    limited = found.disk or found.inodes
    why = "others hold" if found.old_disk or found.old_inodes else "none hold yet"
    old = {"old_disk": found.old_disk, "old_inodes": found.old_inodes}
    return [SetQuota(why if limited else "none are asked for", disk=found.disk, inodes=found.inodes, **old)]


def moved_quota(facts: Facts) -> list[Operation]:
    """The same for a home that has been moved: it may be counted by another file system now, which knows nothing."""
    found = facts.quota
    if found is None or not (found.disk or found.inodes):
        return []
    return [SetQuota("the home is elsewhere", disk=found.disk, inodes=found.inodes)]


def operations(want: JailSpec, facts: Facts, hashed: str | None) -> tuple[list[Operation], list[str]]:
    """The steps and the warnings. hashed: of a password that is to be set, or None. The facts are those of a jail that
    is ours, is whole, and may become what is wanted: see refuse.managed."""
    managed = facts.managed
    assert managed is not None
    have = want if managed.applied or managed.spec is None else JailSpec.model_validate(managed.spec)
    rows = differences(have, want) if have != want else []
    old = have.data() if rows else {}
    access = _access(want, have, facts, hashed, old)
    if facts.target is not None:
        return _move(want, facts, rows, old, access), []
    steps = shut(want, have, facts) + access
    made, warnings = _jail_files(want, facts, rows, old)
    if facts.home is not None and facts.home.owner:
        warnings.append(f"the home {facts.home.path} belongs to {facts.home.owner}: left as it is")
    steps += made + quota(facts)
    if want.suspended is None and facts.suspended is not None:
        why = "it is suspended no more" if have.suspended is not None else "the spec says nothing of that"
        steps.append(Suspend(why, message=None, old=have.suspended or facts.suspended or None))
    steps += spec_file(want, facts, rows, old)
    return steps, warnings


def _move(
    want: JailSpec, facts: Facts, rows: list[tuple[str, str, str]], old: dict[str, Any], access: list[Operation]
) -> list[Operation]:
    """With the home: the jail is closed and has ended before, and is opened, or shut for another reason, last. Until
    then all of it can go back."""
    managed, target = facts.managed, facts.target
    assert managed is not None
    assert target is not None
    before, now = managed.home, target.path
    return [
        Close("its home is moved"),
        StopJail("who stands in a directory that is moved would stay in it"),
        MoveHome(f"the home is to be {now}", home=before, to=now),
        SetHome("it is elsewhere", home=now, old=before),
        *access,
        *image(facts),
        JailFiles(_why(rows), spec=want.data(), fresh=False, old=old, home=now, old_home=before),
        *(moved_quota(facts) or quota(facts)),
        WriteSpec(_spec_why(facts, rows), spec=want.data(), fresh=False, old=old),
        Enable("everything is in its place"),
        LeaveHome("nothing of it may stay behind", home=before, new=now),
    ]


def shut(want: JailSpec, have: JailSpec, facts: Facts) -> list[Operation]:
    """What a suspension takes, beside the spec."""
    steps: list[Operation] = []
    if want.suspended is None:
        return steps
    if facts.suspended != want.suspended:
        why = "it is to be suspended" if have.suspended is None else "the user is to be told this"
        steps.append(Suspend(why, message=want.suspended, old=have.suspended))
    if facts.running or have.suspended is None:
        steps.append(StopJail("a suspended jail runs nothing"))
    return steps


def spec_file(want: JailSpec, facts: Facts, rows: list[tuple[str, str, str]], old: dict[str, Any]) -> list[Operation]:
    managed = facts.managed
    assert managed is not None
    if facts.marked and managed.applied and JailSpec.model_validate(facts.spec) == want:
        return []
    return [WriteSpec(_spec_why(facts, rows), spec=want.data(), fresh=False, old=old)]


def _jail_files(
    want: JailSpec, facts: Facts, rows: list[tuple[str, str, str]], old: dict[str, Any]
) -> tuple[list[Operation], list[str]]:
    if facts.files == "same":
        return [], []
    why = "they are missing" if facts.files == "missing" else _why(rows) or "they differ from the spec"
    steps = [*image(facts), JailFiles(why, spec=want.data(), fresh=False, old=old)]
    if facts.running and want.suspended is None:
        steps.append(SetLimits("what has changed may be a limit"))
    fields = [field for field, _, _ in rows]
    later = not rows or any(field not in _AT_ONCE and not field.startswith("limits.") for field in fields)
    if later and facts.running and want.suspended is None:
        return steps, [f"it takes effect when the jail starts next: jailctl stop {want.user}"]
    return steps, []


def _access(want: JailSpec, have: JailSpec, facts: Facts, hashed: str | None, old: dict[str, Any]) -> list[Operation]:
    """Keys, home, account."""
    managed, account = facts.managed, facts.account
    assert managed is not None
    assert account is not None
    steps: list[Operation] = []
    if facts.keys != "same":
        why = "other keys are asked for" if want.keys != have.keys else "it differs from the spec"
        before = tuple(have.keys) if old else None
        steps.append(KeyFile(why, keys=tuple(want.keys), fresh=False, old=before))
    if facts.home is not None and not facts.home.kind and not managed.existing and facts.target is None:
        steps.append(MakeHome("it is missing", home=facts.home.path, fresh=False))
    if own_home(facts) and facts.home is not None:
        steps.append(OwnHome(f"it belongs to uid {facts.home.uid}", home=facts.home.path))
    if not facts.confined:
        steps.append(Confine("its shell or its groups were changed", fresh=False))
    if hashed is not None and facts.password is False:
        another = account.password != "locked"
        steps.append(SetPassword("another is asked for" if another else "it has none", hashed=hashed, change=another))
    return steps


def _why(rows: list[tuple[str, str, str]]) -> str:
    return "; ".join(f"{field}: is {old}, asked for {new}" for field, old, new in rows)


def _spec_why(facts: Facts, rows: list[tuple[str, str, str]]) -> str:
    if facts.spec is None:
        return "it was removed"
    if not facts.marked:
        return "its mark is missing"
    return _why(rows) or "it has changed"
