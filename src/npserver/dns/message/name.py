"""Domain names: between text and wire form (RFC 1035 §3.1, §5.1; RFC 4343 for case).

A name on the wire is a sequence of labels, each a length byte and up to 63 bytes, ended by a zero byte; 255 bytes in
all. `bytes.lower` lowers a whole name at once, because length bytes are smaller than the codes of letters.
"""

from __future__ import annotations

import re

from npserver.errors import clip
from npserver.idn import to_ascii
from npserver.regex import regex

ROOT = b"\0"
WILDCARD = b"\x01*"
MAX_NAME_BYTES = 255
MAX_LABEL_BYTES = 63

_PLAIN = regex(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_OWNER_LABEL = regex(rb"[A-Za-z0-9_/+-]+|\*")
_HOST_LABEL = regex(rb"[A-Za-z0-9_-]+")
_ADDRESS = regex(r"[0-9]+(?:\.[0-9]+){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")
_LENGTHS = [bytes([length]) for length in range(MAX_LABEL_BYTES + 1)]


def parse_owner(text: str) -> bytes:
    """Return the owner name of records in wire form.

    Accepted are host names, `_service` labels, wildcards (`*`), and classless reverse zones (`0/25`, RFC 2317).

    Raises: ValueError with a message for the operator.
    """
    return _parse(text, _OWNER_LABEL)


def parse_host(text: object) -> bytes:
    """Return a host name in record data in wire form. `.` is the root, which means "none" in MX, SRV and SVCB.

    Raises: ValueError with a message for the operator.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected a host name, got {clip(text)}")
    if _ADDRESS.fullmatch(text):
        raise ValueError(f"expected a host name, got the address {clip(text)}")
    return _parse(text, _HOST_LABEL)


def _parse(text: str, label_form: re.Pattern[bytes]) -> bytes:
    if _PLAIN.fullmatch(text) and len(text) < MAX_NAME_BYTES - 1:
        encoded = text.encode()
        if encoded[-1] == 46:
            encoded = encoded[:-1]
        return b"".join([_LENGTHS[len(label)] + label for label in encoded.split(b".")]) + ROOT
    if text == ".":
        return ROOT
    try:
        ascii_text = to_ascii(text)
    except ValueError as error:
        raise ValueError(f"{clip(text)} is {error}") from None
    wire = b""
    for label in ascii_text.removesuffix(".").split("."):
        raw = label.encode()
        if not label_form.fullmatch(raw):
            raise ValueError(f"expected a domain name, got {clip(text)}" + ("" if raw else ": a label is empty"))
        if len(raw) > MAX_LABEL_BYTES:
            raise ValueError(f"a label of {clip(text)} is longer than {MAX_LABEL_BYTES} bytes")
        wire += _LENGTHS[len(raw)] + raw
    if len(wire) >= MAX_NAME_BYTES:
        raise ValueError(f"the name {clip(text)} is longer than {MAX_NAME_BYTES} bytes")
    return wire + ROOT


def to_text(wire: bytes) -> str:
    """Return a valid name as text with its final dot; special bytes as `\\DDD` or `\\.` (RFC 1035 §5.1)."""
    if wire == ROOT:
        return "."
    parts = []
    position = 0
    while length := wire[position]:
        label = wire[position + 1 : position + 1 + length]
        parts.append("".join([_escape(byte) for byte in label]))
        position += length + 1
    return ".".join(parts) + "."


def _escape(byte: int) -> str:
    if byte in b'.\\"();@$':
        return f"\\{chr(byte)}"
    return chr(byte) if 0x21 <= byte <= 0x7E else f"\\{byte:03d}"


def parent(wire: bytes) -> bytes:
    """Return the name without its first label. `wire` must not be the root, which has no parent."""
    return wire[wire[0] + 1 :]


def labels(wire: bytes) -> list[bytes]:
    """Return the labels without their length bytes and without the root."""
    found = []
    position = 0
    while length := wire[position]:
        found.append(wire[position + 1 : position + 1 + length])
        position += length + 1
    return found
