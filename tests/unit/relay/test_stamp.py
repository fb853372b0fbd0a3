"""What a jail's logger sent, as the host's log gets it. Attack A135: forged lines, fields and origins."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jailkit.relay import stamp
from jailkit.relay.limits import LINE_BYTES

WHEN = "Nov 24 03:00:01"
HEAD = re.compile(rb"<(\d{1,3})>Nov 24 03:00:01 jailctl/alice: ")


def stamped(data: bytes, size: int = -1) -> str:
    return stamp.line(data, len(data) if size < 0 else size, "alice", WHEN).decode()


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        # as syslog(3), logger(1), and an RFC 5424 sender write it
        (b"<13>Nov 24 02:59:59 prog[7]: text", "<13>Nov 24 03:00:01 jailctl/alice: prog[7]: text"),
        (b"<30>Nov  4 02:59:59 prog: text\n\0", "<30>Nov 24 03:00:01 jailctl/alice: prog: text"),
        (b"<14>1 2026-11-24T02:59:59.1+01:00 h app 7 - - text", "<14>Nov 24 03:00:01 jailctl/alice: h app 7 - - text"),
        (b"<14>1 - - app - - - text", "<14>Nov 24 03:00:01 jailctl/alice: - app - - - text"),
        (b"no head", "<13>Nov 24 03:00:01 jailctl/alice: no head"),
        (b"", "<13>Nov 24 03:00:01 jailctl/alice: "),
        # priorities: kern, auth, authpriv, audit are not hers; nothing goes to every terminal
        (b"<0>x", "<10>Nov 24 03:00:01 jailctl/alice: x"),
        (b"<38>sshd[1]: Accepted", "<14>Nov 24 03:00:01 jailctl/alice: sshd[1]: Accepted"),
        (b"<86>x", "<14>Nov 24 03:00:01 jailctl/alice: x"),
        (b"<46>x", "<14>Nov 24 03:00:01 jailctl/alice: x"),
        (b"<104>x", "<10>Nov 24 03:00:01 jailctl/alice: x"),
        (b"<128>x", "<130>Nov 24 03:00:01 jailctl/alice: x"),
        (b"<191>x", "<191>Nov 24 03:00:01 jailctl/alice: x"),
        (b"<192>x", "<13>Nov 24 03:00:01 jailctl/alice: <192>x"),
        (b"<-1>x", "<13>Nov 24 03:00:01 jailctl/alice: <-1>x"),
        (b"<1 >x", "<13>Nov 24 03:00:01 jailctl/alice: <1 >x"),
        (b"<0000013>x", "<13>Nov 24 03:00:01 jailctl/alice: <0000013>x"),
        (b"<\xc2\xb2>x", "<13>Nov 24 03:00:01 jailctl/alice: <\u00b2>x"),
        (b"<>x", "<13>Nov 24 03:00:01 jailctl/alice: <>x"),
        # a second line, a second head, a colour, a way back
        (b"<13>a\n<0>kernel: b", "<13>Nov 24 03:00:01 jailctl/alice: a\\x0a<0>kernel: b"),
        (b"<13>a\r\x1b[2Kb\x08\x7f", "<13>Nov 24 03:00:01 jailctl/alice: a\\x0d\\x1b[2Kb\\x08\\x7f"),
        (b"<13>jailctl/bob: x", "<13>Nov 24 03:00:01 jailctl/alice: jailctl/bob: x"),
        ("<13>\u2028\u202e\u00e4".encode(), "<13>Nov 24 03:00:01 jailctl/alice: \\xe2\\x80\\xa8\\xe2\\x80\\xae\u00e4"),
        (b"<13>\xff\\x0a", "<13>Nov 24 03:00:01 jailctl/alice: \\xff\\\\x0a"),
        (b"<13>a\0b", "<13>Nov 24 03:00:01 jailctl/alice: a\\x00b"),
    ],
)  # fmt: skip
def test_a135_line(sent: bytes, line: str) -> None:
    assert stamped(sent) == line


def test_a135_too_long() -> None:
    """Cut, and said so; never half a character."""
    for text in (b"y" * 2048, "\u00e4".encode() * 1024, b"\n" * 2048, b"\\" * 2048, b"\xff" * 2048):
        line = stamp.line(text, 200_000, "alice", WHEN)
        assert len(line) <= LINE_BYTES and line.endswith(b" [cut: 200000 bytes]")
        assert len(line) > LINE_BYTES - 5
        line.decode()
    assert b"cut" not in stamp.line(b"y" * 1900, 1900, "alice", WHEN)


def unescaped(text: str) -> bytes:
    out, at, data = b"", 0, text.encode()
    while at < len(data):
        if data[at : at + 1] != b"\\":
            out += data[at : at + 1]
            at += 1
        elif data[at + 1 : at + 2] == b"x":
            out += bytes.fromhex(data[at + 2 : at + 4].decode())
            at += 4
        else:
            out += b"\\"
            at += 2
    return out


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_a135_whatever_is_sent_is_one_line_and_can_be_told(data: bytes) -> None:
    line = stamp.line(data, len(data), "alice", WHEN)
    head = HEAD.match(line)
    assert head and 0 <= int(head[1]) <= 191 and int(head[1]) // 8 in {1, 2, 3, 9, 11, *range(16, 24)}
    text = line[head.end() :].decode()
    assert text.isprintable()
    assert data.rstrip(b"\n\0").endswith(unescaped(text).rstrip(b"\n\0"))


def test_a_line_of_the_relays_own_has_a_tag_that_no_jails_line_has() -> None:
    assert stamp.say("alice", WHEN, "3 lines dropped") == b"<12>Nov 24 03:00:01 jailctl-relay/alice: 3 lines dropped"
