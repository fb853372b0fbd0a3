"""What provisioning does not do, each with the reason and the way out. Pure: facts in, an error or nothing out."""

from __future__ import annotations

from ..errors import JailkitError
from ..spec.config import Config
from ..spec.fields import plain_path
from ..spec.jail import JailSpec
from ..spec.template import TemplateSpec
from .facts import Account, Facts

_NOBODY = (65534, 65535, 2**32 - 2, 2**32 - 1)


def always(spec: JailSpec, template: TemplateSpec, config: Config, facts: Facts) -> None:
    """Raise ``missing.door``, ``conflict.never-touch``, ``missing.shell``, ``invalid.setting``, ``host.limit``,
    ``host.quota``."""
    if not facts.door:
        raise JailkitError("missing.door", "the door is not installed", "run ./install again")
    if spec.user in config.never_touch:
        raise JailkitError(
            "conflict.never-touch", f"{spec.user} is a break-glass account (never_touch)", "choose another user"
        )
    if not facts.shell:
        shell = spec.shell or template.shell
        raise JailkitError(
            "missing.shell",
            f"the jail would have no {shell}",
            f"{'install it on the host' if template.binds else 'add it to the template'}, or --set shell=...",
        )
    if facts.unheld:
        text = "; ".join(f"limits.{name}: {reason}" for name, reason in facts.unheld)
        raise JailkitError(
            "host.limit", f"this host cannot hold a limit of {spec.user}: {text}",
            "jailctl doctor cgroup; jailctl show NAME --resolved says where a limit comes from",
        )  # fmt: skip
    idle = [key for key in ("hostname", "shell", "network") if getattr(spec, key) is not None] or list(facts.unused)
    if template.level == "chroot" and idle:
        raise JailkitError(
            "invalid.setting", f"{idle[0]} means nothing in a jail of template {template.name}: it has files only",
            f"leave {idle[0]} out{f' of plan {spec.plan}' if facts.unused else ''}, or use a template with a shell",
        )  # fmt: skip
    if facts.quota is not None and facts.quota.refused:
        raise JailkitError(
            "host.quota", f"a limit of {spec.user} cannot be held: {facts.quota.refused}", facts.quota.hint
        )


def new(spec: JailSpec, template: TemplateSpec, facts: Facts) -> None:
    """What stands in the way of a new account."""
    name, home = spec.user, facts.home
    assert home is not None
    if facts.account is not None:
        raise JailkitError(
            "conflict.account-exists", f"the account {name} exists and is not jailkit's",
            f"jailctl add-user {name} --existing puts it into a jail; or choose another name",
        )  # fmt: skip
    if facts.group:
        raise JailkitError("conflict.group-exists", f"there is a group {name} already", "choose another name")
    _spec_on_disk(spec, facts)
    _home_place(template, home.path)
    if home.unsafe:
        raise JailkitError("unsafe.path", f"the home {home.path} would not be safe: {home.unsafe}", "mend that first")
    if home.kind:
        raise JailkitError(
            "conflict.home-exists", f"{home.path} exists already, from somebody before",
            f"move it away (mv {home.path} {home.path}.old), or --set home=...; nobody inherits it unasked",
        )  # fmt: skip


def _spec_on_disk(spec: JailSpec, facts: Facts) -> None:
    if facts.spec is not None and JailSpec.model_validate(facts.spec) != spec:
        raise JailkitError(
            "conflict.spec-exists", f"there is a spec file for {spec.user}, and it says something else",
            "ask for what it says, or remove it",
        )  # fmt: skip


def _home_place(template: TemplateSpec, home: str) -> None:
    try:
        holds = home.count("/") > 1 and template.holds_home(home)
    except ValueError as error:
        raise JailkitError("invalid.home", f"the home {error}", "give the account another home") from None
    if not holds:
        raise JailkitError(
            "invalid.home", f"a jail of template {template.name} has no place for a home at {home}",
            "use a home below /home, or a template whose image.directories has its top directory",
        )  # fmt: skip


