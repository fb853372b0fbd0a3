"""Manifests made true: plans first, then jails added and changed, then, where it is asked for, removed what only an
earlier state of the manifest had.

It may be killed at any point: every jail has its own journal, and what the next run does follows from what it finds.
What is the same costs reading only."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InvalidFile, JailkitError, together
from ..paths import Paths
from ..spec import document, load
from ..spec import manifest as specs
from ..spec.document import Document
from ..spec.jail import JailSpec
from ..spec.jail import changes as changed_fields
from ..spec.manifest import Manifest, Read
from ..spec.plan import PlanSpec
from . import keys, plans, spread
from .batch import Result
from .passwords import Hash
from .survey import Asked, Difference, Finding

if TYPE_CHECKING:
    from .host import Host

Policy = Literal["mend", "report"]
"""What becomes of drift: put right, or told as a conflict, the jail left as it is."""
Progress = Callable[[int, int | None, str], None]
"""Jails that are done, how many there are (None: not known yet), what is being done."""


@dataclass(frozen=True)
class Options:
    """jobs: how many things are done at once. prune: remove jails and plans that were of these manifests and are in
    them no more; keep_home: their homes stay, as root's."""

    jobs: int = 2
    policy: Policy = "mend"
    prune: bool = False
    keep_home: bool = False


@dataclass(frozen=True)
class Outcome(Result):
    """What became of one jail, and why: its differences before. what: "jail" or "plan"."""

    differences: tuple[Difference, ...] = ()
    what: str = "jail"


@dataclass(frozen=True)
class PlanChange:
    """A plan's file. kind: "add", "change", "same", "remove" or "refused"."""

    name: str
    kind: str
    differences: tuple[Difference, ...] = ()
    error: JailkitError | None = None


@dataclass
class Wanted:
    """All that some manifests want of this host. jails: specs with their passwords' hashes."""

    jails: dict[str, Asked] = field(default_factory=dict)
    plans: dict[str, PlanSpec] = field(default_factory=dict)
    names: tuple[str, ...] = ()


def read(paths: Paths, sources: Iterable[str], stdin: Callable[[], bytes] | None = None) -> Read:
    """Manifests of files and folders; "-" is ``stdin()``. What is wrong with all of them is said at once, also a plan
    that neither they nor this host have.

    Raise InvalidFile, ``missing.manifest``, ``unsafe.path``."""
    documents: list[Document] = []
    failures: list[InvalidFile] = []
    for source in dict.fromkeys(sources):
        try:
            if source == "-":
                data = stdin() if stdin else b""
                kind = document.kind_of(data[: 1 << 16].decode(errors="replace"))
                documents.append(document.read(data, "(standard input)", kind))
                continue
            for path in specs.files(source):
                documents.append(specs.load_file(path))
        except InvalidFile as failure:
            failures.append(failure)
    try:
        found = specs.read(documents, keys.normalise)
    except InvalidFile as failure:
        failures.append(failure)
    if failures:
        raise together(failures)
    _require_plans(paths, found)
    return found


def _require_plans(paths: Paths, found: Read) -> None:
    here = set(plans.names(paths))
    wrong: dict[str, list[document.Error]] = {}
    for manifest in found.manifests.values():
        for name in manifest.jails:
            plan = manifest.spec(name).plan
            if plan is not None and plan not in here and ("plans", plan) not in found.owners:
                source = found.owners["jails", name]
                path = ("jails", name, "plan")
                wrong.setdefault(source.file, []).append((path, source.line(path), f"there is no plan {plan}"))
    if wrong:
        hint = "jailctl plan list shows those of this host"
        raise together([document.refusal(file, errors, hint) for file, errors in wrong.items()])


def wanted(manifests: Iterable[Manifest]) -> Wanted:
    """Raise ``invalid.manifest`` for a jail or a plan that is in two of them."""
    found = Wanted()
    for manifest in manifests:
        twice = [*(manifest.jails.keys() & found.jails.keys()), *(manifest.plans.keys() & found.plans.keys())]
        if twice or manifest.name in found.names:
            what = sorted(twice)[0] if twice else manifest.name
            raise JailkitError("invalid.manifest", f"{what} is in two manifests", "leave it in one")
        found.names = (*found.names, manifest.name)
        for name, jail in manifest.jails.items():
            password = Hash(jail.password_hash) if jail.password_hash is not None else None
            found.jails[name] = manifest.spec(name), password
        for name in manifest.plans:
            found.plans[name] = manifest.plan(name)
    return found


def plan_changes(host: Host, want: Wanted, prune: bool) -> list[PlanChange]:
    """What is to be done to the files of plans; reads only."""
    made = [_plan_change(host.paths, plan) for plan in want.plans.values()]
    for name in plans.names(host.paths) if prune else ():
        if name not in want.plans:
            have = plans.find(host.paths, name)
            if have is not None and have.manifest in want.names:
                made.append(PlanChange(name, "remove"))
    return made


def _plan_change(paths: Paths, want: PlanSpec) -> PlanChange:
    try:
        have = plans.find(paths, want.name)
        if have is not None and have.manifest not in (None, want.manifest):
            raise JailkitError(
                "conflict.manifest", f"{want.name} is a plan of manifest {have.manifest}, not of {want.manifest}",
                "leave it in one of them",
            )  # fmt: skip
    except JailkitError as error:
        return PlanChange(want.name, "refused", error=error)
    if have is None:
        return PlanChange(want.name, "add")
    rows = tuple(plan_differences(have, want))
    return PlanChange(want.name, "change" if rows else "same", rows)


def plan_differences(have: PlanSpec, want: PlanSpec) -> Iterator[Difference]:
    for name, old, new in changed_fields(have, want):
        yield Difference(name, old, new)


