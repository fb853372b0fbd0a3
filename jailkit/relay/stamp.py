"""One datagram of a jail's logger as one line for the host's log, which says where it came from.

    in    <13>Nov 24 03:00:00 prog[7]: text       (what syslog(3), logger(1) send: RFC 3164 without a host name)
    out   <13>Nov 24 03:00:01 jailctl/alice: prog[7]: text

Whatever was sent: exactly one line, its time ours, its tag ours, and the rest a text without control characters from
which the bytes that were sent can be told (CVE-2023-28486; RFC 5424, section 8.2).

The name follows a slash and not in brackets: journald takes those for a process id and shows its sender's own instead.
For rsyslog the program's name is "jailctl" both ways.
"""

from __future__ import annotations

from .limits import LINE_BYTES

_USER = 1
_OPEN = frozenset({_USER, 2, 3, 9, 11, *range(16, 24)})
"""Facilities that a jail may use: user, mail, daemon, cron, ftp, local0 to local7. kern, auth and authpriv are what
the host's own watchers (fail2ban, logcheck) believe."""
_CRITICAL = 2
"""Worse ones, alert and emerg, are written to every terminal of the host (rsyslog's omusrmsg, journald's wall)."""
_NOTICE = 13
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


def line(data: bytes, size: int, name: str, when: str) -> bytes:
    """``data``, the beginning of a message of ``size`` bytes, as a line of at most LINE_BYTES. name: the jail's.
    when: "Nov 24 03:00:01"."""
    priority, rest = _priority(data)
    rest = _without_time(rest)
    if len(data) == size:
        rest = rest.rstrip(b"\n\0")
    head = f"<{priority}>{when} jailctl/{name}: ".encode()
    text = escaped(rest)
    room = LINE_BYTES - len(head)
    if len(text) > room or len(data) < size:
        mark = b" [cut: %d bytes]" % size
        text = text[: room - len(mark)].decode(errors="ignore").encode() + mark
    return head + text


def say(name: str, when: str, text: str) -> bytes:
    """A line of the relay's own about a jail. Its tag is none that a jail's line can have."""
    return note(f"jailctl-relay/{name}", when, text)


def note(tag: str, when: str, text: str) -> bytes:
    """A line of our own, a warning."""
    return f"<{_USER * 8 + 4}>{when} {tag}: ".encode() + escaped(text.encode())


def _priority(data: bytes) -> tuple[int, bytes]:
    """The priority that is passed on, and what follows ``<N>``; RFC 3164, section 4.3.3, for what has none."""
    end = data.find(b">", 1, 5)
    number = data[1:end] if data[:1] == b"<" and end > 1 else b""
    if not number.isdigit() or int(number) > 191:
        return _NOTICE, data
    facility, severity = divmod(int(number), 8)
    return (facility if facility in _OPEN else _USER) * 8 + max(severity, _CRITICAL), data[end + 1 :]


def _without_time(text: bytes) -> bytes:
    """The sender's own time is left out: ``Nov 24 03:00:00 ``, or ``1 2026-11-24T03:00:00Z `` (RFC 5424)."""
    if text[:3] in _MONTHS and text[3:4] == text[6:7] == text[15:16] == b" " and text[9:10] == text[12:13] == b":":
        return text[16:]
    version, _, after = text[:64].partition(b" ")
    time, blank, _ = after.partition(b" ")
    if version == b"1" and blank and (time == b"-" or (time[4:5] == time[7:8] == b"-" and time[10:11] == b"T")):
        return text[len(version) + len(time) + 2 :]
    return text


def escaped(data: bytes) -> bytes:
    """UTF-8 in which each byte of a character that is not printable, or of none at all, is ``\\xNN``, and a backslash
    two of them."""
    text = data.replace(b"\\", b"\\\\").decode(errors="backslashreplace")
    if not text.isprintable():
        text = text.translate({ord(char): _escape(char) for char in set(text) if not char.isprintable()})
    return text.encode()


def _escape(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode())
