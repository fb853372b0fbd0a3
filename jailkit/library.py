"""The library as other programs use it: a host, its jails, its plans. docs/library.md has worked examples.

Every method raises :class:`JailkitError` (code, message, hint; codes by families in errors.py) and nothing else that
an administrator could meet. Nothing prints, nothing exits. One object may be used by several threads, and several
processes may work on one host: each jail has a lock of its own, waited for up to a minute (``busy.locked``). What was
interrupted, by a kill or a power cut, is finished or undone by the next call about that jail. All calls that change
something may be repeated: a second one with the same arguments changes nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from types import TracebackType
from typing import Any, Literal, Self

from .errors import JailkitError
from .names import user_name
from .paths import Paths
from .provision import host as inner
from .provision import manifests, plans
from .provision.info import JailInfo
from .provision.manifests import Options, Outcome
from .provision.operations import Operation
from .provision.passwords import Hash
from .provision.survey import Finding
from .spec.jail import JailSpec
from .spec.limits import Limits
from .spec.load import validate
from .spec.manifest import SUSPENDED, Manifest, check_hash
from .spec.plan import PlanSpec

Progress = Callable[[int, int, str], None]
"""Called before each step: its number from 1, how many there are, what it does."""
Counted = Callable[[int, int | None, str], None]
"""Jails that are done, how many there are (None: not known), what is being done."""

Asked = tuple[JailSpec, str | None]
"""What a jail is to be, with its password, in clear text or as a hash."""

_WHERE = "arguments"


@dataclass(frozen=True)
class Plan:
    """How a jail gets from what it is to what it is to be. Made by :meth:`Host.plan` or :meth:`Host.plan_removal`,
    which read only. When it is applied, the facts are read again, under the jail's lock.

    name: of the jail. kind: "add", "change", "mend", "remove"; "undo" for what an interrupted plan has left.
    operations: what is to be done, in order; none: it is so already. warnings: sentences for the administrator."""

    name: str
    kind: str
    operations: tuple[Operation, ...]
    warnings: tuple[str, ...]
    _host: Host = field(repr=False, compare=False)
    _inner: inner.Plan = field(repr=False, compare=False)

    def __bool__(self) -> bool:
        """Whether there is something to be done."""
        return bool(self.operations)

    def apply(self, progress: Progress | None = None) -> JailInfo | None:
        """Carry it out; return the jail, or None where it is gone. Raise ``busy.locked``, ``conflict.plan-aged`` (it
        has changed meanwhile: plan again), ``io.*``, ``interrupted.*`` and what operations raise."""
        return self._host._apply(self._inner, progress)


class Jails(Mapping[str, JailInfo]):
    """The jails of a host by name. ``host.jails["alice"]`` raises KeyError where there is none, as all mappings do.
    Each look reads the host anew; names cost one query, however many jails there are."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __getitem__(self, name: str) -> JailInfo:
        try:
            return self._host._inner.show(name)
        except JailkitError as error:
            if error.code in ("missing.jail", "invalid.user-name"):
                raise KeyError(name) from None
            raise

    def __iter__(self) -> Iterator[str]:
        state = self._host._inner.known_state
        return iter(state.names() if state else [])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        state = self._host._inner.known_state
        return isinstance(name, str) and state is not None and state.get(name) is not None

    def of_plan(self, plan: str) -> list[str]:
        """Names of the jails that have a plan; the cost does not grow with the jails of others."""
        state = self._host._inner.known_state
        return state.names(plan) if state else []


