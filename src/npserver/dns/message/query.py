"""Queries parsed and checked in full: those that the fast path of UDP does not recognise, and all that come by stream.

A message is a header of 12 bytes (`dns.message.header`), then the question (name, type, class), then records
(RFC 1035 §4.1). Any bytes result in a query, a reply that reports an error, or no reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Protocol

from npserver.dns.message import codes
from npserver.dns.message.edns import Edns, parse_opt
from npserver.dns.message.header import HEADER_BYTES, OPCODE_MASK, OPCODE_SHIFT, QR, RD, error_reply
from npserver.dns.message.name import MAX_LABEL_BYTES, MAX_NAME_BYTES

_HEADER = Struct("!HHHHHH")


class Signature(Protocol):
    """How the replies to a request are signed: see `dns.message.tsig`."""

    @property
    def key_name(self) -> bytes:
        """The name of the key, in lower case."""

    @property
    def size(self) -> int:
        """How many bytes it adds to a message."""

    def sign(self, reply: bytes, now: int) -> bytes:
        """Return the reply with its signature. `now`: seconds since 1970."""


@dataclass(slots=True)
class Query:
    """A well-formed query with one question."""

    data: bytes  # the whole message
    end: int  # position in `data` of the first byte after the question
    key: bytes  # the name asked for, in lower case
    qtype: int
    qclass: int
    recursion_desired: bool
    edns: Edns | None = None
    opcode: int = codes.OPCODE_QUERY
    is_signed: bool = False  # the last record is a TSIG record
    signature: Signature | None = None  # that of a request that was verified; `data` is without it then

    @property
    def question(self) -> bytes:
        """The bytes of the question, as sent."""
        return self.data[HEADER_BYTES : self.end]

    @property
    def head_index(self) -> int:
        """The index of the reply's head in `dns.zone.answer.heads`: RD + 2 * EDNS."""
        return self.recursion_desired + 2 * (self.edns is not None)


def parse_query(data: bytes) -> Query | bytes | None:
    """Return the query in a message, or the reply that reports an error in it, or None for no reply.

    There is no reply to a message shorter than a header, nor to a reply (QR), which could start a loop.
    """
    if len(data) < HEADER_BYTES:
        return None
    _, flags, questions, answers, authority, additional = _HEADER.unpack_from(data)
    if flags & QR:
        return None
    opcode = flags >> OPCODE_SHIFT & OPCODE_MASK
    if opcode == codes.OPCODE_UPDATE:
        return error_reply(data, codes.REFUSED)
    if opcode not in (codes.OPCODE_QUERY, codes.OPCODE_NOTIFY):
        return error_reply(data, codes.NOTIMP)
    # IXFR has an SOA in its authority section (RFC 1995 §3), NOTIFY in its answer section (RFC 1996 §3.7)
    if questions != 1 or authority > 1 or answers > (opcode == codes.OPCODE_NOTIFY):
        return error_reply(data, codes.FORMERR)
    end = name_end(data, HEADER_BYTES)
    if end is None or end + 4 > len(data):
        return error_reply(data, codes.FORMERR)
    query = Query(
        data,
        end + 4,
        data[HEADER_BYTES:end].lower(),
        int.from_bytes(data[end : end + 2], "big"),
        int.from_bytes(data[end + 2 : end + 4], "big"),
        bool(flags & RD),
        opcode=opcode,
    )
    if answers or authority or additional:
        return query if _read_records(query, answers + authority, additional) else error_reply(data, codes.FORMERR)
    return query if len(data) == query.end else error_reply(data, codes.FORMERR)


def make_question(number: int, key: bytes, qtype: int, *, is_for_resolver: bool = False) -> bytes:
    """Return a query with id `number` for a name: to a server that has it, or to a resolver, with RD."""
    head = _HEADER.pack(number, RD if is_for_resolver else 0, 1, 0, 0, 0)
    return head + key + qtype.to_bytes(2, "big") + codes.CLASS_IN.to_bytes(2, "big")


def name_end(data: bytes, position: int) -> int | None:
    """Return the position after the name at `position` in a question; None if it is malformed.

    A name has at most 255 bytes; compression pointers are malformed, because there is no name to point back to.
    """
    limit = min(len(data), position + MAX_NAME_BYTES)
    while position < limit:
        length = data[position]
        if not length:
            return position + 1
        if length > MAX_LABEL_BYTES:
            return None
        position += length + 1
    return None


def _read_records(query: Query, before: int, additional: int) -> bool:
    """Skip the records after the question and read OPT among them; false if any is malformed (RFC 6891 §6.1.1).

    `before`: the number of records before the additional section. A TSIG record must be the last one (RFC 8945 §5.1).
    """
    data = query.data
    position = query.end
    for number in range(before + additional):
        end = record_name_end(data, position)
        if end is None or end + 10 > len(data):
            return False
        after = end + 10 + int.from_bytes(data[end + 8 : end + 10], "big")
        if after > len(data):
            return False
        rtype = int.from_bytes(data[end : end + 2], "big")
        if rtype == codes.OPT:
            edns = parse_opt(data[position:after])
            if edns is None or query.edns is not None or number < before:
                return False
            query.edns = edns
        elif rtype == codes.TSIG:
            if number < max(before, before + additional - 1):
                return False
            query.is_signed = True
        position = after
    return position == len(data)


def record_name_end(data: bytes, position: int) -> int | None:
    """Return the position after the name at `position` in a record; None if it is malformed.

    The name may end in a compression pointer, which must point back (RFC 1035 §4.1.4) and is not followed.
    """
    start = position
    while position < len(data):
        length = data[position]
        if not length:
            return position + 1
        if length >= 0xC0:
            if position + 2 > len(data):
                return None
            target = (length & 0x3F) << 8 | data[position + 1]
            return position + 2 if HEADER_BYTES <= target < start else None
        if length > MAX_LABEL_BYTES or position + length - start > MAX_NAME_BYTES:
            return None
        position += length + 1
    return None
