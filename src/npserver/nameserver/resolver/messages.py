"""Questions passed on to resolvers and what comes back: made, checked and remembered. Pure;
`nameserver.resolver.client` asks.

A reply is believed only if id, question and form are right (RFC 5452 §9); times to live count down while it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack

from npserver.dns.message import codes
from npserver.dns.message.edns import OPT_REPLIES
from npserver.dns.message.header import HEADER_BYTES, QR, TC
from npserver.dns.message.query import Query, name_end, record_name_end

MAX_KEPT_S = 86_400
_AD, _CD = 0x20, 0x10  # in the second byte of the flags (RFC 4035 §3.2)

#: What answers are told apart by: question in lower case, flags, EDNS and DO.
Key = tuple[bytes, int, int]


def key_of(query: Query) -> Key:
    """Equal for queries that get equal answers."""
    edns = query.edns
    return query.key + query.question[-4:], query.data[3] & (_AD | _CD), -1 if edns is None else edns[1]


def make_query(query: Query, number: int) -> bytes:
    """The question as a message of our own: id `number`, RD; EDNS without options if the client spoke it."""
    edns = query.edns
    head = pack("!HBBHHHH", number, 1, query.data[3] & (_AD | _CD), 1, 0, 0, edns is not None)
    return head + query.question + (OPT_REPLIES[edns[1]] if edns is not None else b"")


def is_reply(sent: bytes, data: bytes) -> bool:
    """Whether `data` is a well-formed reply to `sent`."""
    if len(data) < HEADER_BYTES or data[:2] != sent[:2] or data[2] & 0xF8 != QR >> 8 or data[4:6] != b"\0\x01":
        return False
    end = name_end(data, HEADER_BYTES)
    if end is None or data[HEADER_BYTES : end + 4].lower() != sent[HEADER_BYTES : end + 4].lower():
        return False
    return ttl_offsets(data) is not None


def is_failure(data: bytes) -> bool:
    """Whether a reply says that this resolver cannot help, so that another should be asked."""
    return data[3] & 0xF in (codes.SERVFAIL, codes.REFUSED, codes.NOTIMP, codes.FORMERR)


def is_truncated(data: bytes) -> bool:
    """Whether a reply says to come by TCP."""
    return bool(data[2] & TC >> 8)


def address_to(query: Query, reply: bytes) -> bytes:
    """A reply with the asker's id and spelling."""
    return query.data[:2] + reply[2:HEADER_BYTES] + query.question + reply[query.end :]


def fail(query: Query, rcode: int) -> bytes:
    """A reply without records: QR, the asker's RD, RA."""
    edns = query.edns
    head = query.data[:2] + bytes((0x80 | query.data[2] & 1, 0x80 | rcode))
    return head + pack("!HHHH", 1, 0, 0, edns is not None) + query.question + (OPT_REPLIES[edns[1]] if edns else b"")


def truncate(query: Query) -> bytes:
    """A reply that sends the client to TCP."""
    reply = fail(query, codes.NOERROR)
    return reply[:2] + bytes((reply[2] | TC >> 8,)) + reply[3:]


def ttl_offsets(data: bytes) -> list[int] | None:
    """Where a message with one question holds the TTLs of its records, OPT aside; None if it is malformed."""
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
    return offsets if position == len(data) else None


def shortest_ttl(data: bytes) -> int:
    """How long a reply holds; 0 if it is a failure or says nothing about it. A "no" holds as long as its SOA says."""
    if data[3] & 0xF not in (codes.NOERROR, codes.NXDOMAIN):
        return 0
    return min([int.from_bytes(data[at : at + 4], "big") for at in ttl_offsets(data) or ()], default=0)


@dataclass(slots=True)
class _Kept:
    data: bytes
    since: float
    until: float
    offsets: list[int]


class Cache:
    """Positive answers of resolvers, the oldest dropped first."""

    __slots__ = ("_kept", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: dict[Key, _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, key: Key, reply: bytes, now: float) -> None:
        """Keep a reply that `is_reply`, if it has answers that may be kept."""
        ttl = shortest_ttl(reply)
        if not self.size or not ttl or reply[3] & 0xF or is_truncated(reply) or reply[6:8] == b"\0\0":
            return
        self._kept.pop(key, None)
        while len(self._kept) >= self.size:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = _Kept(reply, now, now + min(ttl, MAX_KEPT_S), ttl_offsets(reply) or [])

    def get(self, key: Key, now: float) -> bytes | None:
        """A kept reply with its times counted down."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if now >= kept.until:
            del self._kept[key]
            return None
        age = int(now - kept.since)
        data = bytearray(kept.data)
        for at in kept.offsets:
            ttl = int.from_bytes(data[at : at + 4], "big")
            data[at : at + 4] = max(0, ttl - age).to_bytes(4, "big")
        return bytes(data)
