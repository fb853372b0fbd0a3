"""Who may write what the login path trusts: every component of every path, from / on."""

from __future__ import annotations

import os
import stat

from ..errors import JailkitError
from ..jail import chroot
from ..kernel.beneath import require_root_owned_chain
from ..provision import layout
from .check import Check, Finding, Host, count, fail, ok, several, warn

_SETUP = "jailctl setup"
_INSTALL = "./install again (the script in the source tree)"


def _programs(host: Host) -> list[Finding]:
    paths, found = host.paths, []
    for path in (paths.door, paths.hook, paths.keeper):
        try:
            require_root_owned_chain(path)
            status = os.lstat(path)
        except JailkitError as error:
            found.append(fail(error.message, error.hint if os.path.exists(path) else _INSTALL))
            continue
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o555 != 0o555:
            # the keeper too: setns(2) on its pidfd needs it dumpable, so readable by everybody
            found.append(fail(f"{path} cannot be read and executed by everybody", f"chmod 755 {path}"))
        if status.st_mode & 0o6000:
            found.append(fail(f"{path} is setuid or setgid: nothing of ours has to be", f"chmod ug-s {path}"))
    return several(found, f"door, hook and keeper in {paths.libexec}")


def _cold_start(host: Host) -> list[Finding]:
    """What the hook executes as root when a jail is cold."""
    found = []
    for path in (f"{host.paths.opt}/venv/bin/python3", f"{host.paths.opt}/lib/jailkit/jail/cold.py"):
        real = os.path.realpath(path)  # both go over links of root's: the link's own directory is checked as well
        if not os.path.exists(real):
            found.append(fail(f"{path} is missing: a jail that does not run cannot be started at login", _INSTALL))
            continue
        for each in (os.path.dirname(path) if not os.path.islink(f"{host.paths.opt}/lib") else host.paths.opt, real):
            try:
                require_root_owned_chain(each)
            except JailkitError as error:
                found.append(fail(error.message, error.hint))
    return several(found, "the interpreter and the library are root's")


def _directories(host: Host) -> list[Finding]:
    found = []
    wanted = layout.modes(host.paths)
    # a reboot empties /run
    missing = [path for path in wanted if not os.path.lexists(path) and not path.startswith(host.paths.run)]
    if missing:
        found.append(fail(f"missing: {', '.join(missing)}", _SETUP))
    for path, mode in wanted.items():
        if not os.path.lexists(path):
            continue
        try:
            require_root_owned_chain(path)
        except JailkitError as error:
            found.append(fail(error.message, error.hint))
            continue
        has = stat.S_IMODE(os.lstat(path).st_mode)
        if has != mode:
            found.append(warn(f"{path} has mode {has:04o}, not {mode:04o}", f"chmod {mode:o} {path}"))
    return several(found, ", ".join((host.paths.etc, host.paths.var, host.paths.run)))


def _files(host: Host) -> list[Finding]:
    """Specs, keys and recipes, one by one: a key file that somebody else may write is a login as that user."""
    found = []
    wanted = [(host.paths.spec(name), 0o022) for name in host.specs]
    wanted += [(host.paths.key_file(name), 0o022) for name in host.specs]
    wanted += [(host.paths.recipe(name), 0o022) for name in host.recipes]
    wanted += [(host.paths.config, 0o022), (host.paths.state_db, 0o077), (host.paths.usage_db, 0o077)]
    for path, forbidden in wanted:
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue  # what has to be there is a matter of the state checks
        if not stat.S_ISREG(status.st_mode):
            found.append(fail(f"{path} is not a plain file", f"ls -l {path}"))
        elif status.st_uid != 0:
            found.append(fail(f"{path} belongs to uid {status.st_uid}, not to root", f"chown root: {path}"))
        elif status.st_mode & forbidden:
            has = stat.S_IMODE(status.st_mode)
            found.append(fail(f"{path} has mode {has:04o}", f"chmod {has & ~forbidden & 0o777:o} {path}"))
    return several(found, f"{count(len(wanted), 'file')} of root's")


def _homes(host: Host) -> list[Finding]:
    """What every start checks as well: then the login is refused, and the reason is only in the log."""
    found = []
    for directory in sorted({os.path.dirname(recipe.home) for recipe in host.recipes.values()}):
        try:
            require_root_owned_chain(directory)
        except JailkitError as error:
            found.append(fail(f"above homes: {error.message}", error.hint))
    for name, recipe in host.recipes.items():
        try:
            status = os.lstat(recipe.home)
        except FileNotFoundError:
            found.append(fail(f"{name}: there is no {recipe.home}", f"jailctl add-user {name}"))
            continue
        if recipe.level == "chroot":
            try:
                chroot.check(recipe)
            except JailkitError as error:
                found.append(fail(f"{name}: {error.message}", error.hint))
            continue
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != recipe.uid:
            found.append(
                fail(
                    f"{name}: {recipe.home} is not a directory of uid {recipe.uid}",
                    f"ls -ld {recipe.home}; chown {name}: {recipe.home}",
                )
            )
    return several(found, count(len(host.recipes), "home"))


def _shells(host: Host) -> list[Finding]:
    """shells(5) lists what a user may choose, and what some services take for the sign of a real account."""
    try:
        with open("/etc/shells", encoding="utf-8", errors="replace") as file:
            listed = host.paths.door in {line.strip() for line in file}
    except FileNotFoundError:
        listed = False
    if listed:
        return [
            warn(
                f"{host.paths.door} is in /etc/shells: chsh and ftp servers take it for a shell to log in with",
                "take that line out of /etc/shells",
            )
        ]
    return ok("the door is not listed in /etc/shells")


CHECKS = [
    Check("paths.programs", "nobody but root may change door, hook and keeper", _programs),
    Check("paths.cold-start", "nobody but root may change what the hook executes", _cold_start),
    Check("paths.directories", "our directories are root's, up to /", _directories),
    Check("paths.files", "specs, keys and recipes are root's", _files),
    Check("paths.homes", "homes are where jails expect them", _homes),
    Check("paths.shells", "the door is no shell to choose", _shells),
]
