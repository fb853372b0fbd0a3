"""``jailctl backup NAME FILE``"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

import click

from ..errors import JailkitError
from . import backups, many
from .output import Settings, counted, emit, escape, note, pairs, say
from .progress import Progress
from .verb import verb

if TYPE_CHECKING:
    from ..provision.backup.check import Checked
    from ..provision.backup.entry import Entry
    from ..provision.host import Host

_EXAMPLES = """
jailctl backup alice /srv/backup/alice.tar.zst
jailctl backup 'web-*' --to /srv/backup --jobs 2     NAME-TIME.tar.zst each
jailctl backup --verify /srv/backup/alice.tar.zst    whole, and as it was written?
jailctl backup --list /srv/backup/alice.tar.zst      what is in it
jailctl backup alice - --live | borg create --stdin-name alice.tar REPO::alice-{now} -
"""


@verb(
    "Write all that makes a jail again into one file: its spec, its home, its writable root. The jail is held still "
    "meanwhile; where the file system shares blocks between files, for a moment only. The file is root's alone and "
    "never replaces another; its ending says how it is packed (.tar.zst, .tar.gz, .tar). FILE - is standard output, "
    "not packed, for tools that keep only what has changed.",
    _EXAMPLES,
)
@many.choice("NAME... FILE")
@click.option("--to", metavar="DIR", type=click.Path(), help="One file a jail in DIR: NAME-TIME.tar.zst.")
@click.option("--live", is_flag=True, help="Let the jail run on meanwhile: files may be of different moments.")
@click.option("--verify", metavar="FILE", type=click.Path(), help="Read a backup as a whole and check it.")
@click.option("--list", "listed", metavar="FILE", type=click.Path(), help="Show what a backup holds.")
@click.option("--dry-run", is_flag=True, help="Show the steps and why; change nothing.")
def command(
    settings: Settings, words: tuple[str, ...], plan: str | None, template: str | None, every: bool, jobs: int,
    to: str | None, live: bool, verify: str | None, listed: str | None, dry_run: bool,
) -> int:  # fmt: skip
    from . import provisioning

    if verify is not None or listed is not None:
        if words or to or (verify and listed):
            raise JailkitError("usage.backup", "--verify and --list take one file and nothing else", "")
        return _look(settings, str(verify or listed), listed is not None)
    names, file_of = backups.files(settings, words, to, plan, template, every)
    if file_of(names[0]) == "-":
        return _stream(settings, names[0], live)

    def work(host: Host, name: str, step: many.Step) -> many.Entry:
        from ..provision.backup.plans import Backup

        file = file_of(name)
        made = host.asked(name, Backup(name, file, live))
        data = provisioning.carried_out(host, made, dry_run, step)
        return backups.entry(made, data, file, f"jailctl restore {name} {shlex.quote(file)}")

    def show(entry: many.Entry) -> None:
        if dry_run:
            provisioning.show_entry(settings, entry, len(names) > 1, "")
        elif len(names) > 1:
            say(settings, f"{escape(entry['name'])}: {escape(entry['file'])}  {entry['bytes']:,} bytes")
        else:
            backups.show(settings, entry)

    return many.each(settings, names, work, show, "writing backups", jobs)


def _stream(settings: Settings, name: str, live: bool) -> int:
    from ..paths import Paths
    from ..provision.backup import stream
    from ..provision.host import Host

    if os.isatty(1):
        raise JailkitError("usage.backup", "a backup is not for a terminal", f"jailctl backup {name} - >FILE")
    host = Host(Paths(settings.root))
    try:
        made, taken = stream.write(host, name, 1, live)
    finally:
        host.close()
    facts = f"{made.bytes:,} bytes, sha256 {made.sha256}, {taken}, {made.skipped} left out"
    note(settings, f"jailctl: {escape(name)}: {facts}")
    return 0


def _look(settings: Settings, file: str, listed: bool) -> int:
    from ..paths import Paths
    from ..provision.backup import check
    from ..provision.backup.judge import Shape

    path, entries = os.path.abspath(file), []

    def seen(entry: Entry) -> None:
        if not listed:
            return
        if settings.json:
            entries.append({"kind": entry.kind, "name": _plain(entry.name), "mode": f"{entry.mode:04o}",
                            "size": entry.size, "target": _plain(entry.target)})  # fmt: skip
        elif not settings.quiet:
            say(settings, _line(entry))

    with check.opened(path) as fd, Progress(settings, f"reading {file}"):
        paths = Paths(settings.root)
        plain = not check.sort(fd, paths)
        found = check.whole(paths, fd, Shape(plain), check.LIMITS, seen)
    if settings.json:
        emit({**_data(path, found), **({"entries": entries} if listed else {})})
    elif not listed:
        _show(settings, path, found)
    return 0


def _line(entry: Entry) -> str:
    import stat
    import time

    kinds = {"directory": stat.S_IFDIR, "link": stat.S_IFLNK, "whiteout": stat.S_IFCHR}
    mode = stat.filemode(kinds.get(entry.kind, stat.S_IFREG) | entry.mode)
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(entry.mtime // 10**9))
    arrow = {"link": " -> ", "hard link": " link to "}.get(entry.kind, "")
    name = escape(_plain(entry.name)) + (arrow + escape(_plain(entry.target)) if arrow else "")
    return f"{mode} {entry.size:>12} {when} {name}"


def _plain(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _data(path: str, found: Checked) -> dict[str, Any]:
    made = found.manifest
    body: dict[str, Any] = {
        "file": path, "backup": made is not None, "complete": found.complete, "names": found.names,
        "files": found.files, "bytes": found.bytes, "dropped": found.notes, "left_out": found.left_out,
    }  # fmt: skip
    keys = ("format", "name", "level", "template", "image", "taken", "created", "host", "parts")
    return {**body, **{key: getattr(made, key) if made else None for key in keys}}


def _show(settings: Settings, path: str, found: Checked) -> None:
    made = found.manifest
    rows: list[tuple[str, object]] = [("file", path)]
    if made is not None:
        rows += [
            ("jail", made.name), ("template", f"{made.template} (image {made.image[:12] or 'unknown'})"),
            ("made", f"{made.created} on {made.host}, {made.taken}"), ("holds", " and ".join(made.parts)),
        ]  # fmt: skip
    else:
        rows += [("holds", "the tar of a home, which has no digest of its own")]
    rows.append(("size", f"{found.bytes:,} bytes in {counted(found.files, 'file')}, {counted(found.names, 'name')}"))
    if not settings.quiet:
        pairs(rows)
    for line in found.notes:
        note(settings, f"jailctl: note: a restore leaves out {escape(line)}")
    for line in found.left_out:
        note(settings, f"jailctl: note: it lacks {escape(line)}")
    say(settings, "It is whole, and as it was written." if found.complete else "It is whole.")
