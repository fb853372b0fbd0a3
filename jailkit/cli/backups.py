"""What the verbs that write, read and copy backups share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import JailkitError
from . import many
from .output import Settings, counted, escape, note, pairs, say

if TYPE_CHECKING:
    from ..provision.host import Plan
    from ..provision.info import JailInfo

END = ".tar.zst"


def files(
    settings: Settings, words: Sequence[str], to: str | None, plan: str | None, template: str | None, every: bool
) -> tuple[list[str], Callable[[str], str]]:
    """Names of jails, and the file for each: ``NAME FILE``, or with ``--to`` any choice of jails. Raise
    ``usage.backup`` and what many.chosen raises."""
    if to is not None:
        names = many.chosen(settings, words, plan, template, every)
        stamp, directory = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), os.path.abspath(to)
        return names, lambda name: f"{directory}/{name}-{stamp}{END}"
    if len(words) != 2 or plan or template or every:
        hint = "jailctl backup alice alice.tar.zst"
        raise JailkitError("usage.backup", "give NAME FILE, or any jails and --to DIR", hint)
    path = words[1]
    if path != "-":
        path = os.path.abspath(path)
        if not path.endswith((".tar.zst", ".tzst", ".tar.gz", ".tgz", ".tar")):
            raise JailkitError("usage.backup", f"{path} does not say what it is by its ending", f"{path}{END}")
    return many.chosen(settings, words[:1], None, None, False), lambda name: path


def entry(plan: Plan, data: dict[str, Any], file: str, restore: str) -> many.Entry:
    """The JSON of one jail's backup."""
    keys = ("bytes", "sha256", "taken", "names", "files", "held", "skipped", "left_out")
    return {**data, "file": file, **{key: plan.results.get(key) for key in keys}, "restore": restore}


def show(settings: Settings, made: many.Entry) -> None:
    """What was written, and how it is brought back."""
    if not made.get("sha256"):
        return
    for line in made["left_out"]:
        note(settings, f"jailctl: note: left out: {escape(line)}")
    if made["skipped"] > len(made["left_out"]):
        note(settings, f"jailctl: note: left out: {made['skipped'] - len(made['left_out']):,} more")
    taken = {
        "frozen": "the jail was held still meanwhile", "stopped": "the jail did not run",
        "snapshot": "a copy of one moment, by shared blocks",
        "live": "the jail ran on: files that were written meanwhile may be of different moments",
    }[made["taken"]]  # fmt: skip
    if settings.quiet or settings.json:
        return
    size = f"{made['bytes']:,} bytes, of {made['held']:,} in {counted(made['files'], 'file')}"
    pairs([
        ("backup", made["file"]), ("size", size),
        ("sha256", made["sha256"]), ("taken", taken), ("restore", made["restore"]),
    ])  # fmt: skip


def report(
    settings: Settings, plan: Plan, dry_run: bool, jail: JailInfo | None, keys: Sequence[str], now: str
) -> None:  # fmt: skip
    """Of a jail that was made of another one's files. keys: of the plan's results, for JSON. now: what it is."""
    from . import provisioning

    results = {key: plan.results.get(key) for key in keys}
    told = provisioning.report(settings, plan, dry_run, {**results, "jail": jail.data() if jail else None})
    if told and jail is not None:
        say(settings, f"\n{escape(jail.name)} is {escape(now)} (uid {jail.uid}, home {escape(jail.home)}).")
        say(settings, f"Log in with:   {provisioning.ssh_line(jail.name, jail.level)}")
