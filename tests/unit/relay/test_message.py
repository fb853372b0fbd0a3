"""DNS messages: what passes, and that nothing else does."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jailkit.relay import message
from jailkit.relay.lookups import address
from jailkit.relay.message import SERVFAIL, Query


def name(*labels: bytes) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def asked(
    question: bytes = name(b"db", b"example") + b"\0\1\0\1", flags: int = 0x0100,
    counts: tuple[int, ...] = (1, 0, 0, 0), more: bytes = b"", number: int = 0x1234,
) -> bytes:  # fmt: skip
    return struct.pack("!HHHHHH", number, flags, *counts) + question + more


def opt(payload: int, flags: int = 0, data: bytes = b"") -> bytes:
    return b"\0" + struct.pack("!HHIH", 41, payload, flags, len(data)) + data


def test_what_is_passed_on_is_ours() -> None:
    query = Query(asked())
    assert query.asked_as(7) == asked(number=7)
    assert query.limit == 512


def test_edns_is_passed_on_without_its_options() -> None:
    cookie = b"\0\x0a\0\x08abcdefgh"
    query = Query(asked(flags=0x0130, counts=(1, 0, 0, 1), more=opt(4096, 0x8000, cookie)))
    assert query.asked_as(7) == asked(flags=0x0130, counts=(1, 0, 0, 1), more=opt(1232, 0x8000), number=7)
    assert query.limit == 1232
    assert Query(asked(counts=(1, 0, 0, 1), more=opt(100))).limit == 512


QUESTION = name(b"db", b"example") + b"\0\1\0\1"
BAD = {
    "nothing": b"",
    "a header": asked(b""),
    "text": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an answer": asked(flags=0x8100),
    "a status query": asked(flags=0x1000),
    "a notification": asked(flags=0x2000),
    "an update": asked(flags=0x2800),
    "truncated": asked(flags=0x0200),
    "two questions": asked(QUESTION * 2, counts=(2, 0, 0, 0)),
    "no question": asked(counts=(0, 0, 0, 0)),
    "with an answer": asked(counts=(1, 1, 0, 0), more=name(b"x") + b"\0\1\0\1\0\0\0\0\0\4abcd"),
    "with an authority": asked(counts=(1, 0, 1, 0)),
    "more behind it": asked(more=b"smuggled"),
    "two additional records": asked(counts=(1, 0, 0, 2), more=opt(512) * 2),
    "another additional record": asked(counts=(1, 0, 0, 1), more=b"\0" + struct.pack("!HHIH", 250, 255, 0, 2) + b"ab"),
    "a named OPT": asked(counts=(1, 0, 0, 1), more=b"\1x" + opt(512)),
    "an OPT that is cut": asked(counts=(1, 0, 0, 1), more=opt(512, 0, b"abcd")[:-1]),
    "more behind OPT": asked(counts=(1, 0, 0, 1), more=opt(512) + b"x"),
    "EDNS version 1": asked(counts=(1, 0, 0, 1), more=opt(512, 1 << 16)),
    "class CHAOS": asked(name(b"version", b"bind") + b"\0\x10\0\3"),
    "a zone transfer": asked(name(b"example") + b"\0\xfc\0\1"),
    "an incremental one": asked(name(b"example") + b"\0\xfb\0\1"),
    "a pointer": asked(b"\xc0\x0c\0\1\0\1"),
    "a label of 64": asked(b"\x40" + b"a" * 64 + b"\0\0\1\0\1"),
    "a name of 256": asked(name(b"a" * 63, b"a" * 63, b"a" * 63, b"a" * 62) + b"\0\1\0\1"),
    "a name without end": asked(b"\3abc"),
    "a question that is cut": asked()[:-1],
    "too long": asked(more=b"x" * 500),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_what_is_no_plain_question_does_not_pass(data: bytes) -> None:
    with pytest.raises(ValueError):
        Query(data)


def test_the_longest_name_passes() -> None:
    long = name(b"a" * 63, b"a" * 63, b"a" * 63, b"a" * 61)
    assert len(long) == 255
    assert Query(asked(long + b"\0\1\0\1")).question == long + b"\0\1\0\1"


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_anything(data: bytes) -> None:
    try:
        query = Query(data)
    except ValueError:
        return
    again = Query(query.asked_as(9))
    assert again.question == query.question and again.asked_as(9) == query.asked_as(9)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_an_answer_of_anything(data: bytes) -> None:
    Query(asked()).answered_by(data, 7)


def test_an_answer_belongs_to_its_question() -> None:
    query = Query(asked())
    good = asked(flags=0x8180, number=7, more=b"records")
    assert query.answered_by(good, 7) == asked(flags=0x8180, number=0x1234, more=b"records")
    assert query.answered_by(good.replace(b"example", b"eXample"), 7) == asked(flags=0x8180, more=b"records")
    for bad in (
        good[:20], asked(flags=0x8180, number=8), asked(number=7), asked(flags=0x9180, number=7),
        asked(name(b"db", b"examplf") + b"\0\1\0\1", flags=0x8180, number=7),
        asked(flags=0x8180, counts=(0, 1, 0, 0), number=7),
        asked(name(b"db", b"example") + b"\0\x1c\0\1", flags=0x8180, number=7),
    ):  # fmt: skip
        assert query.answered_by(bad, 7) is None


def test_types_that_look_like_letters_are_no_case() -> None:
    """Type 65 (HTTPS) is not type 97."""
    query = Query(asked(name(b"a") + b"\0\x41\0\1"))
    assert query.answered_by(asked(name(b"a") + b"\0\x61\0\1", flags=0x8180, number=7), 7) is None


def test_answers_of_our_own() -> None:
    query = Query(asked())
    assert query.failed(SERVFAIL) == asked(flags=0x8182)
    long = asked(flags=0x8180, more=b"x" * 600)
    assert query.cut(long) == asked(flags=0x8380)
    assert query.cut(long[:512]) == long[:512]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["127.0.0.1"]),
        ("# nameserver 1.1.1.1\nsearch a\n", ["127.0.0.1"]),
        (" nameserver  192.0.2.1 # x\nnameserver 192.0.2.1\nnameserver ::1\n", ["192.0.2.1", "::1"]),
        ("".join(f"nameserver 192.0.2.{n}\n" for n in range(9)), ["192.0.2.0", "192.0.2.1", "192.0.2.2"]),
    ],
)
def test_resolvers(text: str, found: list[str]) -> None:
    assert message.resolvers(text) == found


def test_addresses() -> None:
    assert address("192.0.2.1") == [(2, ("192.0.2.1", 53))]
    assert address("fe80::1%3") == [(10, ("fe80::1", 53, 0, 3))]
    for bad in ("", "localhost", "192.0.2", "fe80::1%eth0", "::1 x", "1.2.3.4\0"):
        assert address(bad) == []