def existing(spec: JailSpec, template: TemplateSpec, config: Config, facts: Facts) -> None:
    """What an account must be that is put into a jail (attacks: a shared uid, an administrator, somebody's home)."""
    account = facts.account
    if account is None:
        raise JailkitError("missing.account", f"there is no account {spec.user}", "leave --existing out to make it")
    if account.uid < max(facts.uid_min, 1) or account.uid in _NOBODY:
        raise JailkitError(
            "unsafe.system-account",
            f"{spec.user} (uid {account.uid}) is an account of the system",
            "choose another user",
        )
    if account.sharing:
        raise JailkitError(
            "unsafe.shared-uid", f"{spec.user} shares uid {account.uid} with {', '.join(account.sharing)}",
            f"usermod -u NEWUID {spec.user}",
        )  # fmt: skip
    privileged = sorted(set(account.groups) & set(config.privileged_groups))
    if privileged or account.gid == 0:
        raise JailkitError(
            "unsafe.privileged-group", f"{spec.user} is in {', '.join(privileged) or 'group 0'}: an administrator",
            f"gpasswd -d {spec.user} {privileged[0] if privileged else 'root'}, if that is what you want",
        )  # fmt: skip
    if account.password == "empty":
        raise JailkitError("unsafe.empty-password", f"{spec.user} has an empty password", f"passwd {spec.user}")
    if template.level == "chroot":
        raise JailkitError(
            "conflict.level",
            f"{spec.user} has a home of her own, and sshd takes only a directory of root's for a chroot",
            f"add a new user with template {template.name} and copy the files, or use a template with a shell",
        )
    _spec_on_disk(spec, facts)
    _existing_home(spec, template, facts, account)
    _existing_shell(spec, facts, account)
    if account.processes:
        pids = ", ".join(map(str, account.processes))
        raise JailkitError(
            "busy.processes", f"{spec.user} has processes outside a jail: {pids}",
            f"ask to log out, or loginctl terminate-user {spec.user}; then try again",
        )  # fmt: skip


def _existing_home(spec: JailSpec, template: TemplateSpec, facts: Facts, account: Account) -> None:
    home = facts.home
    assert home is not None
    if spec.home is not None and spec.home != account.home:
        raise JailkitError(
            "conflict.home", f"the home of {spec.user} is {account.home}, not {spec.home}", "leave home out"
        )
    _home_place(template, home.path)
    plain_path(home.path)
    hint = f"ls -ld {home.path}"
    if home.unsafe:
        raise JailkitError("unsafe.path", f"the home {home.path} is not safe: {home.unsafe}", hint)
    if home.kind != "directory":
        what = {"": "is not there", "link": "is a symbolic link", "other": "is not a directory"}[home.kind]
        raise JailkitError("unsafe.home", f"the home {home.path} {what}", hint)
    if home.uid != account.uid:
        raise JailkitError(
            "unsafe.home-owner", f"{home.path} belongs to uid {home.uid}, not to {spec.user} ({account.uid})",
            f"chown {spec.user} {home.path}",
        )  # fmt: skip
    if home.mode & 0o022:
        raise JailkitError("unsafe.home", f"others may write to {home.path}", f"chmod go-w {home.path}")
    if account.home_of:
        raise JailkitError(
            "unsafe.home-shared", f"{home.path} is or holds the home of {', '.join(account.home_of)}, too",
            "give each its own home",
        )  # fmt: skip


def _existing_shell(spec: JailSpec, facts: Facts, account: Account) -> None:
    if not account.local and not facts.door_is_shell:
        raise JailkitError(
            "host.directory-account", f"{spec.user} comes from a directory service, where its shell is {account.shell}",
            f"set its loginShell there to {facts.door_path}, then try again",
        )  # fmt: skip


