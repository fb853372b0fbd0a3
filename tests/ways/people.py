"""The users of these tests: ``ways`` has a jail, ``waysfiles`` one with files only (level "chroot"), ``plain`` is an
ordinary account of the same host."""

from __future__ import annotations

from ..host import Host

JAILED, FILES, PLAIN = "ways", "waysfiles", "plain"


def make_plain(host: Host, user: str = PLAIN) -> None:
    """An account as useradd makes it, with its key in its home."""
    host.run(["/usr/sbin/useradd", "-m", "-s", "/bin/bash", user], check=True)
    home = host.root / "home" / user
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh/authorized_keys").write_text(host.public_key(user) + "\n")
    host.run(["/bin/chown", "-R", f"{user}:", f"/home/{user}"], check=True)


def make_jailed(host: Host, user: str = JAILED, *args: str) -> None:
    host.jailctl("add-user", user, "--key", f"{host.key(user)}.pub", *args)
