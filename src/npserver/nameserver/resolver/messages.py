"""The messages exchanged with resolvers: make queries, check replies, cache them. Pure.

Used by `nameserver.resolver.client` and `nameserver.resolver.question`. A reply is accepted only if its id, question
and format are right (RFC 5452 §9); bytes after its records are ignored. TTLs count down while a reply is cached.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack

from npserver.dns.message import codes
from npserver.dns.message.edns import OPT_REPLIES
from npserver.dns.message.header import HEADER_BYTES, QR, TC
from npserver.dns.message.query import Query, name_end, record_name_end

MAX_CACHED_S = 86_400
_AD, _CD = 0x20, 0x10  # in the second byte of the flags (RFC 4035 §3.2)

#: Identifies an answer: question in lower case, AD and CD flags, DO bit (-1 without EDNS).
Key = tuple[bytes, int, int]


def key_of(query: Query) -> Key:
    """Return the cache key of a query; queries with equal keys get equal answers."""
    edns = query.edns
    return query.key + query.question[-4:], query.data[3] & (_AD | _CD), -1 if edns is None else edns[1]


def make_query(query: Query, number: int, *, with_edns: bool = True) -> bytes:
    """Return a query to a resolver with id `number` and RD set.

    It has EDNS, without options, if the client sent EDNS and `with_edns` is set.
    """
    edns = query.edns if with_edns else None
    head = pack("!HBBHHHH", number, 1, query.data[3] & (_AD | _CD), 1, 0, 0, edns is not None)
    return head + query.question + (OPT_REPLIES[edns[1]] if edns is not None else b"")


def match_reply(sent: bytes, data: bytes) -> bytes | None:
    """Return the well-formed reply to `sent` in `data`, without bytes that may follow it; None if it is none."""
    if len(data) < HEADER_BYTES or data[:2] != sent[:2] or data[2] & 0xF8 != QR >> 8 or data[4:6] != b"\0\x01":
        return None
    end = name_end(data, HEADER_BYTES)
    if end is None or data[HEADER_BYTES : end + 4].lower() != sent[HEADER_BYTES : end + 4].lower():
        return None
    walked = _walk(data)
    return None if walked is None else data[: walked[1]]


def is_header_alone(sent: bytes, data: bytes) -> bool:
    """Whether `data` is a reply to `sent` without its question, as servers send that could not read the query."""
    return len(data) >= HEADER_BYTES and data[:2] == sent[:2] and data[2] & QR >> 8 > 0 and not any(data[4:12])


def is_failure(data: bytes) -> bool:
    """Whether a reply reports a failure of this resolver, so that another one should be asked."""
    return data[3] & 0xF in (codes.SERVFAIL, codes.REFUSED, codes.NOTIMP, codes.FORMERR)


def is_truncated(data: bytes) -> bool:
    """Whether a reply is truncated and should be asked for over TCP."""
    return bool(data[2] & TC >> 8)


def address_to(query: Query, reply: bytes) -> bytes:
    """Return a reply with the id of the client's query and its spelling of the name."""
    return query.data[:2] + reply[2:HEADER_BYTES] + query.question + reply[query.end :]


def fail(query: Query, rcode: int) -> bytes:
    """Return a reply without records, with the flags QR, RA and the query's RD."""
    edns = query.edns
    head = query.data[:2] + bytes((0x80 | query.data[2] & 1, 0x80 | rcode))
    return head + pack("!HHHH", 1, 0, 0, edns is not None) + query.question + (OPT_REPLIES[edns[1]] if edns else b"")


def truncate(query: Query) -> bytes:
    """Return a reply without records and with the TC flag, so that the client retries over TCP."""
    reply = fail(query, codes.NOERROR)
    return reply[:2] + bytes((reply[2] | TC >> 8,)) + reply[3:]


def ttl_offsets(data: bytes) -> list[int] | None:
    """Return the offsets of the records' TTLs (except OPT) in a message; None if it is malformed."""
    walked = _walk(data)
    return walked[0] if walked is not None and walked[1] == len(data) else None


def _walk(data: bytes) -> tuple[list[int], int] | None:
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
    """Return how many seconds a reply may be cached: its shortest TTL, 0 for failures and replies without records.

    A negative reply may be cached as long as its SOA record says.
    """
    if data[3] & 0xF not in (codes.NOERROR, codes.NXDOMAIN):
        return 0
    return min([int.from_bytes(data[at : at + 4], "big") for at in ttl_offsets(data) or ()], default=0)


@dataclass(slots=True)
class _Entry:
    data: bytes
    since: float
    until: float
    offsets: list[int]


class Cache:
    """Cache of positive answers from resolvers; a full cache drops the oldest entry."""

    __slots__ = ("_entries", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._entries: dict[Key, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: Key, reply: bytes, now: float) -> None:
        """Cache a reply checked by `match_reply`, if it is a positive answer that may be cached."""
        ttl = shortest_ttl(reply)
        if not self.size or not ttl or reply[3] & 0xF or is_truncated(reply) or reply[6:8] == b"\0\0":
            return
        self._entries.pop(key, None)
        while len(self._entries) >= self.size:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = _Entry(reply, now, now + min(ttl, MAX_CACHED_S), ttl_offsets(reply) or [])

    def get(self, key: Key, now: float) -> bytes | None:
        """Return a cached reply with its TTLs counted down."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now >= entry.until:
            del self._entries[key]
            return None
        age = int(now - entry.since)
        data = bytearray(entry.data)
        for at in entry.offsets:
            ttl = int.from_bytes(data[at : at + 4], "big")
            data[at : at + 4] = max(0, ttl - age).to_bytes(4, "big")
        return bytes(data)