def managed(spec: JailSpec, template: TemplateSpec, facts: Facts, move: bool = False) -> None:
    """What stands in the way of mending or changing a jail that is ours. move: its home may go elsewhere."""
    row, account = facts.managed, facts.account
    assert row is not None
    if row.phase != "present":
        raise JailkitError("interrupted.phase", f"the jail of {spec.user} is half {row.phase}", "jailctl doctor")
    home = facts.target is not None or (spec.home is not None and spec.home != row.home)
    if spec.existing != row.existing or (home and (row.existing or not move)):
        raise JailkitError(
            "conflict.unchangeable", f"the home of {spec.user} ({row.home}) and who made the account stay",
            f"jailctl move-home {spec.user} PATH, where jailkit made the account; or remove it, and add it again",
        )  # fmt: skip
    if template.level != row.level:
        raise JailkitError(
            "conflict.level",
            f"{spec.user} has a jail of level {row.level}, template {template.name} is of level {template.level}: "
            "the home would be another one",
            f"jailctl remove-user {spec.user} --archive FILE, add it again, and put the files back",
        )
    if account is None or account.uid != row.uid:
        what = "is gone" if account is None else f"has uid {account.uid} now, not {row.uid}"
        raise JailkitError(
            "conflict.account-changed", f"the account {spec.user} {what}",
            f"jailctl remove-user {spec.user} --keep-home, then add it again",
        )  # fmt: skip


def move(spec: JailSpec, template: TemplateSpec, facts: Facts, force: bool) -> None:
    """What stands in the way of moving the home to ``facts.target``. force: sessions do not."""
    home, target = facts.home, facts.target
    assert home is not None
    assert target is not None
    _home_place(template, target.path)
    if target.unsafe:
        raise JailkitError(
            "unsafe.path", f"the home {target.path} would not be safe: {target.unsafe}", "mend that first"
        )
    if target.kind:
        raise JailkitError("conflict.home-exists", f"{target.path} exists already", f"ls -ld {target.path}")
    if home.kind != "directory" or not facts.home_is_own:
        raise JailkitError("missing.home", f"{home.path} is not a home of {spec.user}", f"ls -ld {home.path}")
    if facts.mounts:
        raise JailkitError("busy.mounted", f"something is mounted at {facts.mounts[0]}", f"umount {facts.mounts[0]}")
    if facts.running and not force:
        raise JailkitError(
            "busy.sessions", f"the jail of {spec.user} runs", "ask to log out; or --stop ends its sessions"
        )


def remove_options(keep_home: bool, archive: str | None) -> None:
    """What nobody can mean."""
    if keep_home and archive is not None:
        raise JailkitError("usage.remove", "--keep-home and --archive exclude each other", "leave one out")


def remove(name: str, facts: Facts, keep_home: bool, archive: str | None) -> None:
    """What stands in the way of removing a jail."""
    remove_options(keep_home, archive)
    row, home = facts.managed, facts.home
    if row is None:
        if facts.account is not None:
            raise JailkitError("conflict.not-ours", f"the account {name} is not jailkit's", "userdel removes accounts")
        raise JailkitError("missing.jail", f"there is no jail of {name}", "jailctl list shows all")
    if facts.spec is not None and not facts.marked:
        raise JailkitError(
            "conflict.not-marked", f"the spec file of {name} does not carry jailkit's mark",
            "its first line must be: # managed by jailctl",
        )  # fmt: skip
    assert home is not None
    inside = [point for point in facts.mounts if deletes_home(facts, keep_home) or not _within(point, home.path)]
    if inside:
        other = "; or --keep-home" if _within(inside[0], home.path) else ""
        raise JailkitError(
            "busy.mounted", f"something is mounted at {inside[0]}", f"umount {inside[0]}, then try again{other}"
        )
    if archive is not None and (home.kind != "directory" or not facts.home_is_own):
        raise JailkitError("missing.home", f"{home.path} is not a home of {name}", "leave --archive out")
    if home.kind in ("link", "other") and facts.home_is_own:
        raise JailkitError("unsafe.home", f"{home.path} is not a directory any more", f"ls -ld {home.path}")


def deletes_home(facts: Facts, keep_home: bool) -> bool:
    """Whether removing this jail would delete the home: it was made with the account, and is the user's still."""
    row = facts.managed
    return row is not None and not (row.existing or keep_home) and facts.home_is_own


def _within(point: str, directory: str) -> bool:
    return point == directory or point.startswith(directory + "/")
