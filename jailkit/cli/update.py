"""``jailctl update``"""

from __future__ import annotations

import signal
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import click

from ..errors import JailkitError
from .image import common
from .output import Settings, counted, emit, escape, fail, note, say
from .progress import Progress
from .verb import complete_template, verb

if TYPE_CHECKING:
    from ..paths import Paths
    from ..provision.images import Update

_EXAMPLES = """
jailctl update                          every template that has an image
jailctl update shell                    dormant jails start from the new image; running ones at their next start
jailctl update shell --restart          running ones now, after a word to whoever is logged in
jailctl image rollback shell            and back
"""


@verb(
    "Build images of templates anew, try their smoke tests in a jail of the new image, and let the jails of the "
    "template start from it, however many there are, in one step. A running jail keeps its root until it stops.",
    _EXAMPLES,
)
@click.argument("templates", metavar="[TEMPLATE...]", nargs=-1, shell_complete=complete_template)
@click.option("--all", "everything", is_flag=True, help="Every template that has an image (also without arguments).")
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Images to build at once.")
@click.option("--no-cache", is_flag=True, help="Build every layer anew.")
@click.option("-v", "--verbose", is_flag=True, help="Print what goes on, line by line, one template after the other.")
@click.option("--restart", is_flag=True, help="End running jails of an older image: their next start has the new one.")
@click.option(
    "--grace", type=click.FloatRange(0, 86400), default=10.0, show_default=True, metavar="SECONDS",
    help="With --restart: time between the notice to the sessions and their end.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say which images are out of date; build nothing.")
def command(
    settings: Settings, templates: tuple[str, ...], everything: bool, jobs: int, no_cache: bool, verbose: bool,
    restart: bool, grace: float, dry_run: bool,
) -> int:  # fmt: skip
    paths = common.ready(settings)
    names = _named(templates) if templates and not everything else _built(settings, paths)
    if not names:
        raise JailkitError("missing.image", "no template has an image yet", "jailctl image build shell")
    if dry_run:
        return _dry_run(settings, paths, names)
    updates, status = _updates(settings, paths, names, 1 if verbose else jobs, not no_cache, verbose)
    for done in updates:
        _say(settings, done)
        if not restart:
            common.say_running(settings, paths, done.template, f"jailctl update {escape(done.template)} --restart")
    restarted = _restart(settings, paths, [done.template for done in updates], grace) if restart else []
    if settings.json:
        emit({"updates": [done.data() for done in updates], "restarted": restarted, "dry_run": False})
    return status


def _named(templates: tuple[str, ...]) -> list[str]:
    for name in templates:
        template, _, tag = name.partition(":")
        if tag:
            text = f"{name} names one image for good: what is built is a template"
            raise JailkitError("usage.tag", text, f"jailctl update {template}; jailctl image tag {template} {name}")
    return list(dict.fromkeys(templates))


def _built(settings: Settings, paths: Paths) -> list[str]:
    from ..provision import images

    names, foreign = images.templates(paths)
    for name in foreign:
        note(settings, f"jailctl: note: {escape(name)} stays as it is: there is no template of that name")
    return names


def _dry_run(settings: Settings, paths: Paths, names: list[str]) -> int:
    from ..image import build, tags
    from ..image.template import load_template

    rows, status = [], 0
    for name in names:
        try:
            load_template(paths, name)
            now = tags.current(paths, name)
            rows.append({"template": name, "digest": now, "stale": now is None or build.stale(paths, name)})
        except JailkitError as error:
            status = _fail(settings, name, error)
            continue
        what = "would be built anew" if rows[-1]["stale"] else "No changes: it is up to date"
        say(settings, f"{escape(name)}: {what}")
    if settings.json:
        emit({"updates": rows, "restarted": [], "dry_run": True})
    return status


def _fail(settings: Settings, name: str, error: JailkitError) -> int:
    told = error.message if name in error.message else f"{name}: {error.message}"  # of several, one wants to know which
    return fail(settings, JailkitError(error.code, told, error.hint))


def _updates(
    settings: Settings, paths: Paths, names: list[str], jobs: int, cache: bool, verbose: bool
) -> tuple[list[Update], int]:
    """Every template's own result: one that fails stops none of the others."""
    from ..provision import images

    done, status = [], 0
    with Progress(settings, f"updating {', '.join(names)}") as progress:
        if len(names) == 1 or jobs == 1:
            for name in names:
                try:
                    done.append(images.update(paths, name, cache, common.liner(settings, progress, verbose)))
                except JailkitError as error:
                    progress.clear()
                    status = _fail(settings, name, error)
        else:
            with ProcessPoolExecutor(min(jobs, len(names)), initializer=_idle) as pool:
                for name, future in [(name, pool.submit(_update, paths, name, cache)) for name in names]:
                    try:
                        done.append(future.result())
                    except JailkitError as error:
                        progress.clear()
                        status = _fail(settings, name, error)
                    except KeyboardInterrupt:
                        pool.shutdown(cancel_futures=True)
                        raise
        progress.clear()
    return done, status


def _idle() -> None:
    # ^C goes to every process of the terminal: one that waits for work would die of it, and the pool end the others
    # in the midst of cleaning up
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _update(paths: Paths, name: str, cache: bool) -> Update:
    """In a process of the pool."""
    from ..provision import images

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return images.update(paths, name, cache)
    finally:
        _idle()


def _say(settings: Settings, update: Update) -> None:
    name = escape(update.template)
    if not update.changed:
        say(settings, f"{name}: No changes: its image {update.digest[:12]} is up to date.")
    else:
        was = f", was {update.before[:12]}" if update.before else ""
        say(settings, f"{name}: jails start from image {update.digest[:12]} from now on{was}")


def _restart(settings: Settings, paths: Paths, names: list[str], grace: float) -> list[dict[str, Any]]:
    from ..jail import notice, stop
    from ..provision import images

    old = images.running_old(paths, names)
    text = f"This system is updated: it ends in {grace:.0f} s. Log in again then."
    told = sum(notice.tell(jail.uid, text) for jail in old)
    if told:
        say(settings, f"{counted(told, 'terminal')} told; waiting {grace:.0f} s")
        time.sleep(grace)
    restarted = []
    with Progress(settings, "ending jails of older images"):
        for jail in old:
            stop.stop(paths, jail.uid, jail.name)
            restarted.append({"name": jail.name, "uid": jail.uid})
            say(settings, f"{escape(jail.name)}: ended; its next start is from the new image")
    return restarted