class Plans(Mapping[str, PlanSpec]):
    """What jails are sold as, by name: ``/etc/jailctl/plans.d``."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def __getitem__(self, name: str) -> PlanSpec:
        try:
            return plans.get(self._paths, name)
        except JailkitError as error:
            if error.code in ("missing.plan", "invalid.plan-name"):
                raise KeyError(name) from None
            raise

    def __iter__(self) -> Iterator[str]:
        return iter(plans.names(self._paths))

    def __len__(self) -> int:
        return len(plans.names(self._paths))


class Host:
    """One host. ``with Host.open() as host:`` closes what it holds (a connection to SQLite). Root only: without,
    ``denied.root``."""

    def __init__(self, root: str = "/") -> None:
        """root: absolute directory below which jailkit's own files are; accounts, sshd and PAM stay the host's."""
        self._paths = Paths(root)
        self._lock = threading.Lock()
        self._made = inner.Host(self._paths)
        self._pid = os.getpid()
        self.jails = Jails(self)
        self.plans = Plans(self._paths)

    @classmethod
    def open(cls, root: str = "/") -> Self:
        """A host, which is looked at when something is asked of it."""
        return cls(root)

    def close(self) -> None:
        """Let go of the database. What is asked of it afterwards opens it again."""
        with self._lock:
            if self._pid == os.getpid():
                self._made.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _inner(self) -> inner.Host:
        """Made in this process: a connection of SQLite's must not be carried across a fork."""
        with self._lock:
            if self._pid != os.getpid():
                self._made, self._pid = inner.Host(self._paths), os.getpid()
            if self._made.known_state is not None:
                _ = self._made.config  # once, before threads ask for it
            return self._made

    def _ready(self) -> inner.Host:
        """To change something: with a database, made if need be."""
        host = self._inner
        with self._lock:
            _ = host.state, host.config
        return host

    def _apply(self, plan: inner.Plan, progress: Progress | None) -> JailInfo | None:
        return self._ready().apply(plan, progress)

    def _bound(self, plan: inner.Plan) -> Plan:
        return Plan(plan.name, plan.kind, plan.operations, plan.warnings, self, plan)

    # -- one jail

    def spec(self, name: str) -> JailSpec:
        """What the jail of ``name`` is to be, by its spec file. Raise ``missing.jail``, ``invalid.spec``."""
        return self._inner.declared(name)

    def plan(
        self, spec: JailSpec, keys: Sequence[str] = (), password: str | None = None, force: bool = False
    ) -> Plan:
        """What brings this host to ``spec``: a new jail, or a change of the one that is there; also what has drifted
        from it on the disk. Reads only.

        keys: lines of public keys, added to the spec's own. password: in clear text. force: drop an edit of the spec
        file that was never applied (else ``conflict.edited``). Raise ``invalid.*``, ``missing.*``, ``conflict.*``,
        ``unsafe.*``, ``host.*``: every refusal comes here, before anything is touched."""
        return self._bound(self._inner.plan(spec, keys, password, force))

    def plan_removal(self, name: str, keep_home: bool = False, archive: str | None = None) -> Plan:
        """How the jail of ``name`` goes. keep_home: the home stays, as root's. archive: absolute path of a tar (.tar,
        .tar.gz) that its home is written to first. Raise ``missing.jail``, ``conflict.*``, ``busy.mounted``."""
        return self._bound(self._inner.plan_remove(name, keep_home, archive))

    def add_user(
        self, name: str, *, keys: Sequence[str] = (), password: str | None = None, password_hash: str | None = None,
        limits: Limits | Mapping[str, Any] | None = None, **settings: Any,
    ) -> JailInfo:  # fmt: skip
        """Give a user a jail, making the account. Repeated with the same arguments, it changes nothing.

        keys: lines of public keys. password: in clear text; or password_hash: as crypt(5) writes it. limits: as
        ``{"memory": "512M"}``. settings: other fields of JailSpec (template, plan, shell, network, linger, expires,
        existing ...). Raise ``conflict.differs`` where there is such a jail with other settings (:meth:`set` changes
        it), ``conflict.account-exists``, ``invalid.spec``, ``invalid.key*``, ``missing.*``."""
        spec = _spec({"user": user_name(name), **settings, **_limits(limits)})
        secret = _password(password, password_hash)
        require_gates(self._inner, [(spec, secret)])
        done = self._apply(self._inner.plan_add(spec, keys, secret), None)
        assert done is not None
        return done

    def set(
        self, name: str, *, keys: Sequence[str] | None = None, password: str | None = None,
        password_hash: str | None = None, limits: Limits | Mapping[str, Any] | None = None, **changes: Any,
    ) -> JailInfo:  # fmt: skip
        """Change what a jail is to be; what is not named stays. None: back to the default, in ``limits`` as well, whose
        names are changed one by one (a Limits as a whole). Running jails get limits and keys at once. Two that change
        the same jail at once come one after the other.

        Raise ``missing.jail``, ``invalid.spec``, ``conflict.unchangeable``, ``conflict.level``."""

        def changed(spec: JailSpec) -> JailSpec:
            data = spec.data()
            if isinstance(limits, Limits):
                data["limits"] = limits.model_dump(exclude_none=True)
            elif limits is not None:
                data["limits"] = {**data.get("limits", {}), **limits}
            if keys is not None:
                data["keys"] = []
            return _spec({**data, **changes})

        return self._changed(name, changed, keys or (), _password(password, password_hash))

    def suspend(self, name: str, message: str = SUSPENDED) -> JailInfo:
        """End all that runs in a jail and refuse every login, saying ``message``; data stays. Works whatever state
        template and image are in. Raise ``missing.jail``, ``invalid.spec`` for a message of more than one line."""
        return self._changed(name, lambda spec: _spec({**spec.data(), "suspended": message}))

    def resume(self, name: str) -> JailInfo:
        """Let the user of a suspended jail log in again. Raise ``missing.jail``."""
        return self._changed(name, lambda spec: _spec({**spec.data(), "suspended": None}))

    def _changed(
        self, name: str, change: Callable[[JailSpec], JailSpec], keys: Sequence[str] = (), password: str | None = None
    ) -> JailInfo:
        host = self._ready()
        with host.turn(name):
            spec = change(host.declared(name))
            require_gates(host, [(spec, password)])
            done = host.apply(host.plan(spec, keys, password))
        assert done is not None
        return done

    def remove_user(
        self, name: str, *, keep_home: bool = False, archive: str | None = None, missing_ok: bool = False
    ) -> bool:
        """End a user's sessions and remove jail, account and home. Return False where there was nothing, which is an
        error (``missing.jail``) without ``missing_ok``. See :meth:`plan_removal`."""
        host = self._ready()
        try:
            host.apply(host.plan_remove(name, keep_home, archive))
        except JailkitError as error:
            if error.code != "missing.jail" or not missing_ok:
                raise
            return False
        return True

    # -- plans

    def set_plan(self, plan: PlanSpec, jobs: int = 2, progress: Counted | None = None) -> list[Outcome]:
        """Make a plan, or change it and the jails that have it: running ones at once, the others at their next start.
        A result for each jail. Raise ``invalid.plan``, ``io.failed``."""
        done = plans.put(self._ready(), plan, jobs, progress)
        return [Outcome(one.name, one.outcome, one.plan, one.error, one.seconds) for one in done]

    def remove_plan(self, name: str) -> None:
        """Raise ``missing.plan``, ``busy.plan-used`` while a jail has it."""
        plans.remove(self._paths, self._ready().state, name)

    # -- manifests

    def read_manifests(self, *sources: str) -> list[Manifest]:
        """Manifests of files and folders, as ``jailctl apply -f``. Raise InvalidFile with every error of all files, its
        line and its path; ``unsafe.path`` for a file that others may write."""
        return list(manifests.read(self._paths, sources).manifests.values())

    def diff(self, *wanted: Manifest, prune: bool = False) -> Iterator[Finding]:
        """How this host differs, jail by jail, field by field, and what has drifted on it; reads only."""
        want = manifests.wanted(wanted)
        changes = manifests.plan_changes(self._inner, want, prune)
        yield from manifests.findings(self._inner, want, prune, changes)

    def apply(
        self, *wanted: Manifest, jobs: int = 2, policy: Literal["mend", "report"] = "mend", prune: bool = False,
        keep_home: bool = False, progress: Counted | None = None, each: Callable[[Outcome], None] | None = None,
        stop: Event | None = None,
    ) -> list[Outcome]:  # fmt: skip
        """Make this host as manifests say. A result for each plan and each jail; one that fails stops no other: look at
        ``result.error``.

        jobs: how many things are done at once. policy: what has drifted on the host is put right ("mend") or is an
        error of that jail (``conflict.drift``). prune: remove what came from manifests of these names and is in them no
        more; keep_home: their homes stay. each: called with each result as it comes. stop: set it from elsewhere to end
        after the jails in hand. Raise ``invalid.manifest``, ``denied.root``, ``io.state``."""
        want = manifests.wanted(wanted)
        require_gates(self._inner, want.jails.values())
        done = []
        for one in manifests.apply(self._ready(), want, Options(jobs, policy, prune, keep_home), progress, stop):
            done.append(one)
            if each is not None:
                each(one)
        return done

    def recover(self) -> list[str]:
        """Finish or undo what was interrupted, of all jails; their names. Calls about a jail do so by themselves."""
        return self._ready().recover()


