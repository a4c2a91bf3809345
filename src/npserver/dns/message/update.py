"""Dynamic updates (RFC 2136): a message that adds and removes records of a zone, and what a server says to it. Pure.

The sections of an update are named otherwise: zone (in place of the question), prerequisites, updates, additional.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.header import HEADER_BYTES, OPCODE_MASK, OPCODE_SHIFT, QR

CLASS_NONE = 254

#: Rcodes of updates beside those of queries (RFC 2136 §2.2).
RCODE_NAMES = {**codes.RCODE_NAMES, 6: "YXDOMAIN", 7: "YXRRSET", 8: "NXRRSET", 10: "NOTZONE"}


class Change(Struct, frozen=True):
    """One record to add or to remove."""

    owner: bytes
    rtype: int
    data: bytes
    ttl: int | None  # in seconds; None removes the record


def make_update(number: int, zone: bytes, changes: Sequence[Change]) -> bytes:
    """Return the message with id `number` that makes these changes in a zone, all of them or none (RFC 2136 §3.4)."""
    head = pack("!HHHHHH", number, codes.OPCODE_UPDATE << OPCODE_SHIFT, 1, 0, len(changes), 0)
    records = [
        one.owner
        + (
            pack("!HHIH", one.rtype, CLASS_NONE, 0, len(one.data))  # §2.5.4: this record, not the whole set
            if one.ttl is None
            else pack("!HHIH", one.rtype, codes.CLASS_IN, one.ttl, len(one.data))
        )
        + one.data
        for one in changes
    ]
    return b"".join((head, zone, pack("!HH", codes.SOA, codes.CLASS_IN), *records))


def reply_rcode(sent: bytes, reply: bytes) -> int:
    """Return the rcode of the reply to a request, query or update. Raises: ValueError if it is no reply to it."""
    if len(reply) < HEADER_BYTES or reply[:2] != sent[:2]:
        raise ValueError("it is no reply to the request")
    flags, asked = (int.from_bytes(one[2:4], "big") for one in (reply, sent))
    if not flags & QR or (flags ^ asked) >> OPCODE_SHIFT & OPCODE_MASK:
        raise ValueError("it is no reply to the request")
    return flags & 0xF


def rcode_name(number: int) -> str:
    """Return the name of an rcode: `NOTZONE`, or `RCODE11` for one without a name."""
    return RCODE_NAMES.get(number) or f"RCODE{number}"
