"""PAM: does every service that opens sessions come to the hook?"""

from __future__ import annotations

import glob

from ..login import pam, pam_config, user_manager
from .check import Check, Finding, Host, fail, ok, several, warn

_OWN_USERS = {
    # services that open sessions for other people than who logs in: by root, or for the greeter's account
    "runuser": "only root can use it",
    "runuser-l": "only root can use it",
    "lightdm-greeter": "the greeter's own account",
    "gdm-launch-environment": "the greeter's own account",
    "sddm-greeter": "the greeter's own account",
}
_MODULES = ("/lib/*/security", "/lib/security", "/usr/lib/*/security", "/usr/lib/security", "/lib64/security")


def _order(host: Host) -> list[Finding]:
    problems = [problem for name in pam.COMMON for problem in pam.problems(name, host.paths)]
    early = "give that module's profile a priority below -1024, or the module a control word like required"
    return several(
        [fail(p, early if "can end" in p else "jailctl setup") for p in problems],
        "in common-session and common-session-noninteractive",
    )


def _services(host: Host) -> list[Finding]:
    found, exempt = [], []
    if not pam.installed(host.paths):
        return [fail("the common session stacks themselves do not (see pam.order)", "jailctl setup")]
    for service in pam_config.services():
        problems = pam.problems(service, host.paths)
        if problems and service in _OWN_USERS:
            exempt.append(f"{service} ({_OWN_USERS[service]})")
        elif problems:
            found.append(
                fail(problems[0], f"add '@include common-session' to /etc/pam.d/{service}, or remove the service")
            )
    fine = "every service comes to the hook"
    return several(found, f"{fine}, except {', '.join(exempt)}" if exempt else fine)


def _profile(host: Host) -> list[Finding]:
    try:
        with open(pam.PROFILE, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return [warn(f"{pam.PROFILE} is missing: pam-auth-update will take our lines out one day", "jailctl setup")]
    if text != pam.profile(host.paths):
        return [warn(f"{pam.PROFILE} is not what jailctl wrote", "jailctl setup")]
    return ok(pam.PROFILE)


def _modules(host: Host) -> list[Finding]:
    missing = [
        name
        for name in ("pam_succeed_if.so", "pam_exec.so")
        if not any(glob.glob(f"{directory}/{name}") for directory in _MODULES)
    ]
    return several(
        [
            fail(f"{name} is missing: every session is refused", "apt install --reinstall libpam-modules")
            for name in missing
        ],
        "pam_succeed_if.so, pam_exec.so",
    )


def _user_manager(host: Host) -> list[Finding]:
    """logind starts user@UID.service at a login: a `systemd --user` of the tenant's uid, outside every jail, that would
    run the units in her home. Its PAM service has to come to the hook, which refuses it; our drop-in
    says that it is not even tried."""
    if not user_manager.exists():
        return ok("systemd is not installed")
    problems = pam.problems("systemd-user", host.paths)
    if problems:
        include = "add '@include common-session-noninteractive' to /etc/pam.d/systemd-user"
        mend = include if pam.installed(host.paths) else "jailctl setup"
        return [fail(f"systemd --user of a jailed user would run outside: {problems[0]}", mend)]
    if not user_manager.kept_away(host.paths):
        return [
            warn(f"{user_manager.DROP_IN} is missing or was changed: each login leaves a failed unit", "jailctl setup")
        ]
    return ok("systemd does not start it, and the hook would refuse it")


CHECKS = [
    Check("pam.order", "the hook stands in the common session stacks, and nothing ends them before it", _order),
    Check("pam.services", "no service opens sessions without the hook", _services),
    Check("pam.profile", "pam-auth-update keeps our lines", _profile),
    Check("pam.modules", "the PAM modules that we use are there", _modules),
    Check("pam.user-manager", "no `systemd --user` for jailed users", _user_manager),
]
