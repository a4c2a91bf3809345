"""The parts of QUIC packets that are read before there is a connection, and the packets sent without one.

RFC 8999 (the parts that all versions share), RFC 9000 §10.3 (stateless reset), §17.2 (long headers), RFC 9001 §5.8
(Retry integrity), §5.2 (keys of Initial packets). Pure.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
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
_INITIAL_SALT = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
_INITIAL_FIRST_BYTE = 0xC0  # the packet number has one byte
_TAG_BYTES = 16
_REFUSED = bytes((0x1C, 0x02, 0, 0))  # CONNECTION_CLOSE (§19.19): CONNECTION_REFUSED, of no frame, without a reason


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


def refusal(header: LongHeader, own_id: bytes) -> bytes:
    """Return the answer to a client's first Initial packet that refuses the connection (§5.2.2): an Initial packet with
    CONNECTION_CLOSE."""
    secret = hmac.digest(_INITIAL_SALT, header.destination, "sha256")
    secret = _expand(secret, b"server in", 32)
    key, nonce = _expand(secret, b"quic key", 16), _expand(secret, b"quic iv", 12)
    head = b"".join((
        bytes((_INITIAL_FIRST_BYTE,)), VERSION_1.to_bytes(4, "big"),
        bytes((len(header.source),)), header.source,
        bytes((len(own_id),)), own_id,
        b"\0",  # no token
        bytes((1 + len(_REFUSED) + _TAG_BYTES,)),
        b"\0",  # the packet number
    ))  # fmt: skip
    sealed = AESGCM(key).encrypt(nonce, _REFUSED, head)
    protection = Cipher(algorithms.AES(_expand(secret, b"quic hp", 16)), modes.ECB()).encryptor()
    mask = protection.update(sealed[3:19])  # RFC 9001 §5.4.2
    return bytes((head[0] ^ mask[0] & 0x0F,)) + head[1:-1] + bytes((mask[1],)) + sealed


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label of TLS 1.3 with SHA-256, for at most 32 bytes (RFC 8446 §7.1)."""
    label = b"tls13 " + label
    return hmac.digest(secret, size.to_bytes(2, "big") + bytes((len(label),)) + label + b"\0\1", "sha256")[:size]


def stateless_reset(token: bytes, size: int, random: bytes) -> bytes:
    """Return a packet of `size` bytes that looks like any other, and ends in the token (§10.3)."""
    return bytes((0x40 | random[0] & 0x3F,)) + random[1 : size - 16] + token
