"""The header of a DNS message (RFC 1035 §4.1.1): id, flags and four record counts, 2 bytes each, big-endian."""

from __future__ import annotations

HEADER_BYTES = 12
MAX_MESSAGE_BYTES = 65_535  # over a stream: the length before a message has 2 bytes (RFC 1035 §4.2.2)

#: Flags: reply, authoritative answer, truncated, recursion desired, recursion available.
QR, AA, TC, RD, RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080

OPCODE_SHIFT, OPCODE_MASK = 11, 0xF


def error_reply(query: bytes, rcode: int) -> bytes:
    """Return a reply that is a header alone, with id, opcode and RD of `query`, which has at least a header."""
    flags = int.from_bytes(query[2:4], "big") & (OPCODE_MASK << OPCODE_SHIFT | RD)
    return query[:2] + (QR | flags | rcode).to_bytes(2, "big") + bytes(8)
