"""The sshd that runs: found, asked for its port, told to read its configuration again."""

from __future__ import annotations

import os
import signal
import socket
import time
from dataclasses import dataclass

from ..errors import JailkitError
from ..kernel import proc
from . import sshd
from .run import run
from .sshd_config import CONFIG

_SYSTEMCTL = "/usr/bin/systemctl"
_PID_FILE = "/run/sshd.pid"


@dataclass(frozen=True)
class Daemon:
    """A running sshd. unit: its systemd unit, or "". pid: its process, 0 where systemd listens for it (ssh.socket)."""

    pid: int
    unit: str

    def __str__(self) -> str:
        return self.unit or f"process {self.pid}"


def systemd() -> bool:
    """sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def running() -> Daemon | None:
    """The host's sshd with the standard configuration, or None. One that was started with ``-f`` and another
    file is somebody's private one: it does not read our fragment."""
    if systemd():
        for unit in ("ssh.service", "sshd.service", "ssh.socket"):
            status, out, _ = run([_SYSTEMCTL, "show", "--property=ActiveState,MainPID", unit])
            values = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
            if status == 0 and values.get("ActiveState") == "active":
                return Daemon(int(values.get("MainPID") or 0), unit)
    try:
        pid = int(_read(sshd.effective().get("pidfile", _PID_FILE)))
    except (OSError, ValueError, JailkitError):
        return None
    return Daemon(pid, "") if _is_sshd(pid) else None


def _is_sshd(pid: int) -> bool:
    """A pid file may be stale and its pid reused: look at the program, and that it reads the standard configuration."""
    try:
        # sshd sets its title: "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups" is one string
        words = _read(f"/proc/{pid}/cmdline").replace("\0", " ").split()
        same = os.path.samefile(f"/proc/{pid}/exe", sshd.SSHD)
    except OSError:
        return False
    return same and all(file == CONFIG for file in _configurations(words))


def _configurations(words: list[str]) -> list[str]:
    """The arguments of ``-f``."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    return [word[2:] or after for word, after in pairs if word.startswith("-f")]


def reload(daemon: Daemon) -> None:
    """Make ``daemon`` read its configuration again; open connections stay. Only after ``sshd -t`` has passed: a daemon
    that is told to read a broken one ends. Raise ``host.sshd-config``, ``host.sshd-reload``."""
    status, _, err = run([sshd.SSHD, "-t"])
    if status != 0:
        reason = err.strip().splitlines()[0] if err.strip() else "no reason given"
        raise JailkitError("host.sshd-config", f"sshd -t fails, so sshd is not reloaded: {reason}", f"{sshd.SSHD} -t")
    if daemon.unit == "ssh.socket":
        return  # systemd starts an sshd for the next connection, and that one reads what is there
    if daemon.unit:
        status, _, err = run([_SYSTEMCTL, "reload", daemon.unit])
        if status != 0:
            raise JailkitError(
                "host.sshd-reload",
                f"systemctl reload {daemon.unit} failed: {err.strip()}",
                f"systemctl status {daemon.unit}",
            )
        return
    start = proc.start_time(daemon.pid)
    pidfd = proc.open_same(daemon.pid, start) if start is not None and _is_sshd(daemon.pid) else None
    if pidfd is None:
        raise JailkitError("host.sshd-reload", "sshd ended meanwhile", "start it, then: jailctl setup")
    # at SIGHUP it removes its pid file, closes its sockets and executes itself anew, under the same pid
    pid_file = sshd.effective().get("pidfile", _PID_FILE)
    before = _identity(pid_file)
    proc.send(pidfd, signal.SIGHUP)
    os.close(pidfd)
    end = time.monotonic() + 5.0
    while _identity(pid_file) in (None, before) or running() is None:
        if time.monotonic() > end:
            raise JailkitError(
                "host.sshd-reload", "sshd has not come back after SIGHUP", f"{sshd.SSHD} -t; start it again"
            )
        time.sleep(0.02)


def has_read(path: str) -> bool:
    """Whether the daemon has started, or read its configuration again, since ``path`` was changed: it writes its pid
    file at both. True where that cannot be told: it does not run, or has no pid file."""
    daemon = running()
    if daemon is None or daemon.unit == "ssh.socket":
        return True
    try:
        return os.stat(sshd.effective().get("pidfile", _PID_FILE)).st_mtime_ns >= os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return True


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def address() -> tuple[str, int]:
    """Where to reach the host's sshd from the host itself: address and port, from its effective settings."""
    settings = sshd.effective()
    port = int(settings.get("port", "22").split()[0])
    for listen in settings.get("listenaddress", "").split():
        host, _, number = listen.rpartition(":")
        host = host.strip("[]")
        if number.isdigit():
            return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(number)
    return "127.0.0.1", port


def wait_for(where: tuple[str, int], seconds: float = 5.0) -> bool:
    """Wait until something accepts connections there (after a reload sshd listens anew). False: nothing does."""
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection(where, timeout=1.0):
                return True
        except OSError:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
