"""What the verbs of images share."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from ..output import Settings, counted, escape, say
from ..progress import Progress
from ..verb import paths_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click.shell_completion import CompletionItem

    from ...image.compare import Change
    from ...paths import Paths

_NAMES = 8
_SIGNS = {"added": "A", "changed": "C", "removed": "D"}


def ready(settings: Settings) -> Paths:
    """The paths, with the directories of images made."""
    from ...image import store
    from ...paths import Paths

    paths = Paths(settings.root)
    store.ready(paths)
    return paths


def complete_image(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Tags, and digests once somebody began to type one."""
    from click.shell_completion import CompletionItem

    paths = paths_of(context)
    try:
        tags = [name for name in os.listdir(paths.tags) if name[0] != "."]
        digests = [name[:12] for name in os.listdir(paths.images) if name[0] != "."] if incomplete else []
    except OSError:
        return []
    return [CompletionItem(name) for name in sorted([*tags, *digests]) if name.startswith(incomplete)]


def liner(settings: Settings, progress: Progress, verbose: bool) -> Callable[[str], None]:
    """Where the lines of a build go: to the progress line, with --verbose each to the screen."""

    def line(text: str) -> None:
        if verbose:
            progress.clear()
            say(settings, escape(text))
        progress.step(text)

    return line


def say_running(settings: Settings, paths: Paths, reference: str, at_once: str = "jailctl stop NAME") -> None:
    """Who keeps another root than ``reference`` means now, and what ends that."""
    from ...provision import images

    names = [escape(jail.name) for jail in images.running_old(paths, [reference])]
    if names:
        shown = ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")
        say(settings, f"  {counted(len(names), 'running jail')} on another root, until stopped: {shown}")
        say(settings, f"  at once: {at_once}")


def say_changes(settings: Settings, found: Sequence[Change]) -> None:
    """A line each: A, added; C, changed; D, removed."""
    if not found:
        say(settings, "No differences.")
    for change in found:
        what = f"  ({escape(change.what)})" if change.what else ""
        say(settings, f"{_SIGNS[change.kind]}  {escape(change.path)}{what}")


def size(count: int) -> str:
    """Bytes for people: 1.5 MB."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError


def day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
