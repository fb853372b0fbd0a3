"""The entry record and the session record: flat, root-owned files in the runtime directory.

The door and the hook (C, ``login/door/record.h``) read the same bytes; a test compares the offsets.
They are fixed structs, so nothing that a user starts has to parse anything. Native byte order: a record
never leaves the machine, and never survives a boot.

Imports nothing heavy (``dataclasses`` alone costs 8 ms): it lies on the login path.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MAGIC = b"JAILREC3"
SESSION_MAGIC = b"JAILSES1"
MAX_FILTER = 512
"""Instructions of a seccomp program (``struct sock_filter``, 8 bytes each)."""

MAX_HOURS = 96
MAX_SOURCES = 16

_HEAD = struct.Struct("=8sIIIIiIQQ40s256s128s128s256s384s256s256s72sIIIIQII384s288sII")
_HOURS = struct.Struct("=HH")
_SOURCE = struct.Struct("=BB16s")
_SESSION = struct.Struct("=8siIQQ40s40s256s64s512s")

FLAG_HOST_NETWORK = 1
FLAG_CHROOT = 2

FOREVER = 0xFFFFFFFF
"""``linger``: the jail does not end by itself."""


class Record:
    """All that the door may know of a running jail.

    pid: of the keeper, in the host's pid namespace; start: its start time in clock ticks since boot
    (proc(5), stat field 22); userns: inode of its user namespace. The three together identify it: a reused
    pid never matches. linger: seconds the jail outlives its last session, or :data:`FOREVER`.
    cgroups: the ``cgroup.procs`` files that take a session's process. events: files that count how often a limit of the
    jail was hit. services: PAM services that may open a session. open_files, sessions, idle, session: limits of
    spec/limits.py, 0 for none; expires: seconds since the epoch, or 0; hours: minutes since Monday 0:00, [begin, end[,
    none for always; sources: (address, prefix) of the networks that logins come from, 4 or 16 bytes. filter: seccomp
    program, ``struct sock_filter`` instructions, 8 bytes each. With FLAG_CHROOT there is no keeper and no filter: pid,
    start and userns are 0.
    """

    def __init__(
        self,
        *,
        user: str,
        uid: int,
        gid: int,
        pid: int,
        start: int,
        userns: int,
        home: str,
        shell: str,
        sftp: str,
        path: str,
        cgroups: tuple[str, ...],
        services: tuple[str, ...],
        image: str,
        linger: int,
        flags: int,
        filter: bytes,
        events: tuple[str, ...] = (),
        open_files: int = 0,
        sessions: int = 0,
        idle: int = 0,
        session: int = 0,
        expires: int = 0,
        hours: tuple[tuple[int, int], ...] = (),
        sources: tuple[tuple[bytes, int], ...] = (),
    ) -> None:
        self.user, self.uid, self.gid = user, uid, gid
        self.pid, self.start, self.userns = pid, start, userns
        self.home, self.shell, self.sftp, self.path = home, shell, sftp, path
        self.cgroups, self.events, self.services, self.image = cgroups, events, services, image
        self.linger, self.flags, self.filter = linger, flags, filter
        self.open_files, self.sessions, self.idle, self.session = open_files, sessions, idle, session
        self.expires, self.hours, self.sources = expires, hours, sources

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and vars(self) == vars(other)

    def pack(self) -> bytes:
        """Bytes of the file. Raise ValueError when a field does not fit (they are all bounded by the spec)."""
        count, rest = divmod(len(self.filter), 8)
        if rest or count > MAX_FILTER:
            raise ValueError(f"seccomp program of {len(self.filter)} bytes")
        return (
            _HEAD.pack(
                MAGIC,
                _HEAD.size + len(self.filter),
                self.flags,
                self.uid,
                self.gid,
                self.pid,
                self.linger,
                self.start,
                self.userns,
                _text(self.user, 40),
                _text(self.home, 256),
                _text(self.shell, 128),
                _text(self.sftp, 128),
                _text(self.path, 256),
                _text("\0".join(self.cgroups), 383),
                _text("\0".join(self.events), 255),
                _text("\0".join(self.services), 255),
                _text(self.image, 72),
                self.open_files,
                self.sessions,
                self.idle,
                self.session,
                self.expires,
                len(self.hours),
                len(self.sources),
                _many(_HOURS, MAX_HOURS, self.hours),
                _many(_SOURCE, MAX_SOURCES, [(len(address), prefix, address) for address, prefix in self.sources]),
                count,
                0,
            )
            + self.filter
        )

    @classmethod
    def unpack(cls, data: bytes) -> Record:
        """Raise ValueError unless ``data`` is a whole record."""
        if len(data) < _HEAD.size:
            raise ValueError("short record")
        (magic, size, flags, uid, gid, pid, linger, start, userns,
         user, home, shell, sftp, path, cgroups, events, services, image, open_files, sessions, idle, session, expires,
         hours, sources, hour_bytes, source_bytes, count, _) = _HEAD.unpack_from(data)  # fmt: skip
        if magic != MAGIC or size != len(data) or size != _HEAD.size + 8 * count:
            raise ValueError("not an entry record of this version")
        return cls(
            user=_str(user), uid=uid, gid=gid, pid=pid, start=start, userns=userns, home=_str(home), shell=_str(shell),
            sftp=_str(sftp), path=_str(path), cgroups=_list(cgroups), events=_list(events), image=_str(image),
            linger=linger, flags=flags, services=_list(services), filter=data[_HEAD.size :], open_files=open_files,
            sessions=sessions, idle=idle, session=session, expires=expires,
            hours=tuple(_HOURS.iter_unpack(hour_bytes))[:hours],
            sources=tuple((address[:length], prefix) for length, prefix, address in
                          list(_SOURCE.iter_unpack(source_bytes))[:sources]),
        )  # fmt: skip


class Session:
    """One login that the hook (or ``jailctl exec``) admitted.

    pid, start: the process that called PAM (sshd's privileged one, su, login); the door accepts a login only
    below such a process. time: seconds since the epoch. auth: what sshd says of the method (``SSH_AUTH_INFO_0``).
    """

    def __init__(
        self, pid: int, start: int, time: int, user: str, service: str, rhost: str, tty: str, auth: str
    ) -> None:
        self.pid, self.start, self.time, self.user = pid, start, time, user
        self.service, self.rhost, self.tty, self.auth = service, rhost, tty, auth

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Session) and vars(self) == vars(other)

    def pack(self) -> bytes:
        return _SESSION.pack(
            SESSION_MAGIC, self.pid, 0, self.start, self.time, _text(self.user, 40), _text(self.service, 40),
            _text(self.rhost, 256), _text(self.tty, 64), _text(self.auth, 512),
        )  # fmt: skip

    @classmethod
    def unpack(cls, data: bytes) -> Session:
        if len(data) != _SESSION.size:
            raise ValueError("short session record")
        magic, pid, _, start, time, user, service, rhost, tty, auth = _SESSION.unpack(data)
        if magic != SESSION_MAGIC:
            raise ValueError("not a session record of this version")
        return cls(pid, start, time, _str(user), _str(service), _str(rhost), _str(tty), _str(auth))


def read_record(path: str) -> Record | None:
    """The record at ``path``, or None where there is none. Raise ValueError if it is damaged."""
    data = _read(path)
    return None if data is None else Record.unpack(data)


def read_session(path: str) -> Session | None:
    data = _read(path)
    return None if data is None else Session.unpack(data)


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)


def _text(value: str, size: int) -> bytes:
    data = value.encode()
    if len(data) >= size:  # the last byte stays 0: the C side relies on it
        raise ValueError(f"{value[:20]!r}... is longer than {size - 1} bytes")
    return data


def _list(data: bytes) -> tuple[str, ...]:
    return tuple(item.decode(errors="replace") for item in data.split(b"\0") if item)


def _many(form: struct.Struct, room: int, items: Sequence[tuple[Any, ...]]) -> bytes:
    if len(items) > room:
        raise ValueError(f"{len(items)} of what {room} fit of")
    return b"".join(form.pack(*item) for item in items)


def _str(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")
