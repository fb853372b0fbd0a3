"""ssh, sftp and scp into a throw-away host, by OpenSSH's own client, which runs in the host too, as its root."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .process import Process, Terminal

if TYPE_CHECKING:
    from .host import Host, Result

OPTIONS = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
           "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "ConnectTimeout=10"]  # fmt: skip
KEYS = "/root/keys"


class Ssh:
    """The part of Host that logs in. ``key``: a private key's path in the host (``h.key("alice")`` makes one).

    ``opts`` are options of the client; sftp and scp reach another port by ``["-o", "Port=2201"]``."""

    @property
    def _host(self) -> Host:
        from .host import Host

        assert isinstance(self, Host)
        return self

    def key(self, name: str) -> str:
        """The path, in the host, of an Ed25519 private key of that name, made when first asked for (``.pub``)."""
        path = f"{KEYS}/{name}"
        if not Path(f"{self._host.root}{path}").exists():
            self._host.run(["/bin/mkdir", "-p", "-m", "700", KEYS], check=True)
            self._host.run(["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
        return path

    def public_key(self, name: str) -> str:
        return Path(f"{self._host.root}{self.key(name)}.pub").read_text().strip()

    def ssh_argv(
        self,
        user: str,
        cmd: str | None = None,
        *,
        key: str | None = None,
        opts: Sequence[str] = (),
        tty: bool = False,
        port: int = 22,
    ) -> list[str]:
        argv = ["/usr/bin/ssh", *OPTIONS, "-i", key or self.key(user), "-o", f"Port={port}", *opts]
        if tty:
            argv.append("-tt")
        argv.append(f"{user}@127.0.0.1")
        return argv if cmd is None else [*argv, cmd]

    def ssh(
        self,
        user: str,
        cmd: str | None = None,
        *,
        key: str | None = None,
        opts: Sequence[str] = (),
        tty: bool = False,
        input: str | bytes | None = None,
        timeout: float = 30,
        port: int = 22,
    ) -> Result:
        """Logs in and waits for the end; never asks for a password. ``opts``: further options of ssh(1)."""
        argv = self.ssh_argv(user, cmd, key=key, opts=["-o", "BatchMode=yes", *opts], tty=tty, port=port)
        return self._host.run(argv, input=input, timeout=timeout)

    def ssh_bytes(
        self, user: str, cmd: str, *, input: bytes = b"", timeout: float = 30
    ) -> subprocess.CompletedProcess[bytes]:
        return self._host.run_bytes(
            self.ssh_argv(user, cmd, opts=["-o", "BatchMode=yes"]), input=input, timeout=timeout
        )

    def ssh_spawn(self, user: str, cmd: str | None = None, *, opts: Sequence[str] = (), tty: bool = False) -> Process:
        """A session that goes on while the test looks."""
        return self._host.spawn(self.ssh_argv(user, cmd, opts=["-o", "BatchMode=yes", *opts], tty=tty))

    def ssh_terminal(self, user: str, cmd: str | None = None, *, opts: Sequence[str] = ()) -> Terminal:
        """A person at a terminal: ssh with a tty on both sides."""
        return self._host.terminal(self.ssh_argv(user, cmd, opts=opts, tty=cmd is not None))

    def sftp_argv(self, user: str, *, opts: Sequence[str] = ()) -> list[str]:
        """sftp(1) that reads commands from its input and stops at the first that fails."""
        return ["/usr/bin/sftp", *OPTIONS, "-i", self.key(user), "-b", "-", *opts, f"{user}@127.0.0.1"]

    def sftp(self, user: str, commands: str, *, opts: Sequence[str] = (), timeout: float = 30) -> Result:
        return self._host.run(self.sftp_argv(user, opts=opts), input=commands, timeout=timeout)

    def scp_argv(self, user: str, sources: Sequence[str], target: str, *, opts: Sequence[str] = ()) -> list[str]:
        """scp(1); names on the far side are written ``:path``. ``opts``: ``["-O"]`` old protocol, ``["-s"]`` sftp's."""
        far = f"{user}@127.0.0.1"
        names = [f"{far}{name}" if name.startswith(":") else name for name in [*sources, target]]
        return ["/usr/bin/scp", *OPTIONS, "-i", self.key(user), "-B", *opts, *names]

    def scp(
        self, user: str, sources: Sequence[str], target: str, *, opts: Sequence[str] = (), timeout: float = 30
    ) -> Result:
        return self._host.run(self.scp_argv(user, sources, target, opts=opts), timeout=timeout)