def findings(
    host: Host, want: Wanted, prune: bool = False, changes: Iterable[PlanChange] = (), jobs: int = 1,
    brief: bool = False,
) -> Iterator[Finding]:  # fmt: skip
    """How the jails stand, those that would be removed last; reads only. changes: what is to be done to plans, which is
    taken as done; with it, jails of theirs that are in no manifest of these. jobs, brief: see spread.findings."""
    new = {each.name: want.plans[each.name] for each in changes if each.kind in ("add", "change")}
    paths = load.Drafted(host.paths.root, new) if new else host.paths
    jails = [*want.jails.values(), *_others(host, want, new)]
    yield from spread.findings(paths, host.config, host.known_state, jails, jobs, brief)
    for name in gone(host, want) if prune else ():
        yield Finding(name, "remove")


def _others(host: Host, want: Wanted, changed: Iterable[str]) -> Iterator[tuple[JailSpec, None]]:
    """Jails of changed plans which are in no manifest of these."""
    state = host.known_state
    for plan in sorted(changed) if state else ():
        for name in state.names(plan) if state else ():
            row = state.get(name) if state and name not in want.jails else None
            if row is not None:
                yield JailSpec.model_validate(row.spec), None


def conflict(finding: Finding | PlanChange) -> JailkitError | None:
    """What policy "report" says of a jail that has drifted."""
    fields = ", ".join(each.field for each in finding.differences if each.drift)
    if not fields or finding.kind != "change":
        return None
    text = f"{finding.name} was changed on this host: {fields}"
    return JailkitError("conflict.drift", text, "--policy mend puts it right")


def gone(host: Host, want: Wanted) -> list[str]:
    """Jails that were of these manifests and are in them no more."""
    state = host.known_state
    found = itertools.chain.from_iterable(state.of_manifest(name) for name in want.names) if state else ()
    return sorted(name for name in found if name not in want.jails)


def apply(
    host: Host, want: Wanted, options: Options = Options(), progress: Progress | None = None, stop: Event | None = None
) -> Iterator[Outcome]:
    """Make manifests true; an outcome for each plan and each jail, as they are done. One that fails stops no other.

    stop: when it is set, the jails in hand are ended, and nothing further is begun. Raise ``denied.root``,
    ``io.state``."""
    run = _Run(host, want, options, progress or (lambda done, total, text: None), stop or Event())
    yield from run.everything()


class _Run:
    def __init__(self, host: Host, want: Wanted, options: Options, progress: Progress, stop: Event) -> None:
        self._host, self._want, self._options = host, want, options
        self._progress, self._stop = progress, stop
        self._differences: dict[str, tuple[Difference, ...]] = {}
        self._done, self._count = 0, len(want.jails)

    def everything(self) -> Iterator[Outcome]:
        host, want, options = self._host, self._want, self._options
        changes = plan_changes(host, want, options.prune)
        for change in changes:
            if change.kind != "remove":
                yield self._plan(change)
        todo: list[Asked] = []
        for finding in findings(host, want, False, changes, options.jobs, True):
            if self._stop.is_set():
                return
            outcome = self._untouched(finding)
            if outcome is not None:
                self._told(1)
                yield outcome
                continue
            if finding.kind != "add":
                self._differences[finding.name] = finding.differences
            assert finding.asked is not None
            todo.append(finding.asked)
        yield from self._carry_out(todo)
        if options.prune and not self._stop.is_set():
            yield from self._prune([change.name for change in changes if change.kind == "remove"])

    def _untouched(self, finding: Finding) -> Outcome | None:
        """The outcome of a jail that is left as it is; None where there is something to be done."""
        error = finding.error
        if self._options.policy == "report":
            error = error or conflict(finding)
        if error is not None:
            return Outcome(finding.name, "failed", error=error, differences=finding.differences)
        return Outcome(finding.name, "same") if finding.kind == "same" else None

    def _plan(self, change: PlanChange) -> Outcome:
        if change.kind in ("add", "change"):
            try:
                plans.write(self._host.paths, self._want.plans[change.name])
            except OSError as error:
                failure = JailkitError("io.failed", f"{error.filename}: {error.strerror}", "df -h; df -i")
                return Outcome(change.name, "failed", error=failure, what="plan")
        outcomes: dict[str, Any] = {"add": "added", "change": "changed", "same": "same", "refused": "failed"}
        return Outcome(
            change.name, outcomes[change.kind], error=change.error, differences=change.differences, what="plan"
        )

    def _carry_out(self, todo: list[Asked]) -> Iterator[Outcome]:
        if not todo or self._stop.is_set():
            return
        force = self._options.policy == "mend"
        done = self._host.add_many(todo, self._options.jobs, self._within, self._stop, force)
        yield from self._outcomes(done)

    def _prune(self, doomed_plans: list[str]) -> Iterator[Outcome]:
        host, options = self._host, self._options
        names = gone(host, self._want)
        self._count += len(names)
        yield from self._outcomes(
            host.remove_many(names, options.keep_home, None, options.jobs, self._within, self._stop)
        )
        for name in doomed_plans:
            try:
                plans.remove(host.paths, host.state, name)
                yield Outcome(name, "removed", what="plan")
            except JailkitError as error:
                yield Outcome(name, "failed", error=error, what="plan")

    def _outcomes(self, results: Iterable[Result]) -> Iterator[Outcome]:
        for one in results:
            self._told(1)
            rows = self._differences.pop(one.name, ())
            yield Outcome(one.name, one.outcome, one.plan, one.error, one.seconds, rows)

    def _told(self, number: int) -> None:
        self._done += number
        self._progress(self._done, self._count, "")

    def _within(self, done: int, total: int | None, text: str) -> None:
        if text:
            self._progress(self._done, self._count, text)
