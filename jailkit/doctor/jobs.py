"""Ways in which the host runs things as a jailed user without a login: cron, at, systemd's linger, mail delivery.

PAM refuses the first three (with a log line each time, so a job that stands there is still worth a word). A mail server
that runs commands from ~/.forward asks neither PAM nor the account's shell."""

from __future__ import annotations

import os
from collections.abc import Container

from ..login.run import run
from .check import WARN, Check, Finding, Host, fail, several, warn

_CRONTABS = "/var/spool/cron/crontabs"
_AT = ("/var/spool/cron/atjobs", "/var/spool/at")
_LINGER = "/var/lib/systemd/linger"


def _jobs(host: Host) -> list[Finding]:
    found = []
    uids = {recipe.uid: name for name, recipe in host.recipes.items()}
    for name in _listed(_CRONTABS):
        if name in host.specs:
            found.append(warn(f"{name} has a crontab; PAM refuses each of its jobs", f"crontab -r -u {name}"))
    for directory in _AT:
        for job in _listed(directory):
            try:
                owner = os.lstat(f"{directory}/{job}").st_uid
            except FileNotFoundError:
                continue
            if owner in uids:
                found.append(warn(f"{uids[owner]} has the at job {job}; PAM refuses it", f"rm {directory}/{job}"))
    for name in _listed(_LINGER):
        if name in host.specs:
            found.append(
                Finding(
                    WARN, f"systemd keeps a user manager for {name}; PAM refuses it", f"loginctl disable-linger {name}"
                )
            )
    found += [
        warn(f"{place} runs as {name}; PAM refuses it", f"take that line out of {place.rpartition(':')[0]}")
        for place, name in _system_cron(host.specs)
    ]
    return several(found, "no crontab, at job or lingering user manager of a jailed user")


def _system_cron(names: Container[str]) -> list[tuple[str, str]]:
    """Lines of /etc/crontab and /etc/cron.d (crontab(5): the sixth field, or the second after @reboot) of jailed
    users."""
    found = []
    for path in ["/etc/crontab", *(f"/etc/cron.d/{name}" for name in _listed("/etc/cron.d"))]:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            words = line.split()
            place = 1 if words and words[0].startswith("@") else 5
            if len(words) > place and not words[0].startswith("#") and words[place] in names:
                found.append((f"{path}:{number}", words[place]))
    return found


def _mail(host: Host) -> list[Finding]:
    found = []
    if os.path.exists("/usr/sbin/postconf"):
        values = dict(line.split(" = ", 1) for line in run(["/usr/sbin/postconf"])[1].splitlines() if " = " in line)
        for key, what in (("allow_mail_to_commands", "runs commands"), ("allow_mail_to_files", "writes files")):
            if "forward" in values.get(key, "").replace(",", " ").split() and values.get("forward_path", ""):
                found.append(
                    fail(
                        f"Postfix {what} that ~/.forward names, as the user, outside the jail",
                        f"postconf -e {key}=alias; systemctl reload postfix",
                    )
                )
        if "procmail" in values.get("mailbox_command", ""):
            found.append(
                fail(
                    "Postfix delivers with procmail, which runs commands of ~/.procmailrc outside the jail",
                    "postconf -e mailbox_command=; systemctl reload postfix",
                )
            )
    if os.path.exists("/usr/sbin/exim4"):
        out = run(["/usr/sbin/exim4", "-bP", "router", "userforward"])[1]
        if "no_forbid_pipe" in out:
            found.append(
                fail(
                    "Exim runs commands that ~/.forward names, as the user, outside the jail",
                    "set forbid_pipe and forbid_file in the router userforward; update-exim4.conf",
                )
            )
    for program in ("/usr/sbin/smtpd", "/usr/libexec/sendmail/sendmail", "/usr/lib/sm.bin/sendmail"):
        if os.path.exists(program):
            found.append(
                warn(
                    f"{program} may run commands that ~/.forward names, outside the jail",
                    "forbid programs in .forward files in its configuration",
                )
            )
    return several(found, "no mail server that runs what a ~/.forward names")


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


CHECKS = [
    Check("jobs.scheduled", "nothing is scheduled to run as a jailed user", _jobs),
    Check("jobs.mail", "mail delivery runs nothing for users", _mail),
]