def require_gates(host: inner.Host, asked: Iterable[Asked]) -> None:
    """See gates.require. Raise ``host.not-set-up``; ``invalid.user-name`` for a name of setup's own."""
    from .login import gates, verify

    missing = gates.not_set_up(host.paths)
    for spec, password in asked:
        verify.require_other_name(spec.user)
        gates.require(missing, spec.user, password is not None, spec.existing and host.row(spec.user) is None)


def _spec(data: Mapping[str, Any]) -> JailSpec:
    given = {key: value for key, value in data.items() if value is not None}
    return validate(JailSpec, given, _WHERE, "invalid.spec")


def _limits(limits: Limits | Mapping[str, Any] | None) -> dict[str, Any]:
    if limits is None:
        return {}
    return {"limits": limits.model_dump(exclude_none=True) if isinstance(limits, Limits) else dict(limits)}


def _password(clear: str | None, hashed: str | None) -> str | None:
    if clear is not None and hashed is not None:
        raise JailkitError("usage.password", "password and password_hash exclude each other", "leave one out")
    if hashed is None:
        return clear
    try:
        return Hash(check_hash(hashed))
    except ValueError as error:
        raise JailkitError("invalid.password", f"password_hash {error}", "mkpasswd -m yescrypt") from None


__all__ = ["Host", "Jails", "Plan", "Plans"]
