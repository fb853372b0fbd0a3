"""The entry record and the session record: flat, root-owned files in the runtime directory.

The door and the hook (C, ``login/door/record.h``) read the same bytes; a test compares the offsets.
They are fixed structs, so nothing that a user starts has to parse anything. Native byte order: a record
never leaves the machine, and never survives a boot.

Imports nothing heavy (``dataclasses`` alone costs 8 ms): it lies on the login path.
"""

from __future__ import annotations

import os
import struct

MAGIC = b"JAILREC2"
SESSION_MAGIC = b"JAILSES1"
MAX_FILTER = 512
"""Instructions of a seccomp program (``struct sock_filter``, 8 bytes each)."""

_HEAD = struct.Struct("=8sIIIIiIQQ40s256s128s128s256s256s256s72sII")
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
    cgroup: a ``cgroup.procs`` file that takes a session's process, or empty. services: PAM services that may open
    a session. filter: seccomp program, ``struct sock_filter`` instructions, 8 bytes each. With FLAG_CHROOT there is no
    keeper and no filter: pid, start and userns are 0.
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
        cgroup: str,
        services: tuple[str, ...],
        image: str,
        linger: int,
        flags: int,
        filter: bytes,
    ) -> None:
        self.user, self.uid, self.gid = user, uid, gid
        self.pid, self.start, self.userns = pid, start, userns
        self.home, self.shell, self.sftp, self.path = home, shell, sftp, path
        self.cgroup, self.services, self.image = cgroup, services, image
        self.linger, self.flags, self.filter = linger, flags, filter

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
                _text(self.cgroup, 256),
                _text("\0".join(self.services), 255),
                _text(self.image, 72),
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
         user, home, shell, sftp, path, cgroup, services, image, count, _) = _HEAD.unpack_from(data)  # fmt: skip
        if magic != MAGIC or size != len(data) or size != _HEAD.size + 8 * count:
            raise ValueError("not an entry record of this version")
        return cls(
            user=_str(user), uid=uid, gid=gid, pid=pid, start=start, userns=userns, home=_str(home), shell=_str(shell),
            sftp=_str(sftp), path=_str(path), cgroup=_str(cgroup), image=_str(image), linger=linger, flags=flags,
            services=tuple(s.decode() for s in services.split(b"\0") if s), filter=data[_HEAD.size :],
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


def _str(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")
