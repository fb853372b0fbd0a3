"""The host as provisioning sees it: plans, applies, recovers, lists. Typed; prints nothing, exits nowhere.

host = Host(Paths())
plan = host.plan_add(settings.jail_spec("alice"), keys=["ssh-ed25519 AAAA... alice@laptop"])
for operation in plan.operations:
    print(operation.describe(), "-", operation.why)
alice = host.apply(plan)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain, islice
from typing import Any, TypeVar

from ..errors import JailkitError
from ..names import user_name
from ..paths import Paths
from ..spec import load
from ..spec.config import Config
from ..spec.jail import JailSpec
from . import batch, files, inspect, layout, limits, passwords, plan, refuse, rename, resolve, suspension
from .apply import Applier, Boundary, Progress, past_return
from .asked import Add, Plan, Remove, answer, archive_of, key, resumed, with_keys
from .backup import target
from .batch import Progress as BatchProgress
from .batch import Result, Stop, Task
from .crew import WORTH
from .info import JailInfo, info
from .lock import locked
from .lookup import LIVE
from .operations import KeepHome, from_data
from .request import Request
from .state import OpenPlan, Row, State
from .view import View

__all__ = ["Host", "Plan"]
T = TypeVar("T")
_HALF_DONE = ("interrupted.phase", "conflict.group-exists", "conflict.account-exists")
"""How another process's addition of the same jail looks while it is under way."""


