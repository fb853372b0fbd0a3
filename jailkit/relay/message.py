"""DNS messages as the relay lets them pass (RFC 1035, section 4; EDNS: RFC 6891).

A query is not forwarded: it is read, and one of our own is written that asks the same. So nothing passes but a name, a
type, and four bits. The answer is the resolver's, and what is checked of it is that it belongs to the question.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False  # typing's own constant costs an import
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_QUERY = 512
"""Bytes. A name has 255 at most; what is longer carries what is left out anyway."""
_HEADER = struct.Struct("!HHHHHH")
_FLAGS = struct.Struct("!HHHHH")
_QUESTION = struct.Struct("!HH")
_OPT = struct.Struct("!HHIH")  # type, class: payload size, ttl: extended flags, length of its data
_RESPONSE, _OPCODE, _TRUNCATED = 0x8000, 0x7800, 0x0200
_KEPT = 0x0100 | 0x0020 | 0x0010  # RD; AD, CD (RFC 4035, sections 4.6, 3.2.2)
_DO = 0x8000
_IN = 1
_TRANSFERS = frozenset({251, 252})
"""IXFR, AXFR: a whole zone is not a lookup (RFC 5936)."""
_OPT_TYPE = 41
_PAYLOAD = 1232
"""What fits into a packet everywhere (DNS flag day 2020)."""
SERVFAIL, REFUSED = 2, 5


class Query:
    """What was asked. question: name, type and class as bytes. limit: the longest answer by UDP."""

    __slots__ = ("_edns", "_flags", "_id", "limit", "question")

    def __init__(self, data: bytes) -> None:
        """Raise ValueError for anything but one plain question for a record of class IN."""
        if not 12 < len(data) <= MAX_QUERY:
            raise ValueError("length")
        _, flags, questions, answers, authorities, extra = _HEADER.unpack_from(data)
        if flags & (_RESPONSE | _OPCODE | _TRUNCATED) or (questions, answers, authorities) != (1, 0, 0) or extra > 1:
            raise ValueError("header")
        end = _name_end(data)
        kind, family = _QUESTION.unpack_from(data.ljust(end + 4, b"\0"), end)
        if end + 4 > len(data) or family != _IN or kind in _TRANSFERS or kind in (0, _OPT_TYPE):
            raise ValueError("question")
        self._id, self.question = data[:2], data[12 : end + 4]
        self._flags = flags & _KEPT
        self._edns, self.limit = _edns(data[end + 4 :], extra)

    def asked_as(self, number: int) -> bytes:
        """The message for a resolver, with the id ``number``."""
        head = _HEADER.pack(number, self._flags, 1, 0, 0, int(self._edns is not None))
        opt = b"" if self._edns is None else b"\0" + _OPT.pack(_OPT_TYPE, self.limit, self._edns, 0)
        return head + self.question + opt

    def answered_by(self, data: bytes, number: int) -> bytes | None:
        """The resolver's ``data`` for the asker, or None if it is not the answer to ``asked_as(number)``."""
        end = 12 + len(self.question)
        if len(data) < end:
            return None
        found, flags, questions = _HEADER.unpack_from(data)[:3]
        name, kind = self.question[:-4], self.question[-4:]
        same = data[12 : end - 4].lower() == name.lower() and data[end - 4 : end] == kind  # RFC 4343: case is nothing
        if found != number or not flags & _RESPONSE or flags & _OPCODE or questions != 1 or not same:
            return None
        return b"".join([self._id, data[2:12], self.question, data[end:]])

    def failed(self, code: int) -> bytes:
        """An answer of our own without a record: :data:`SERVFAIL` or :data:`REFUSED`."""
        return self._id + _FLAGS.pack(_RESPONSE | self._flags & 0x0100 | 0x0080 | code, 1, 0, 0, 0) + self.question

    def cut(self, answer: bytes) -> bytes:
        """``answer`` as it may go by UDP: one that is too long says so and holds nothing (RFC 2181, section 9)."""
        if len(answer) <= self.limit:
            return answer
        flags = int.from_bytes(answer[2:4], "big") | _TRUNCATED
        return self._id + _FLAGS.pack(flags, 1, 0, 0, 0) + self.question


def _name_end(data: bytes) -> int:
    """Where the name at 12 ends. No compression in a question: there is nothing before it to point to."""
    at = 12
    for length in _labels(data):
        at += length + 1
    if at + 1 - 12 > 255:
        raise ValueError("a name that is too long")
    return at + 1


def _labels(data: bytes) -> Iterator[int]:
    at = 12
    while length := data[at] if at < len(data) else 64:
        if length > 63:
            raise ValueError("label")
        yield length
        at += length + 1


def _edns(rest: bytes, extra: int) -> tuple[int | None, int]:
    """Extended flags to be sent, or None where the asker knows no EDNS; and the longest answer."""
    if extra == 0:
        if rest:
            raise ValueError("more than a question")
        return None, 512
    if len(rest) < 11 or rest[0] != 0:
        raise ValueError("additional record")
    kind, payload, flags, length = _OPT.unpack_from(rest, 1)
    if kind != _OPT_TYPE or length != len(rest) - 11 or flags >> 16:
        raise ValueError("additional record")
    return flags & _DO, min(max(payload, 512), _PAYLOAD)


def resolvers(text: str) -> list[str]:
    """Addresses of the name servers in the text of a resolv.conf(5): the first three, and the local one for none."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and words[1] not in found:
            found.append(words[1])
    return found[:3] or ["127.0.0.1"]
