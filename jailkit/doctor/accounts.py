"""Accounts: whoever is in the group is confined, and whoever should be confined is in the group."""

from __future__ import annotations

import grp
import os
import re
from bisect import bisect_left
from collections import Counter
from itertools import accumulate

from ..jail.recipe import RANGE
from ..paths import CHROOT_GROUP, GROUP
from ..provision import ids
from ..spec.config import PRIVILEGED
from .check import FAIL, Check, Finding, Host, count, fail, ok, several, warn


def _group(host: Host) -> list[Finding]:
    if host.group is None:
        return [
            Finding(
                FAIL, f"there is no group {GROUP}: PAM and sshd confine nobody (the door still does)", "jailctl setup"
            )
        ]
    if host.chroot_group is None:
        return [fail(f"there is no group {CHROOT_GROUP}: sshd serves nobody's files by itself", "jailctl setup")]
    return ok(f"gid {host.group.gr_gid}, {count(len(host.members), 'member')}; {CHROOT_GROUP}, {len(host.files_only)}")


def _members(host: Host) -> list[Finding]:
    """Members that would not end in a jail. Without spec and recipe the hook refuses them: they cannot log in at
    all."""
    found = []
    for name in host.members:
        account = host.account(name)
        if account is None:
            found.append(warn(f"{name} is in group {GROUP} and has no account", f"gpasswd -d {name} {GROUP}"))
            continue
        if account.uid == 0:
            found.append(fail(f"{name} has uid 0 and is in group {GROUP}", f"gpasswd -d {name} {GROUP}"))
        if name not in host.specs:
            found.append(
                fail(
                    f"{name} is in group {GROUP} and has no jail: every login is refused",
                    f"jailctl add-user {name} --existing, or: gpasswd -d {name} {GROUP}",
                )
            )
        if account.shell != host.paths.door:
            found.append(
                fail(
                    f"the shell of {name} is {account.shell}, not the door: cron, su or a PAM stack without the "
                    "hook could run it outside",
                    f"usermod -s {host.paths.door} {name}",
                )
            )
    return several(found, f"{count(len(host.members), 'member')}, each with a jail and the door for a shell")


def _specs(host: Host) -> list[Finding]:
    found = []
    for name in host.specs:
        if host.account(name) is None:
            found.append(fail(f"{name} has a jail and no account", f"jailctl remove-user {name}"))
        elif name not in host.members:
            found.append(
                fail(
                    f"{name} has a jail and is not in group {GROUP}: sshd and PAM do not confine her",
                    f"usermod -aG {GROUP} {name}",
                )
            )
    return several(found, f"{count(len(host.specs), 'jail')}, each with its account in the group")


def _levels(host: Host) -> list[Finding]:
    """Who is in the wrong one of the two is refused, by the door or by sshd; nobody gets out of anything."""
    found = []
    for name in host.files_only:
        if name not in host.members:
            found.append(
                fail(f"{name} is in group {CHROOT_GROUP} and not in {GROUP}: PAM does not ask the hook, sshd refuses",
                     f"usermod -aG {GROUP} {name}, or: gpasswd -d {name} {CHROOT_GROUP}")
            )  # fmt: skip
        elif name in host.recipes and host.recipes[name].level != "chroot":
            found.append(
                fail(f"{name} has a shell and is in group {CHROOT_GROUP}: sshd refuses every login",
                     f"gpasswd -d {name} {CHROOT_GROUP}")
            )  # fmt: skip
    for name, recipe in host.recipes.items():
        if recipe.level == "chroot" and name in host.members and name not in host.files_only:
            found.append(
                fail(f"{name} has files only and is not in group {CHROOT_GROUP}: the door refuses every login",
                     f"usermod -aG {CHROOT_GROUP} {name}")
            )  # fmt: skip
    return several(found, f"{count(len(host.files_only), 'member')} of {CHROOT_GROUP}, all with files only")


def _outside(host: Host) -> list[Finding]:
    """The door refuses them, but an ``internal-sftp`` subsystem runs in sshd and asks no shell."""
    found = [
        fail(
            f"{a.name} has the door for a shell and is not in group {GROUP}: sshd's internal-sftp would serve the "
            "whole host",
            f"usermod -aG {GROUP} {a.name}, or give back a shell: chsh -s /bin/bash {a.name}",
        )
        for a in host.accounts
        if a.shell == host.paths.door and a.name not in host.members
    ]
    return several(found, "no account has the door and not the group")