class Host:
    """Everything that provisioning does on one host. Root only. Raises JailkitError."""

    def __init__(self, paths: Paths | None = None) -> None:
        self.paths = paths or Paths()
        self._state: State | None = None
        self._config: Config | None = None

    @property
    def known_state(self) -> State | None:
        """:attr:`state` if there is one: a look at a host changes nothing on it."""
        return self.state if self._state is not None or os.path.exists(self.paths.state_db) else None

    def _opened(self, name: str) -> OpenPlan | None:
        state = self.known_state
        return state.open_plan(name) if state else None

    def row(self, name: str) -> Row | None:
        state = self.known_state
        return state.get(name) if state else None

    def there(self, name: str) -> Row:
        """Raise ``missing.jail``."""
        row = self.row(user_name(name))
        if row is None:
            raise JailkitError("missing.jail", f"there is no jail of {name}", "jailctl list shows all")
        return row

    @property
    def config(self) -> Config:
        """The options of jailctl.toml. Raise ``invalid.config``, ``unsafe.path``."""
        if self._config is None:
            self._config = load.config(self.paths)
        return self._config

    @property
    def state(self) -> State:
        """The state database, made on first use. Raise ``denied.root``, ``io.state``."""
        if self._state is None:
            if os.geteuid() != 0:
                raise JailkitError("denied.root", "only root may see or change jails", "sudo jailctl ...")
            try:
                if os.path.exists(self.paths.state_db):  # who changes something makes what is missing, under its lock
                    files.directory(self.paths.var, layout.modes(self.paths)[self.paths.var])
                else:
                    layout.ensure(self.paths)
            except OSError as error:
                raise JailkitError(
                    "io.failed", f"{error.filename}: {error.strerror}", "df -h; jailctl doctor"
                ) from None
            self._state = State(self.paths.state_db)
        return self._state

    def close(self) -> None:
        if self._state is not None:
            self._state.close()
            self._state = None

    # -- plans

    def plan_add(self, spec: JailSpec, keys: Sequence[str] = (), password: str | None = None) -> Plan:
        """How ``spec`` comes true; reads only. keys: lines of public keys, added to the spec's own.

        An empty plan: it is true already. Raise ``conflict.differs`` for a jail that is another one; the refusals of
        refuse.py; ``invalid.key*``, ``invalid.password``, ``missing.template``, ``invalid.template``."""
        hashed = passwords.hash_password(password) if password is not None else None
        return self._plan(Add(with_keys(spec, keys), password, hashed))

    def plan(self, spec: JailSpec, keys: Sequence[str] = (), password: str | None = None, force: bool = False) -> Plan:
        """What brings this host to ``spec``, a new jail or a change of the one that is there; reads only. Also what has
        drifted from it on the disk is put right. An empty plan: it is so already.

        keys: lines of public keys, added to the spec's own. password: the one to log in with from now on. force: drop
        what was edited in the spec file and never applied, and end sessions where the home moves. Raise as
        :meth:`plan_add`, but ``conflict.edited`` in place of ``conflict.differs``; ``conflict.unchangeable``,
        ``conflict.level``, ``busy.sessions``."""
        hashed = passwords.hash_password(password) if password is not None else None
        return self._plan(Add(with_keys(spec, keys), password, hashed, True, force))

    def plan_rename(self, old: str, new: str, force: bool = False) -> Plan:
        """How the jail of ``old`` becomes that of ``new``: account, group, home, spec, keys; uid and range stay. Reads
        only. force: end its sessions. An empty plan: ``new`` was ``old`` once. Raise as rename.plan."""
        return self.asked(new, rename.Rename(user_name(old), user_name(new), force))

    def asked(self, name: str, request: Request) -> Plan:
        """How what ``request`` asks of the jail of ``name`` is done; reads only. Raise what it raises."""
        opened = self._opened(user_name(name))
        return resumed(opened, request, self._goes_back(opened, request)) if opened else request.judged(self)

    def _plan(self, request: Add) -> Plan:
        spec = request.spec
        opened = self._opened(spec.user)
        if opened is None:
            try:
                return self._judged_add(request)
            except JailkitError as error:
                if error.code not in _HALF_DONE:
                    raise
            opened = self._opened(spec.user)  # another process may have begun since we looked for its plan
        if opened is None:
            return self._judged_add(request)  # and it has ended
        return resumed(opened, request, self._goes_back(opened, request))

    def plan_remove(
        self, name: str, keep_home: bool = False, archive: str | None = None, whole: bool = False
    ) -> Plan:  # fmt: skip
        """How the jail of ``name`` goes; reads only. archive: absolute path of a tar (.tar, .tar.gz, .tar.zst) of the
        home; whole: of a backup, which restores the jail.

        Raise ``missing.jail``, ``conflict.*``, ``busy.mounted``, ``unsafe.*``, ``usage.*``."""
        name = user_name(name)
        request = Remove(keep_home, archive, whole)
        opened = self._opened(name)
        if opened is not None:
            self._judged_before(opened, request)
            return resumed(opened, request, self._goes_back(opened, request))
        return self._judged_remove(name, request)

    def _judged_add(self, request: Add, view: View | None = None) -> Plan:
        try:
            return self._judged_whole(request, view)
        except JailkitError as error:
            row = view.rows.get(request.spec.user) if view else self.row(request.spec.user)
            made = suspension.plan(self.paths, row, request.spec, error)
            if made is None or not request.change:
                raise
        return answer(made, request)

    def _judged_whole(self, request: Add, view: View | None = None) -> Plan:
        spec = request.spec
        settled = resolve.settled(self.paths, self.config, spec)
        assert settled.template is not None
        template, image = (view.template if view else resolve.template)(self.paths, settled.template)
        row = view.rows.get(spec.user) if view else self.row(spec.user)
        look, able, memo = (view.look, view.able, view.memo) if view else (LIVE, None, None)
        facts = inspect.for_add(self.paths, self.config, row, spec, template, image, request.password, look, able, memo)
        if request.change:
            made = plan.plan_change(spec, template.spec, self.config, facts, request.hashed, request.force)
        else:
            made = plan.plan_add(spec, template.spec, self.config, facts, request.hashed)
        return answer(made, request)

    @staticmethod
    def _judged_before(opened: OpenPlan, request: Add | Remove | Request | None) -> None:
        """What can be refused before an interrupted plan is ended, as a refused call should change nothing."""
        if isinstance(request, Remove):
            refuse.remove_options(request.keep_home, request.archive)
            if request.archive is not None and request.archive != archive_of(opened):
                target.check(request.archive)

    def _goes_back(self, opened: OpenPlan, request: Add | Remove | Request | None) -> bool:
        """Whether an interrupted plan is undone rather than finished: an addition that is to be removed now and that
        let nobody in, or a removal that has destroyed nothing and is asked for in another way (``--keep-home`` after
        all)."""
        if opened.kind == "backup" or opened.direction == "back":
            return True
        if not isinstance(request, Remove) or opened.kind == "rename" or past_return(self.paths, opened):
            return False
        if opened.kind != "remove":
            return True
        keeps = any(isinstance(from_data(data), KeepHome) for data, _, _ in opened.steps)
        return (archive_of(opened), keeps) != (request.archive, request.keep_home)

    def _judged_remove(self, name: str, request: Remove, view: View | None = None) -> Plan:
        row, look = (view.rows.get(name), view.look) if view else (self.row(name), LIVE)
        facts = inspect.for_remove(self.paths, self.config, row, name, look)
        made = plan.plan_remove(name, facts, request.keep_home, request.archive, request.whole)
        if request.archive is not None:
            target.check(request.archive)
        return answer(made, request)

    # -- doing

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Around what is read of a jail, changed and applied as a whole: who does the same meanwhile waits, so that
        neither's change is lost. :meth:`apply` takes the jail's own lock inside. Raise ``missing.jail``,
        ``busy.locked``."""
        with locked(self.paths, self.there(name).name, turn=True):
            yield

    def apply(self, plan: Plan, progress: Progress | None = None, boundary: Boundary | None = None) -> JailInfo | None:
        """Carry out ``plan`` under the jail's lock; return the jail, or None when it is gone.

        progress: called before each step. boundary: for crash tests, see apply.py. The facts are read again first:
        steps that have become unnecessary are left out, and a plan that has become another one is refused with
        ``conflict.plan-aged``. Raise ``busy.locked``, ``io.*``, ``interrupted.*`` and what operations raise."""
        if plan.request is None:
            raise JailkitError("internal.plan", "this plan was not made by a Host")
        with ExitStack() as locks:
            for name in sorted({plan.name, *getattr(plan.request, "others", ())}):
                locks.enter_context(locked(self.paths, name))
            applier = Applier(self.paths, self.config, self.state, plan.name, progress, boundary)
            fresh = self._aged(plan, applier)
            if fresh.operations:
                applier.begin(fresh.kind, fresh.operations)
            plan.results.update(applier.results)
        row = self.state.get(plan.name)
        return info(self.paths, row) if row else None

    def _aged(self, plan: Plan, applier: Applier) -> Plan:
        """The plan as the facts are now. An interrupted one is ended first."""
        request = plan.request
        opened = self.state.open_plan(plan.name)
        if opened is not None:
            self._judged_before(opened, request)
            if self._goes_back(opened, request):
                applier.undo()
            else:
                applier.resume()
        if isinstance(request, Add):
            fresh = self._judged_add(request)
        elif not isinstance(request, Remove):
            assert request is not None
            ended = opened is not None and not self._goes_back(opened, request) and request.is_that(opened)
            fresh = replace(plan, operations=()) if ended else request.judged(self)
        else:
            if opened is not None and self.state.get(plan.name) is None:
                return replace(plan, operations=())  # what was to be removed is gone with the interrupted plan
            fresh = self._judged_remove(plan.name, request)
        if opened is None and not set(map(key, fresh.operations)) <= set(map(key, plan.operations)):
            raise JailkitError(
                "conflict.plan-aged", f"what is to be done to {plan.name} has changed meanwhile", "run it again"
            )
        return fresh

    def add_many(
        self, requests: Iterable[tuple[JailSpec, str | None]], jobs: int = 2, progress: BatchProgress | None = None,
        stop: Stop | None = None, force: bool = False, boundary: Boundary | None = None,
    ) -> Iterator[Result]:  # fmt: skip
        """Bring this host to many specs (each with a password, or None), as :meth:`plan` and :meth:`apply` would one by
        one, some hundreds at a time; see batch.py. requests: read as they are needed. jobs: how many things are
        done at once. progress, stop: see batch.Progress; asked between chunks.

        A jail that fails stops no other: its result holds the error. Raise ``denied.root``, ``io.state``."""
        yield from self._many(
            "add_many", requests, lambda item: item[0].user, {"force": force},
            lambda item: self._add_task(*item, force), jobs, progress, stop, boundary,
        )  # fmt: skip

    def follow_many(
        self, names: Iterable[str], jobs: int = 2, progress: BatchProgress | None = None, stop: Stop | None = None
    ) -> Iterator[Result]:
        """Bring many jails to what their spec files say when their turn comes, after a change of what those refer to;
        see :meth:`add_many`. A jail that is gone by then has failed."""
        yield from self._many("follow_many", names, str, {}, self._follow_task, jobs, progress, stop)

    def remove_many(
        self, names: Iterable[str], keep_home: bool = False, archive: Callable[[str], str] | None = None, jobs: int = 2,
        progress: BatchProgress | None = None, stop: Stop | None = None, boundary: Boundary | None = None,
    ) -> Iterator[Result]:  # fmt: skip
        """Remove many jails; see :meth:`add_many` and :meth:`plan_remove`. archive: the file for the home of a name."""
        yield from self._many(
            "remove_many", names, str, {"keep_home": keep_home},
            lambda name: self._remove_task(name, keep_home, archive(name) if archive else None),
            jobs, progress, stop, boundary, archive is None,
        )  # fmt: skip

    def _many(
        self, method: str, items: Iterable[T], name: Callable[[T], str], options: dict[str, Any],
        task: Callable[[T], Task], jobs: int, progress: BatchProgress | None, stop: Stop | None,
        boundary: Boundary | None = None, elsewhere: bool = True,
    ) -> Iterator[Result]:  # fmt: skip
        """``task`` of each item; where they are many, by ``method`` with ``options`` in processes of their own.
        elsewhere: it can be done there."""
        total, state, left = batch.length(items), self.state, iter(items)
        head = list(islice(left, WORTH)) if jobs > 1 and boundary is None and elsewhere else []
        left = chain(head, left)
        if len(head) == WORTH:
            yield from batch.spread(self.paths.root, method, left, name, options, jobs, progress, stop, total)
            return
        made = batch.Batch(self.paths, self.config, state, jobs, progress, stop, boundary)
        yield from made.run(map(task, left), total)

    def _add_task(self, spec: JailSpec, password: str | None, force: bool) -> Task:
        hashed: list[str] = []

        def prepare(there: bool) -> None:
            have = (LIVE.password_field(spec.user) or "") if there else ""
            if password is not None and not passwords.matches(password, have):
                hashed.append(passwords.hash_password(password))

        def judge(view: View) -> Plan:
            return self._judged_add(Add(with_keys(spec, ()), password, next(iter(hashed), None), True, force), view)

        def alone() -> Plan:
            plan = self.plan(spec, password=password, force=force)
            self.apply(plan)
            return plan

        return Task(spec.user, judge, alone, prepare if password is not None else None)

    def _follow_task(self, name: str) -> Task:
        def judge(view: View) -> Plan:
            return self._judged_add(Add(with_keys(self.declared(name), ()), None, None, True), view)

        def alone() -> Plan:
            with self.turn(name):
                plan = self.plan(self.declared(name))
                self.apply(plan)
                return plan

        return Task(name, judge, alone)

    def _remove_task(self, name: str, keep_home: bool, archive: str | None) -> Task:
        def alone() -> Plan:
            plan = self.plan_remove(name, keep_home, archive)
            self.apply(plan)
            return plan

        def judge(view: View) -> Plan:
            return self._judged_remove(user_name(name), Remove(keep_home, archive), view)

        return Task(name, judge, alone)

    def refresh(self, name: str) -> None:
        """Make recipe and files of ``name`` anew for the image that its template's tag names now. Nothing else of the
        jail changes. Raise ``missing.jail``, ``missing.image``, ``busy.plan`` while it is being changed."""
        with locked(self.paths, name, seconds=20):
            row = self.there(name)
            if self.state.open_plan(name) is not None:
                raise JailkitError("busy.plan", f"a change of {name} is not ended", f"jailctl add-user {name}")
            resolve.refresh(self.paths, self.config, row)

    def recover(self, name: str | None = None, boundary: Boundary | None = None) -> list[str]:
        """Finish, or undo, every interrupted plan (or that of ``name``); return the names. One that another process is
        carrying out now is left to it. Raise what operations raise."""
        done = []
        state = self.known_state
        for each in state.open_names() if state else []:
            if name is not None and each != name:
                continue
            try:
                with locked(self.paths, each, seconds=0 if name is None else 60):
                    if self.state.open_plan(each) is None:
                        continue
                    Applier(self.paths, self.config, self.state, each, boundary=boundary).resume()
                    done.append(each)
            except JailkitError as error:
                if error.code != "busy.locked" or name is not None:
                    raise
        return done

    # -- looking

    def declared(self, name: str) -> JailSpec:
        """What the jail of ``name`` is to be: its spec file; where that is gone, what was applied. Raise
        ``missing.jail``, ``invalid.spec``, ``unsafe.path``."""
        applied = self.applied(name)
        try:
            return load.jail_spec(self.paths, name)[0]
        except JailkitError as error:
            if error.code != "missing.spec":
                raise
        return applied

    def applied(self, name: str) -> JailSpec:
        """The spec that was applied last. Raise ``missing.jail``."""
        return JailSpec.model_validate(self.there(name).spec)

    def list(self) -> list[JailInfo]:
        """All jails, by name."""
        state = self.known_state
        return [info(self.paths, row) for row in state.all()] if state else []

    def show(self, name: str) -> JailInfo:
        """One jail. Raise ``missing.jail``."""
        return info(self.paths, self.there(name))

    def resolved(self, name: str) -> dict[str, dict[str, Any]]:
        """Each setting and limit of a jail as its spec file, its plan and its template say now: ``{"limits.memory":
        {"value": "512M", "from": "plan small"}}``; None: no limit. Raise ``missing.jail``, ``missing.spec``,
        ``missing.plan``, ``missing.template``, ``invalid.*``."""
        spec, _ = load.jail_spec(self.paths, self.show(name).name)
        settled = resolve.settled(self.paths, self.config, spec)
        assert settled.template is not None
        template, _ = resolve.template(self.paths, settled.template)
        return limits.shown(template.spec, limits.plan_of(self.paths, spec), spec, settled.template)
