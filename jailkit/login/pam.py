"""Our lines in PAM: a profile for ``pam-auth-update``, which writes them into common-session and
common-session-noninteractive (every service of Debian that opens sessions takes in one of the two).

    session  [success=1 default=ignore]  pam_succeed_if.so quiet user notingroup jailed
    session  requisite                   pam_exec.so quiet seteuid stdout /opt/jailctl/libexec/hook

Why it is so, and fails closed:

- The first line jumps over the second for whoever is *not* in the group. Anything else it may return (he is; the module
  is broken or missing, which libpam turns into ``module_unknown``) is ignored, and the hook is reached. Somebody whom
  no name service knows is in no group either: a mail or ftp server's own users pass, and an account that was deleted
  between authentication and session meets the door, which has no verdict for it.
- ``requisite``: a hook that refuses, crashes, is missing or cannot be executed fails the session, and at once: no later
  module runs, so whoever is refused reads our one line and not the message of the day below it.
- The profile is "Additional", where pam-auth-update leaves a numeric jump as it is (it only replaces the word ``end``).
  libpam lets a jump end exactly behind the last module.
- Priority -1024 puts it behind pam_unix (256), pam_systemd (0), pam_mkhomedir (0) and whatever mounts homes: logind
  moves the session into the user's slice and a home is mounted before the hook looks at either; what the hook does,
  nothing undoes afterwards. The price is that a ``sufficient`` module of another profile could end the stack before us;
  then no session record is written and the door refuses. :func:`problems` finds it, and doctor runs that.
- At the close of the session libpam repeats the way it went at the opening (the chain is frozen), so the same users
  skip.
- ``seteuid``: su and sudo have the caller's real uid; the hook needs root.
"""

from __future__ import annotations

import os

from ..errors import JailkitError
from ..paths import GROUP, Paths
from . import pam_config
from .pam_config import Entry
from .render import render
from .run import run

PROFILE = "/usr/share/pam-configs/jailctl"
TEMPLATE = "pam-configs/jailctl.j2"
UPDATE = "/usr/sbin/pam-auth-update"
COMMON = ("common-session", "common-session-noninteractive")


def profile(paths: Paths) -> str:
    """The text of our profile."""
    return render(paths, TEMPLATE)


def lines(paths: Paths) -> list[str]:
    """Our two lines as they stand in /etc/pam.d, for those who have to add them by hand."""
    body = profile(paths).partition("Session:\n")[2]
    return [f"session {' '.join(line.split())}" for line in body.splitlines() if line.strip()]


def ours(entries: list[Entry], paths: Paths) -> int | None:
    """Index of the guard (our first line) in a stack, or None unless both lines stand there as they should."""
    for index, (guard, hook) in enumerate(zip(entries, entries[1:], strict=False)):
        if (
            guard.name == "pam_succeed_if.so"
            and dict(guard.control) == {"success": "1", "default": "ignore"}
            and guard.arguments == ("quiet", "user", "notingroup", GROUP)
            and hook.name == "pam_exec.so"
            and dict(hook.control).get("default") in ("bad", "die")
            and dict(hook.control).get("success") == "ok"
            and hook.arguments == ("quiet", "seteuid", "stdout", paths.hook)
        ):
            return index
    return None


def problems(service: str, paths: Paths, directories: tuple[str, ...] = pam_config.DIRECTORIES) -> list[str]:
    """Why a session of ``service`` could be opened for a jailed user without our hook; empty: it could not."""
    try:
        entries = pam_config.stack(service, "session", directories)
    except (OSError, ValueError) as error:
        return [f"{service}: {error}"]
    index = ours(entries, paths)
    if index is None:
        return [f"{service}: the hook is not among its session modules"]
    return [
        f"{service}: {e.place}: {e.name} can end the stack before the hook" for e in pam_config.skips(entries, index)
    ]


def installed(paths: Paths) -> bool:
    """Both common stacks reach the hook."""
    return not any(problems(name, paths) for name in COMMON)


def present(paths: Paths) -> list[str]:
    """The common stacks in which our lines stand."""
    return [name for name in COMMON if ours(pam_config.stack(name), paths) is not None]


def install(paths: Paths) -> None:
    """Write the profile and have pam-auth-update put it in. Raise ``host.pam-profile``, ``host.pam-update``,
    ``host.pam-edited``, ``host.pam-service``, OSError."""
    write_profile(profile(paths))
    update(["--package", "--enable", "jailctl"])
    found = [problem for name in COMMON for problem in problems(name, paths)]
    if found:
        raise JailkitError(
            "host.pam-edited",
            f"pam-auth-update did not put our lines in place ({found[0]}): common-session was edited by hand, perhaps",
            "add at the end of /etc/pam.d/common-session and common-session-noninteractive, then run setup again: "
            + " and: ".join(lines(paths)),
        )
    found = problems("sshd", paths)
    if pam_config.find("sshd") and found:
        raise JailkitError(
            "host.pam-service", f"a login over ssh would not come to the hook: {found[0]}",
            "/etc/pam.d/sshd has to have the line: @include common-session",
        )  # fmt: skip


def write_profile(text: str, path: str = PROFILE) -> None:
    """Write the profile atomically, 0644."""
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        raise JailkitError("host.pam-profile", f"there is no {directory}", "apt install libpam-runtime")
    temporary = f"{directory}/jailctl.new~"  # pam-auth-update passes over names that end so
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def remove(paths: Paths) -> None:
    """Take our lines out and the profile away. Raise ``host.pam-edited`` if they are still there."""
    if os.path.exists(PROFILE):
        update(["--package", "--remove", "jailctl"])
        os.unlink(PROFILE)
    left = present(paths)
    if left:
        raise JailkitError(
            "host.pam-edited",
            f"our lines are still in {', '.join(f'/etc/pam.d/{name}' for name in left)}: edited by hand, perhaps",
            "delete the pam_succeed_if line with 'notingroup " + GROUP + "' and the pam_exec line below it",
        )


def update(arguments: list[str]) -> None:
    """Run pam-auth-update. Raise ``host.pam-update``."""
    status, _, err = run([UPDATE, *arguments])
    if status != 0:
        raise JailkitError(
            "host.pam-update",
            f"pam-auth-update {' '.join(arguments)} failed: {err.strip()}",
            "debconf may be in use by apt: try again when apt has ended",
        )
