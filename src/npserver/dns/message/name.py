"""Domain names: from text to wire form and back (RFC 1035 §3.1, §5.1; RFC 4343 for case).

A name on the wire is a sequence of labels, each a length byte and up to 63 bytes, ended by a zero byte, 255 bytes at
most. `bytes.lower` lowers a whole name at once: length bytes are below 64, letters above.
"""

from __future__ import annotations

import re

from npserver.errors import clip
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
    """Read a name that has records: a host name, `_service` labels, a leading `*`, or RFC 2317's `0/25`.

    Raises: ValueError that says what is wrong.
    """
    return _parse(text, _OWNER_LABEL)


def parse_host(text: object) -> bytes:
    """Read a name that a record points to. `.` is the root, which means "none" in MX, SRV and SVCB.

    Raises: ValueError that says what is wrong.
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
    wire = b""
    for label in text.removesuffix(".").split("."):
        raw = _ascii(label, text)
        if not label_form.fullmatch(raw):
            raise ValueError(f"expected a domain name, got {clip(text)}" + ("" if raw else ": a label is empty"))
        if len(raw) > MAX_LABEL_BYTES:
            raise ValueError(f"a label of {clip(text)} is longer than {MAX_LABEL_BYTES} bytes")
        wire += _LENGTHS[len(raw)] + raw
    if len(wire) >= MAX_NAME_BYTES:
        raise ValueError(f"the name {clip(text)} is longer than {MAX_NAME_BYTES} bytes")
    return wire + ROOT


def _ascii(label: str, text: str) -> bytes:
    """A label as it goes over the wire: names beyond ASCII by IDNA (RFC 3490 §4.1)."""
    if label.isascii():
        return label.encode()
    try:
        return label.encode("idna")
    except UnicodeError as error:
        raise ValueError(f"{clip(text)} is no internationalized domain name: {error}") from None


def to_text(wire: bytes) -> str:
    """Write a valid name, with its final dot; odd bytes as `\\DDD`, dots in labels as `\\.` (RFC 1035 §5.1)."""
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
    """Take the first label off. The root has no parent and must not be given."""
    return wire[wire[0] + 1 :]


def labels(wire: bytes) -> list[bytes]:
    """The labels without their lengths, the root's left out."""
    found = []
    position = 0
    while length := wire[position]:
        found.append(wire[position + 1 : position + 1 + length])
        position += length + 1
    return found
