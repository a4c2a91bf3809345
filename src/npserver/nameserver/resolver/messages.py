"""The messages exchanged with resolvers: make queries, check replies. Pure.

Used by `nameserver.resolver.question`. A reply is accepted only if its id, question and format are right (RFC 5452 §9);
bytes after its records are ignored. Clients' own replies that need no resolver are made here too.
"""

from __future__ import annotations

from struct import pack

from npserver.dns.message import codes
from npserver.dns.message.edns import (
    OPT_REPLIES,
    PADDING_OPTION,
    SUBNET_OPTION,
    extended_error,
    make_opt,
    make_option,
    select_options,
)
from npserver.dns.message.header import HEADER_BYTES, QR, TC
from npserver.dns.message.query import Query, name_end, record_name_end

AD, CD = 0x20, 0x10  # in the second byte of the flags (RFC 4035 §3.2)
PADDED_BYTES = 128  # encrypted queries are padded to a multiple of that (RFC 8467 §4.1)
_FIXED_OPT_BYTES = 11
_SUBNET = frozenset({SUBNET_OPTION})


def make_query(
    query: Query, number: int, *, with_edns: bool = True, subnet: bytes = b"", is_padded: bool = False
) -> bytes:
    """Return a query to a resolver for the client's question, with id `number` and RD set.

    AD asks whether the answer is authentic (RFC 6840 §5.7), CD and DO are the client's. Of its EDNS options none is
    passed on but `subnet`, an option in wire form, or empty.
    """
    head = pack("!HBBHHHH", number, 1, AD | query.data[3] & CD, 1, 0, 0, with_edns)
    if not with_edns:
        return head + query.question
    do = wants_dnssec(query)
    size = HEADER_BYTES + len(query.question) + _FIXED_OPT_BYTES + len(subnet)
    padding = make_option(PADDING_OPTION, bytes(-(size + 4) % PADDED_BYTES)) if is_padded else b""
    return head + query.question + (make_opt(do, subnet + padding) if subnet or padding else OPT_REPLIES[do])


def wants_dnssec(query: Query) -> int:
    """Return the DO bit of the client, 0 or 1."""
    return 0 if query.edns is None else query.edns[1]


def client_subnet(query: Query) -> bytes:
    """Return the option EDNS Client Subnet of a client's query, in wire form; empty if there is none."""
    data, position = query.data, query.end
    if query.edns is None:
        return b""
    while position < len(data):
        end = record_name_end(data, position)
        if end is None:
            break
        position = end + 10 + int.from_bytes(data[end + 8 : end + 10], "big")
        if int.from_bytes(data[end : end + 2], "big") == codes.OPT:
            return select_options(data[end + 10 : position], _SUBNET)
    return b""


def mix_case(message: bytes, bits: int) -> bytes:
    """Return a query with the letters of its name in upper or lower case, by the bits of a random number."""
    data = bytearray(message)
    position = HEADER_BYTES
    while length := data[position]:
        for at in range(position + 1, position + 1 + length):
            letter = data[at] | 0x20
            if 0x61 <= letter <= 0x7A:
                data[at] = letter & ~0x20 if bits & 1 else letter
                bits >>= 1
        position += length + 1
    return bytes(data)


def match_reply(sent: bytes, data: bytes) -> bytes | None:
    """Return the well-formed reply to `sent` in `data`, without bytes that may follow it; None if it is none."""
    if len(data) < HEADER_BYTES or data[:2] != sent[:2] or data[2] & 0xF8 != QR >> 8 or data[4:6] != b"\0\x01":
        return None
    end = name_end(data, HEADER_BYTES)
    if end is None or data[HEADER_BYTES : end + 4].lower() != sent[HEADER_BYTES : end + 4].lower():
        return None
    walked = walk(data)
    return None if walked is None else data[: walked[1]]


def has_same_case(sent: bytes, reply: bytes) -> bool:
    """Return whether a matching reply has the name of the question letter by letter."""
    end = name_end(sent, HEADER_BYTES)
    return reply[HEADER_BYTES:end] == sent[HEADER_BYTES:end]


def is_header_alone(sent: bytes, data: bytes) -> bool:
    """Whether `data` is a reply to `sent` without its question, as servers send that could not read the query."""
    return len(data) >= HEADER_BYTES and data[:2] == sent[:2] and data[2] & QR >> 8 > 0 and not any(data[4:12])


def is_truncated(data: bytes) -> bool:
    """Whether a reply is truncated and should be asked for over TCP."""
    return bool(data[2] & TC >> 8)


def fail(query: Query, rcode: int, options: bytes = b"") -> bytes:
    """Return a reply without records, with the flags QR, RA and the query's RD and CD.

    `options`: of EDNS, in wire form, for clients that have it.
    """
    edns = query.edns
    head = query.data[:2] + bytes((0x80 | query.data[2] & 1, 0x80 | query.data[3] & CD | rcode))
    opt = b"" if edns is None else make_opt(edns[1], options) if options else OPT_REPLIES[edns[1]]
    return head + pack("!HHHH", 1, 0, 0, edns is not None) + query.question + opt


def fail_because(query: Query, rcode: int, code: int, text: str = "") -> bytes:
    """Return a reply without records that says why, by the code of an extended error (RFC 8914)."""
    return fail(query, rcode, extended_error(code, text))


def truncate(query: Query) -> bytes:
    """Return a reply without records and with the TC flag, so that the client retries over TCP."""
    reply = fail(query, codes.NOERROR)
    return reply[:2] + bytes((reply[2] | TC >> 8,)) + reply[3:]


def ttl_offsets(data: bytes) -> list[int] | None:
    """Return the offsets of the records' TTLs (except OPT) in a message; None if it is malformed."""
    walked = walk(data)
    return walked[0] if walked is not None and walked[1] == len(data) else None


def walk(data: bytes) -> tuple[list[int], int] | None:
    """Return the offsets of the TTLs (except OPT) and the end of the last record; None if the message is malformed."""
    end = name_end(data, HEADER_BYTES)
    if end is None:
        return None
    position = end + 4
    offsets = []
    for _ in range(sum([int.from_bytes(data[at : at + 2], "big") for at in (6, 8, 10)])):
        end = record_name_end(data, position)
        if end is None or end + 10 > len(data):
            return None
        if int.from_bytes(data[end : end + 2], "big") != codes.OPT:
            offsets.append(end + 4)
        position = end + 10 + int.from_bytes(data[end + 8 : end + 10], "big")
    return (offsets, position) if position <= len(data) else None


def shortest_ttl(data: bytes) -> int:
    """Return how many seconds a reply may be cached: its shortest TTL, 0 for failures and replies without records."""
    if data[3] & 0xF not in (codes.NOERROR, codes.NXDOMAIN):
        return 0
    return min([int.from_bytes(data[at : at + 4], "big") for at in ttl_offsets(data) or ()], default=0)
