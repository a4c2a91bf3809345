"""NOTIFY (RFC 1996): a primary server tells its secondaries that a zone has changed. Pure."""

from __future__ import annotations

from struct import pack

from npserver.dns.message import codes
from npserver.dns.message.header import AA, HEADER_BYTES, OPCODE_MASK, OPCODE_SHIFT, QR

_QUESTION = pack("!HH", codes.SOA, codes.CLASS_IN)


def make_notify(number: int, apex: bytes, soa: bytes | None = None) -> bytes:
    """Return the message with id `number`. `soa`: the data of the zone's SOA record, a hint (§3.7)."""
    flags = codes.OPCODE_NOTIFY << OPCODE_SHIFT | AA
    head = pack("!HHHHHH", number, flags, 1, 0 if soa is None else 1, 0, 0)
    answer = b"" if soa is None else pack("!HHHIH", 0xC000 | HEADER_BYTES, codes.SOA, codes.CLASS_IN, 0, len(soa)) + soa
    return head + apex + _QUESTION + answer


def notify_rcode(sent: bytes, reply: bytes) -> int | None:
    """Return the rcode of the reply to a NOTIFY; None if it is no reply to it."""
    if len(reply) < HEADER_BYTES or reply[:2] != sent[:2]:
        return None
    flags = int.from_bytes(reply[2:4], "big")
    is_reply = bool(flags & QR) and flags >> OPCODE_SHIFT & OPCODE_MASK == codes.OPCODE_NOTIFY
    return flags & 0xF if is_reply else None