def _privileged(host: Host) -> list[Finding]:
    """In the jail no group and no sudo counts; but the user's files on the host, and processes of other services,
    do."""
    found = []
    jailed = {name: host.account(name) for name in host.jailed}
    for group in PRIVILEGED:
        try:
            entry = grp.getgrnam(group)
        except KeyError:
            continue
        primary = {name for name, account in jailed.items() if account and account.gid == entry.gr_gid}
        found += [
            warn(f"{name} is in {group}", f"gpasswd -d {name} {group}")
            for name in sorted(primary | (jailed.keys() & set(entry.gr_mem)))
        ]
    found += [
        warn(f"{place} names {name}", f"visudo -f {place.rpartition(':')[0]}") for place, name in _sudoers(host.jailed)
    ]
    return several(found, "no jailed user is in a privileged group or in sudoers")


def _sudoers(names: list[str], main: str = "/etc/sudoers", directory: str = "/etc/sudoers.d") -> list[tuple[str, str]]:
    """(file:line, name) where a rule begins with a jailed user or the group. sudo itself would answer for one user at a
    time, and start PAM for it."""
    wanted = {*names, f"%{GROUP}"}
    files = [main]
    if os.path.isdir(directory):
        files += [f"{directory}/{n}" for n in sorted(os.listdir(directory)) if "." not in n and not n.endswith("~")]
    found = []
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            users = re.split(r"[,\s]+", line.split("=")[0].strip())
            found += [(f"{path}:{number}", user) for user in users if user in wanted and not line.startswith("#")]
    return found


def _uids(host: Host) -> list[Finding]:
    """Two accounts with one uid are one to the kernel: her processes outside would be an escape (ptrace)."""
    count = Counter(account.uid for account in host.accounts)
    jailed = {recipe.uid for recipe in host.recipes.values()}
    found = [
        fail(
            f"uid {uid} has several accounts: {', '.join(a.name for a in host.accounts if a.uid == uid)}",
            "give the others another uid: usermod -u",
        )
        for uid in sorted(jailed)
        if count[uid] > 1
    ]
    return several(found, "each jailed uid has one account")


def _ranges(host: Host) -> list[Finding]:
    found = []
    taken = [(recipe.base, RANGE, name) for name, recipe in host.recipes.items()]
    foreign = [(account.uid, 1, f"account {account.name}") for account in host.accounts]
    for path in ("/etc/subuid", "/etc/subgid"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                foreign += [(start, size, path) for start, size in ids.subordinate(file.read())]
        except FileNotFoundError:
            continue
    ordered = sorted(taken)
    for (base, size, name), (after, _, other) in zip(ordered, ordered[1:], strict=False):
        if after < base + size:
            found.append(
                fail(
                    f"the id ranges of {name} and {other} overlap at {after}", f"remove-user {other}, add-user {other}"
                )
            )
    foreign.sort()
    starts = [start for start, _, _ in foreign]
    furthest = list(accumulate((start + length for start, length, _ in foreign), max))
    for base, size, name in ordered:
        before = bisect_left(starts, base + size)
        if before == 0 or furthest[before - 1] <= base:
            continue
        found += [
            fail(
                f"the id range {base} of {name} overlaps {what} ({start}, {length})",
                f"move that range: {what}; or remove-user {name}, add-user {name}",
            )
            for start, length, what in foreign[:before]
            if start + length > base
        ]
    return several(
        found, f"{count(len(taken), 'range')} of {RANGE}, apart from each other and from /etc/subuid, /etc/subgid"
    )


CHECKS = [
    Check("accounts.group", f"the group {GROUP} is there", _group),
    Check("accounts.members", f"whoever is in group {GROUP} is confined", _members),
    Check("accounts.specs", "whoever has a jail has an account in the group", _specs),
    Check("accounts.levels", f"those with files only, and no others, are in group {CHROOT_GROUP}", _levels),
    Check("accounts.outside", "whoever has the door is in the group", _outside),
    Check("accounts.privileged", "jailed users have no privileges on the host", _privileged),
    Check("accounts.uids", "uids are unique", _uids),
    Check("accounts.ranges", "the jails' id ranges overlap nothing", _ranges),
]
