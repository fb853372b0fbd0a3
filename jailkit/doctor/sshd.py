"""sshd: what it will really do with a jailed user."""

from __future__ import annotations

import os
import stat

from ..login import sshd, sshd_config, sshd_daemon
from ..login.run import run
from ..login.sshd_config import CONFIG, FRAGMENT
from ..paths import GROUP
from .check import FAIL, WARN, Check, Finding, Host, fail, ok, several, warn

_USERS = 12
"""So many users are asked about, those named in earlier Match blocks first; each costs sshd some 10 ms a connection."""

_SETUP = "jailctl setup"


def _configuration(host: Host) -> list[Finding]:
    status, _, err = run([sshd.SSHD, "-t"])
    if status != 0:
        reason = err.strip().splitlines()[0] if err.strip() else "no reason given"
        return [fail(f"sshd -t: {reason}", "mend that line before sshd is started anew")]
    version = run([sshd.SSHD, "-V"])[2].strip().split(",")[0]
    return ok(f"sshd -t passes ({version or 'version unknown'})")


def _fragment(host: Host) -> list[Finding]:
    sshd.require_include()
    try:
        with open(FRAGMENT, encoding="utf-8") as file:
            text, status = file.read(), os.fstat(file.fileno())
    except FileNotFoundError:
        return [fail(f"{FRAGMENT} is missing: sshd does not know of jails", _SETUP)]
    if status.st_uid != 0 or stat.S_IMODE(status.st_mode) & 0o022:
        return [
            Finding(
                FAIL, f"{FRAGMENT} can be written by others than root", f"chown root: {FRAGMENT}; chmod 644 {FRAGMENT}"
            )
        ]
    if text != sshd.fragment(host.paths):
        return [fail(f"{FRAGMENT} is not what jailctl wrote", _SETUP)]
    return ok(FRAGMENT)


def sample(host: Host) -> list[str]:
    """Jailed users to ask sshd about: those whom earlier Match blocks name, then the first others."""
    earlier = sshd_config.before(sshd_config.read(CONFIG), FRAGMENT)
    named = {word for line in earlier if line.keyword == "match" for part in line.arguments for word in part.split(",")}
    ordered = sorted(host.jailed, key=lambda name: (name not in named, name))
    files = [name for name in ordered if name in host.recipes and host.recipes[name].level == "chroot"]
    return [*[name for name in ordered if name not in files][:_USERS], *files[:_USERS]]


def _effective(host: Host) -> list[Finding]:
    users = sample(host)
    if not os.path.exists(FRAGMENT):
        return [fail("sshd confines nobody: our part of its configuration is missing", _SETUP)]
    if not users:
        return ok("no jailed user to ask about yet")
    text = sshd.fragment(host.paths)
    files = [name for name in users if name in host.recipes and host.recipes[name].level == "chroot"]
    found = sshd.differences([name for name in users if name not in files], sshd.wanted(text))
    found += sshd.differences(files, sshd.wanted(text, chroot=True))
    mend = "move that Match block into a file that sorts after 000-jailctl.conf; see sshd -T -C user=NAME,addr=ADDRESS"
    of = f"{len(users)} of {len(host.jailed)} users" if len(users) < len(host.jailed) else ", ".join(users)
    return several([fail(str(d), mend) for d in found[:20]], f"as they should be, for {of} from several addresses")


def _global(host: Host) -> list[Finding]:
    has = sshd.effective()
    found = []
    if has.get("usepam") != "yes":
        found.append(
            fail(
                "UsePAM is no: the hook is never called, and the door refuses every login",
                f"set 'UsePAM yes' in {CONFIG}; systemctl reload ssh",
            )
        )
    if has.get("permituserenvironment", "no") != "no":
        found.append(
            warn(
                f"PermitUserEnvironment is {has['permituserenvironment']}: ~/.ssh/environment is read "
                "(the door drops it, sshd itself may not)",
                f"set 'PermitUserEnvironment no' in {CONFIG}",
            )
        )
    if has.get("strictmodes", "yes") != "yes":
        found.append(
            Finding(
                WARN, "StrictModes is no: sshd does not check who may write key files", f"set it to yes in {CONFIG}"
            )
        )
    service = has.get("pamservicename", "sshd")  # OpenSSH 10
    if service != "sshd":
        found.append(
            warn(
                f"PAMServiceName is {service}: jails whose template's services lack it refuse such logins",
                f'add "{service}" to services in template.toml, or set PAMServiceName sshd',
            )
        )
    subsystem = has.get("subsystem", "none")
    return several(found, f"UsePAM yes, PermitUserEnvironment no, Subsystem {subsystem}")


def _admitted(host: Host) -> list[Finding]:
    """sshd's own lists of who may log in, which it looks at before anything of ours."""
    has = sshd.effective()
    found = []
    for keyword, opens in (("allowusers", True), ("allowgroups", True), ("denyusers", False), ("denygroups", False)):
        if keyword in has:
            what = "lets only these log in" if opens else "keeps these out"
            mend = f"if jailed users are to log in: add {GROUP} to AllowGroups" if opens else ""
            if opens and keyword == "allowgroups" and GROUP in has[keyword].split():
                continue
            found.append(warn(f"{keyword} {what}: {has[keyword]}", mend))
    return several(found, "no AllowUsers, AllowGroups, DenyUsers or DenyGroups in the way")


def _running(host: Host) -> list[Finding]:
    daemon = sshd_daemon.running()
    if daemon is None:
        return [warn("no sshd with the standard configuration runs here", "systemctl start ssh")]
    if os.path.exists(FRAGMENT) and not sshd_daemon.has_read(FRAGMENT):
        return [fail(f"{daemon} has not read its configuration since {FRAGMENT} was changed", _SETUP)]
    return ok(str(daemon))


CHECKS = [
    Check("sshd.config", "sshd accepts its configuration", _configuration),
    Check("sshd.fragment", "our part of it is in place", _fragment),
    Check("sshd.effective", "its settings for jailed users", _effective),
    Check("sshd.global", "its settings for everybody", _global),
    Check("sshd.admitted", "sshd lets jailed users in", _admitted),
    Check("sshd.running", "sshd runs", _running),
]
