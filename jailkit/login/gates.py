"""The two gates that setup installs: the lines in PAM and the fragment in sshd's configuration."""

from __future__ import annotations

import grp
import os

from ..errors import JailkitError
from ..paths import CHROOT_GROUP, GROUP, Paths
from . import pam, sshd, sshd_daemon
from .sshd_config import CONFIG, FRAGMENT
from .steps import Step
from .text import read, write


def not_set_up(paths: Paths) -> str:
    """Why nobody can log in to a jail that is there, or ""."""
    missing = [] if pam.installed(paths) else ["PAM"]
    missing += [] if os.path.exists(FRAGMENT) else ["sshd"]
    return f"{' and '.join(missing)} of this host know nothing of jails yet: jailctl setup" if missing else ""


def require(missing: str, user: str, password: bool, existing: bool) -> None:
    """Before `jailctl setup` only an account may be made that nothing but our key file opens: with a password, or keys
    of its own, sshd would let it in without the Match block, and serve an ``internal-sftp`` itself, outside the jail.

    missing: :func:`not_set_up`. existing: whether an account is to be taken that is there. Raise
    ``host.not-set-up``."""
    if missing and (password or existing):
        what = "a password" if password else "an existing account"
        text = f"{what} ({user}) would be a way past the jail: {missing}"
        raise JailkitError("host.not-set-up", text, "jailctl setup")


def _members(group: str) -> list[str]:
    try:
        return grp.getgrnam(group).gr_mem
    except KeyError:
        return []


class Pam(Step):
    id = "pam"
    what = f"install {pam.PROFILE} and run pam-auth-update"
    why = "every session of a jailed user has to be admitted by the hook, whichever service opens it"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def files(self) -> dict[str, str]:
        return {pam.PROFILE: pam.profile(self._paths)}

    def check(self) -> None:
        for program in (self._paths.hook, self._paths.door, self._paths.keeper):
            if not os.access(program, os.X_OK):
                raise JailkitError(
                    "missing.program", f"{program} is missing", "run ./install (in the source tree) first"
                )

    def done(self) -> bool:
        current = os.path.isfile(pam.PROFILE) and read(pam.PROFILE) == pam.profile(self._paths)
        return current and pam.installed(self._paths)

    def there(self) -> bool:
        return os.path.lexists(pam.PROFILE) or bool(pam.present(self._paths))

    def apply(self) -> None:
        self._before = read(pam.PROFILE) if os.path.isfile(pam.PROFILE) else None
        try:
            pam.install(self._paths)
        except BaseException:
            self.revert()
            raise

    def revert(self) -> None:
        if self._before is None:
            self.remove()
        else:
            pam.write_profile(self._before)
            pam.update(["--package", "--enable", "jailctl"])

    def remove(self) -> str:
        pam.remove(self._paths)
        return ""


class Sshd(Step):
    """Fragment and reload are one step: what is on the disk and what the daemon holds must not differ for long."""

    id = "sshd"
    what = f"install {FRAGMENT}, checked by sshd -t and sshd -T, and reload sshd"
    why = "a jailed user gets the door and nothing else of sshd: no forwarding, no subsystem outside, no rc file"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.note = ""

    def files(self) -> dict[str, str]:
        return {FRAGMENT: sshd.fragment(self._paths)}

    def check(self) -> None:
        sshd.require_include()
        settings = sshd.effective()
        if settings.get("usepam") != "yes":
            raise JailkitError(
                "host.sshd-usepam",
                "sshd has UsePAM no: the hook would never be called, and every jailed login be refused",
                f"set 'UsePAM yes' in {CONFIG}",
            )
        text, files = sshd.fragment(self._paths), _members(CHROOT_GROUP)
        shells = [name for name in _members(GROUP) if name not in files]
        sshd.check_candidate(self._paths, text, shells[:12])
        sshd.check_candidate(self._paths, text, files[:12], chroot=True)

    def done(self) -> bool:
        current = os.path.isfile(FRAGMENT) and read(FRAGMENT) == sshd.fragment(self._paths)
        return current and sshd_daemon.has_read(FRAGMENT)

    def there(self) -> bool:
        return os.path.lexists(FRAGMENT)

    def apply(self) -> None:
        self._before = read(FRAGMENT) if os.path.isfile(FRAGMENT) else None
        write(FRAGMENT, sshd.fragment(self._paths), 0o644)
        try:
            self.note = self._reload()
        except BaseException:
            self.revert()
            raise

    def revert(self) -> None:
        if self._before is None:
            self.remove()
        else:
            write(FRAGMENT, self._before, 0o644)
            self._reload()

    def remove(self) -> str:
        try:
            os.unlink(FRAGMENT)
        except FileNotFoundError:
            return ""
        return self._reload()

    def _reload(self) -> str:
        daemon = sshd_daemon.running()
        if daemon is None:
            return "no sshd with the standard configuration runs: it reads the new one when it starts"
        sshd_daemon.reload(daemon)
        return ""
