"""The parts of QUIC packets that are read before there is a connection, and the packets sent without one.

RFC 8999 (the parts that all versions share), RFC 9000 §10.3 (stateless reset), §17.2 (long headers), RFC 9001 §5.8
(Retry integrity). Pure.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

VERSION_1 = 1
INITIAL, ZERO_RTT, HANDSHAKE = 0, 1, 2  # types of long-header packets
MIN_INITIAL_BYTES = 1200  # of a client's datagram with an Initial packet (§14.1)
MIN_ORIGINAL_ID_BYTES = 8  # that a client chooses (§7.2)
MAX_ID_BYTES = 20
MIN_RESET_BYTES = 21
_LONG = 0x80
_RETRY_CIPHER = AESGCM(bytes.fromhex("be0c690b9f66575a1d766b54e368c84e"))
_RETRY_NONCE = bytes.fromhex("461599d35d632bf2239825bb")
_RETRY_FIRST_BYTE = 0xF0


class LongHeader(Struct, frozen=True):
    """The beginning of a packet with a long header."""

    version: int
    kind: int  # of version 1
    destination: bytes
    source: bytes
    token: bytes = b""  # of an Initial packet of version 1


def parse_long_header(data: bytes) -> LongHeader | None:
    """Return the header of the first packet of a datagram; None if it is malformed."""
    if len(data) < 7:
        return None
    version = int.from_bytes(data[1:5], "big")
    at = 6 + data[5]
    if at >= len(data):
        return None
    destination = data[6:at]
    end = at + 1 + data[at]
    source = data[at + 1 : end]
    if end > len(data):
        return None
    kind = data[0] >> 4 & 3
    if version != VERSION_1:
        return LongHeader(version, kind, destination, source)
    if len(destination) > MAX_ID_BYTES or len(source) > MAX_ID_BYTES:
        return None
    token = b""
    if kind == INITIAL:
        size, start = read_varint(data, end)
        if size < 0 or start + size > len(data):
            return None
        token = data[start : start + size]
    return LongHeader(version, kind, destination, source, token)


def read_varint(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return a variable-length integer (§16) and where the next field begins; -1 if the data ends within it."""
    if at >= len(data):
        return -1, at
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        return -1, at
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def version_negotiation(header: LongHeader, random: bytes) -> bytes:
    """Return the packet that tells a client our version (§17.2.1). `random`: 5 bytes, for a version that is none."""
    unused = bytes(byte & 0xF0 | 0x0A for byte in random[1:5])  # §15: reserved to exercise this negotiation
    return b"".join((
        bytes((_LONG | random[0],)), bytes(4),
        bytes((len(header.source),)), header.source,
        bytes((len(header.destination),)), header.destination,
        VERSION_1.to_bytes(4, "big"), unused,
    ))  # fmt: skip


def retry(header: LongHeader, own_id: bytes, token: bytes) -> bytes:
    """Return a Retry packet for a client's first Initial packet (§17.2.5)."""
    packet = b"".join((
        bytes((_RETRY_FIRST_BYTE,)), VERSION_1.to_bytes(4, "big"),
        bytes((len(header.source),)), header.source,
        bytes((len(own_id),)), own_id,
        token,
    ))  # fmt: skip
    original = bytes((len(header.destination),)) + header.destination
    return packet + bytes(_RETRY_CIPHER.encrypt(_RETRY_NONCE, b"", original + packet))


def stateless_reset(token: bytes, size: int, random: bytes) -> bytes:
    """Return a packet of `size` bytes that looks like any other, and ends in the token (§10.3)."""
    return bytes((0x40 | random[0] & 0x3F,)) + random[1 : size - 16] + token
