"""Frames, settings and error codes of HTTP/3 (RFC 9114 §7, §8, §11; RFC 9204 §6). Pure."""

from __future__ import annotations

DATA = 0x0
HEADERS = 0x1
CANCEL_PUSH = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
GOAWAY = 0x7
MAX_PUSH_ID = 0xD
PRIORITY_UPDATE = 0xF0700  # of a request stream (RFC 9218 §7.2)
PUSH_PRIORITY_UPDATE = 0xF0701
#: Types of HTTP/2 that must not come (§7.2.8).
HTTP2_TYPES = frozenset({0x2, 0x6, 0x8, 0x9})
#: Types that only control streams have.
CONTROL_TYPES = frozenset({CANCEL_PUSH, SETTINGS, GOAWAY, MAX_PUSH_ID, PRIORITY_UPDATE, PUSH_PRIORITY_UPDATE})

CONTROL_STREAM, PUSH_STREAM, ENCODER_STREAM, DECODER_STREAM = 0x0, 0x1, 0x2, 0x3  # §6.2; RFC 9204 §4.2

QPACK_MAX_TABLE_CAPACITY = 0x1
MAX_FIELD_SECTION_SIZE = 0x6
QPACK_BLOCKED_STREAMS = 0x7
ENABLE_CONNECT_PROTOCOL = 0x8  # RFC 9220 §3
HTTP2_SETTINGS = frozenset({0x0, 0x2, 0x3, 0x4, 0x5})  # reserved (§7.2.4.1)

NO_ERROR = 0x100
GENERAL_PROTOCOL_ERROR = 0x101
INTERNAL_ERROR = 0x102
STREAM_CREATION_ERROR = 0x103
CLOSED_CRITICAL_STREAM = 0x104
FRAME_UNEXPECTED = 0x105
FRAME_ERROR = 0x106
EXCESSIVE_LOAD = 0x107
ID_ERROR = 0x108
SETTINGS_ERROR = 0x109
MISSING_SETTINGS = 0x10A
REQUEST_REJECTED = 0x10B
REQUEST_CANCELLED = 0x10C
REQUEST_INCOMPLETE = 0x10D
MESSAGE_ERROR = 0x10E
QPACK_DECOMPRESSION_FAILED = 0x200
QPACK_ENCODER_STREAM_ERROR = 0x201
QPACK_DECODER_STREAM_ERROR = 0x202

MAX_VARINT = (1 << 62) - 1


def varint(value: int) -> bytes:
    """Return a variable-length integer (RFC 9000 §16)."""
    if value < 0x40:
        return bytes((value,))
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 0x4000_0000:
        return (value | 0x8000_0000).to_bytes(4, "big")
    return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")


def frame(kind: int, payload: bytes) -> bytes:
    """Return a frame."""
    return varint(kind) + varint(len(payload)) + payload


def settings_frame(settings: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, b"".join([varint(name) + varint(value) for name, value in settings.items()]))


def parse_settings(payload: bytes) -> dict[int, int]:
    """Return the settings of a frame. Raises: ValueError for a malformed frame, KeyError for a setting that must not be
    there."""
    found: dict[int, int] = {}
    at = 0
    while at < len(payload):
        name, at = read_varint(payload, at)
        value, at = read_varint(payload, at)
        if name < 0 or value < 0:
            raise ValueError("SETTINGS ends within a setting")
        if name in found or name in HTTP2_SETTINGS:
            raise KeyError(name)
        found[name] = value
    return found


def read_varint(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return a variable-length integer, and where the next field begins; -1 if the data ends within it."""
    if at >= len(data):
        return -1, at
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        return -1, at
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def stream_cancellation(stream_id: int) -> bytes:
    """Return the instruction that a field section will not be decoded (RFC 9204 §4.4.2)."""
    if stream_id < 63:
        return bytes((0x40 | stream_id,))
    rest, found = stream_id - 63, bytearray((0x7F,))
    while rest >= 0x80:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)
