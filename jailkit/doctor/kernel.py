"""The kernel: version, features, and the settings that forbid users what root does for them."""

from __future__ import annotations

import os
import re

from . import probe
from .check import FAIL, Check, Finding, Host, fail, ok, several, warn

NEEDED = (5, 19)
"""Idmapped lower layers of overlayfs; mount_setattr(2) itself is of 5.12, cgroup.kill of 5.14."""

_INSTALL = "apt install linux-image-amd64, then reboot: Debian 12 has 6.1"


def _version(host: Host) -> list[Finding]:
    release = os.uname().release
    match = re.match(r"(\d+)\.(\d+)", release)
    number = (int(match[1]), int(match[2])) if match else (0, 0)
    if number < NEEDED:
        return [fail(f"{release} is older than {NEEDED[0]}.{NEEDED[1]}", _INSTALL)]
    return ok(release)


def _features(host: Host) -> list[Finding]:
    found = []
    for kind in ("mnt", "pid", "user", "uts", "ipc", "net", "cgroup"):
        if not os.path.exists(f"/proc/self/ns/{kind}"):
            found.append(fail(f"no {kind} namespaces", _INSTALL))
    if "allow" not in _read("/proc/sys/kernel/seccomp/actions_avail"):
        found.append(fail("no seccomp filters", _INSTALL))
    return several(found, "namespaces mnt pid user uts ipc net cgroup, seccomp")


def _tried(host: Host) -> list[Finding]:
    """What starting and entering a jail asks of the kernel, done for real in a child that keeps nothing."""
    directories = ["/usr"]
    directories += sorted({path for recipe in host.recipes.values() for path in recipe.binds} - {"/usr"})
    directories += [path for path in (host.paths.images, host.paths.var) if os.path.isdir(path)][:1]
    steps = probe.run(directories)
    return several(
        [fail(step.text, step.mend) for step in steps if not step.good and step.needed],
        f"made, mapped and entered; {', '.join(directories)} can be idmapped",
    )


def _overlay(host: Host) -> list[Finding]:
    steps = [step for step in probe.run(["/usr"]) if not step.needed]
    return several([warn(step.text, step.mend) for step in steps if not step.good], "idmapped layers work")


def _user_namespaces(host: Host) -> list[Finding]:
    most = _read("/proc/sys/user/max_user_namespaces")
    if most == "0":
        return [
            Finding(
                FAIL,
                "user.max_user_namespaces is 0: not even root can make one",
                _sysctl("user.max_user_namespaces=65536"),
            )
        ]
    seen = [f"at most {most} for each user"]
    if _read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        seen.append("users may not make any (kernel.unprivileged_userns_clone=0)")
    if _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        seen.append("AppArmor restricts users' own (apparmor_restrict_unprivileged_userns=1)")
    return ok("; ".join(seen) + "; root makes the jails', so that is fine")


def _sysctl(setting: str) -> str:
    return f"sysctl -w {setting}; echo {setting} > /etc/sysctl.d/60-jailctl.conf"


def _hidepid(host: Host) -> list[Finding]:
    """The door, as the user, looks for the process that PAM was called by: root's, so hidden by hidepid (proc(5))."""
    mounts = [line.split() for line in _read("/proc/self/mounts").splitlines()]
    options = [entry[3].split(",") for entry in mounts if entry[1:3] == ["/proc", "proc"]][-1]  # the topmost
    hide = next((o.partition("=")[2] for o in options if o.startswith("hidepid=")), "0")
    group = next((o.partition("=")[2] for o in options if o.startswith("gid=")), "")
    if hide in ("0", "off"):
        return ok("hidepid is off")
    own = str(host.group.gr_gid) if host.group else ""
    if own and group == own and hide not in ("4", "ptraceable"):  # that one asks for ptrace, whatever the group
        return ok(f"hidepid={hide}, but not for the group jailed (gid={group})")
    return [
        fail(
            f"/proc is mounted with hidepid={hide}: the door cannot see who called PAM, and refuses every login",
            f"mount -o remount,hidepid=2,gid={own or 'GID-OF-jailed'} /proc, and the same in /etc/fstab",
        )
    ]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


CHECKS = [
    Check("kernel.version", f"Linux {NEEDED[0]}.{NEEDED[1]} or later", _version),
    Check("kernel.features", "the kernel has namespaces and seccomp", _features),
    Check("kernel.userns", "user namespaces can be made", _user_namespaces),
    Check("kernel.jail", "a jail's namespaces and mounts work here", _tried),
    Check("kernel.overlay", "overlays of idmapped layers work (templates with a writable layer)", _overlay),
    Check("kernel.proc", "the door can see who called PAM", _hidepid),
]
