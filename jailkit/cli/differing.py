"""What ``jailctl apply --dry-run`` and ``jailctl diff -f`` share: reading manifests, and showing how a host differs."""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import JailkitError
from .output import Settings, counted, escape, paint, plain, problem, say
from .progress import Progress

if TYPE_CHECKING:
    from ..paths import Paths
    from ..provision.host import Host
    from ..provision.manifests import PlanChange, Wanted
    from ..provision.survey import Difference, Finding
    from ..spec.manifest import Read

_SIGNS = {"add": ("+", "32"), "change": ("~", "33"), "resume": ("~", "33"), "remove": ("-", "31"),
          "refused": ("x", "31"), "drift": ("!", "35")}  # fmt: skip
_WORDS = {"add": "new", "resume": "an interrupted change is ended first", "remove": "is in no manifest any more"}


def read(settings: Settings, paths: Paths, sources: Iterable[str]) -> Read:
    """The manifests that the command line names."""
    from ..provision import manifests
    from ..spec.document import LIMIT

    with Progress(settings, "reading manifests"):
        return manifests.read(paths, sources, lambda: sys.stdin.buffer.read(LIMIT + 1))


def show(settings: Settings, host: Host, want: Wanted, prune: bool, policy: str = "mend", jobs: int = 2) -> int:
    """Print how this host differs; return the exit number: that of a refusal or a conflict, if there is one."""
    from ..provision import manifests
    from . import applying

    counts: Counter[str] = Counter()
    failures: list[JailkitError] = []
    with Progress(settings, "comparing this host with the manifests") as progress:
        changes = manifests.plan_changes(host, want, prune)
        rows: Iterable[Finding | PlanChange] = itertools.chain(
            changes, manifests.findings(host, want, prune, changes, jobs)
        )
        for each in rows:
            if policy == "report" and (error := manifests.conflict(each)) is not None:
                failures.append(error)
            if each.error is not None:
                failures.append(each.error)
            counts[each.kind] += 1
            _one(settings, progress, each)
    summary = {kind: counts[kind] for kind in ("add", "change", "resume", "remove", "refused", "same")}
    if settings.json:
        line({"summary": {**summary, "dry_run": True}})
    elif sum(counts.values()) == counts["same"]:
        say(settings, f"No changes: {counted(len(want.jails), 'jail')} as they should be.")
    else:
        words = {"add": "to add", "change": "to change", "resume": "to resume", "remove": "to remove"}
        told = [f"{number} {words.get(kind, kind)}" for kind, number in summary.items() if number]
        say(settings, f"\n{', '.join(told)}. Nothing was changed.")
    return applying.exit_number(failures)


def _one(settings: Settings, progress: Progress, each: Finding | PlanChange) -> None:
    from ..provision.survey import Finding

    what = "jail" if isinstance(each, Finding) else "plan"
    if settings.json:
        operations = each.plan.operations if isinstance(each, Finding) and each.plan else ()
        rows = [difference.data() for difference in each.differences]
        error = problem(each.error) if each.error else None
        steps = [operation.public() for operation in operations]
        line({"what": what, "name": each.name, "kind": each.kind, "differences": rows, "operations": steps,
              "error": error})  # fmt: skip
        return
    if each.kind == "same" or settings.quiet:
        return
    progress.clear()
    sign, color = _SIGNS[each.kind]
    label = f"plan {each.name}" if what == "plan" else each.name
    word = each.error.message if each.error else _WORDS.get(each.kind, "")
    say(settings, f"{paint(sign, color)} {escape(label)}{f': {escape(word)}' if word else ''}")
    differences(settings, each.differences)


def differences(settings: Settings, rows: Sequence[Difference]) -> None:
    """A line a field: what is, and what is to be; drift with a sign of its own."""
    width = max((len(row.field) for row in rows), default=0)
    for row in rows:
        sign, color = _SIGNS["drift"] if row.drift else (" ", "0")
        start = f"  {paint(sign, color)} {row.field:<{width}}  "
        if row.field == "password":
            say(settings, f"{start}{paint('another one', '32')}")
        elif row.field.startswith("etc/"):
            say(settings, f"{start}{paint('another content', '32')}")
        elif row.have is None:
            say(settings, f"{start}{paint(shown(row.field, row.want), '32')}")
        else:
            have, want = (shown(row.field, value) for value in (row.have, row.want))
            say(settings, f"{start}{paint(have, '31')} → {paint(want, '32')}")


def shown(field: str, value: Any) -> str:
    """A value on one line; keys by their comments."""
    if value is None:
        return "(none)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        key = field in ("keys", "key-file", "spec-file.keys")
        items = [(" ".join(str(item).split(" ")[2:]) or str(item)[-16:]) if key else str(item) for item in value]
        return escape(", ".join(items)) or "(none)"
    return escape(value)


def line(value: object) -> None:
    """One JSON value on a line of its own: of ten thousand, each can be read as it comes."""
    print(json.dumps(plain(value), ensure_ascii=True), flush=True)
