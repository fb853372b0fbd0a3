"""What is left over, half done, damaged or out of date."""

from __future__ import annotations

import contextlib
import os

from ..errors import JailkitError
from ..image import build, scratch, store, tags
from ..jail import recipe as recipes
from ..jail import runtime, stage
from ..names import user_name
from ..provision import resolve
from ..provision.state import State
from .check import Check, Finding, Host, count, fail, ok, several, warn


def _journal(host: Host) -> list[Finding]:
    if not os.path.exists(host.paths.state_db):
        return ok("nothing has been provisioned yet")
    state = State(host.paths.state_db)
    try:
        names, rows = state.open_names(), state.all()
    finally:
        state.close()
    found = [
        warn(
            f"{name}: a change was begun and not ended",
            f"jailctl show {name}; the next add-user or remove-user of that name finishes or undoes it",
        )
        for name in names
    ]
    known = {row.name for row in rows}
    found += [
        fail(f"{name} has a spec that was never applied", f"jailctl add-user {name}")
        for name in host.specs
        if name not in known and name not in names
    ]
    found += [
        fail(f"{row.name} was applied, but its spec file is gone", f"jailctl remove-user {row.name}")
        for row in rows
        if row.name not in host.specs and row.name not in names
    ]
    return several(found, f"{count(len(rows), 'jail')}, no change half done")


def _recipes(host: Host) -> list[Finding]:
    found = []
    for name in host.specs:
        try:
            recipe = recipes.load(host.paths, user_name(name))
        except JailkitError as error:
            found.append(fail(error.message, f"jailctl add-user {name}"))
            continue
        account = host.account(name)
        if account is not None and (account.uid, account.gid) != (recipe.uid, recipe.gid):
            found.append(
                fail(
                    f"{name} is now uid {account.uid} gid {account.gid}, the jail was made for {recipe.uid} "
                    f"and {recipe.gid}",
                    f"usermod -u {recipe.uid} {name}, or remove-user and add-user",
                )
            )
        if recipe.disabled and not recipe.disabled.startswith(resolve.SUSPENDED):
            found.append(warn(f"{name} is disabled: {recipe.disabled}"))
    return several(found, f"{count(len(host.specs), 'recipe')} can be read")


def _images(host: Host) -> list[Finding]:
    found = []
    wanted = {digest: reference for reference, digest in tags.all_tags(host.paths).items()}
    for name, recipe in host.recipes.items():
        with contextlib.suppress(JailkitError):
            wanted.setdefault(recipes.image(host.paths, recipe), name)
    for digest, name in sorted(wanted.items()):
        try:
            differing = store.verify(host.paths, digest)
        except JailkitError as error:
            found.append(fail(f"{name}: {error.message}", error.hint))
            continue
        if differing:
            path, what = differing[0]
            more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
            found.append(
                fail(
                    f"image {digest[:12]} of {name}: {path}: {what}{more}",
                    f"mv {host.paths.images}/{digest} away; jailctl update --no-cache {name.partition(':')[0]}",
                )
            )
    templates = sorted(tags.all_tags(host.paths))
    for template in templates:
        try:
            old = build.stale(host.paths, template)
        except JailkitError as error:
            found.append(fail(f"the image of {template} cannot be built anew: {error.message}", error.hint))
            continue
        if old:
            found.append(
                warn(
                    f"the host or template {template} has changed since its image was built",
                    f"jailctl update {template}",
                )
            )
    if not templates:
        return [*found, fail("there is no image: no jail can be made", "jailctl setup")]
    return several(found, f"{len(wanted)} in use, as built; templates up to date: {', '.join(templates)}")


def _layers(host: Host) -> list[Finding]:
    found, there = [], 0
    for recipe in host.recipes.values():
        if recipe.mode == "overlay":
            try:
                os.close(stage.layer(host.paths, recipe))
                there += 1
            except JailkitError as error:
                found.append(fail(error.message, error.hint))
    return several(found, f"{count(there, 'jail')} with a writable root that is kept, each with its layer")


def _runtime(host: Host) -> list[Finding]:
    """Records whose keeper has ended. Harmless (door and hook check them), but something killed it."""
    found, up = [], 0
    by_uid = {recipe.uid: name for name, recipe in host.recipes.items()}
    for entry in _listed(host.paths.run_jails):
        if not entry.isdigit():
            found.append(warn(f"{host.paths.run_jails}/{entry} is not ours", f"ls -l {host.paths.run_jails}"))
            continue
        uid = int(entry)
        if not os.path.lexists(host.paths.record(uid)):
            continue
        name = by_uid.get(uid)
        if runtime.running(host.paths, uid) is None:
            mend = f"jailctl stop {name}" if name else f"rm -r {host.paths.run_jail(uid)}"
            found.append(warn(f"the keeper of {name or f'uid {uid}'} has ended without its record", mend))
        elif name is None:
            found.append(fail(f"a jail of uid {uid} runs that has no recipe any more", "jailctl list; ps -u " + entry))
        else:
            up += 1
    return several(found, f"{up} running, every record has its keeper")


def _scratch(host: Host) -> list[Finding]:
    found = [
        warn(f"{path} is left from a build or a prune that was interrupted", "jailctl image prune removes it")
        for path in scratch.abandoned(host.paths)
    ]
    for directory in (host.paths.jails, host.paths.keys, host.paths.specs):
        for name in _listed(directory):
            base = name.removesuffix(".toml")
            if base not in host.specs:
                found.append(warn(f"{directory}/{name} belongs to no jail", f"ls -ld {directory}/{name}"))
    return several(found, "nothing is left over")


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


CHECKS = [
    Check("state.journal", "every change was carried out to its end", _journal),
    Check("state.recipes", "jails can be started from what is recorded", _recipes),
    Check("state.images", "images are whole and up to date", _images),
    Check("state.layers", "writable roots that are kept are there", _layers),
    Check("state.runtime", "running jails are what their records say", _runtime),
    Check("state.scratch", "nothing is left over", _scratch),
]
