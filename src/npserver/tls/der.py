"""Reads DER, the encoding of certificates and revocation lists (X.690): elements, times, distinguished names. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

INTEGER, BIT_STRING, OID, BMP_STRING, UTC_TIME, GENERALIZED_TIME = 0x02, 0x03, 0x06, 0x1E, 0x17, 0x18
SEQUENCE, SET = 0x30, 0x31

#: The tag and the content of an element.
Element = tuple[int, bytes]

_ATTRIBUTES = {
    "550403": "CN", "550406": "C", "550407": "L", "550408": "ST", "55040a": "O", "55040b": "OU",
    "0992268993f22c640119": "DC",
}  # fmt: skip


class DerError(ValueError):
    """The bytes are not what they should be."""


def element(data: bytes, start: int) -> tuple[int, bytes, int]:
    """Return the tag and the content of the element at `start`, and its end (X.690 §8.1). Raises: DerError."""
    if start + 2 > len(data):
        raise DerError("truncated")
    tag, size, start = data[start], data[start + 1], start + 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4 or start + count > len(data):
            raise DerError("malformed length")
        size, start = int.from_bytes(data[start : start + count], "big"), start + count
    end = start + size
    if end > len(data):
        raise DerError("truncated")
    return tag, data[start:end], end


def children(data: bytes) -> list[Element]:
    """Return the elements of a content. Raises: DerError."""
    found, at = [], 0
    while at < len(data):
        tag, content, at = element(data, at)
        found.append((tag, content))
    return found


def only(data: bytes, tag: int) -> bytes:
    """Return the content of the first element, which must have this tag. Raises: DerError."""
    found, content, _ = element(data, 0)
    if found != tag:
        raise DerError(f"expected element {tag:#x}, got {found:#x}")
    return content


def expect(elements: list[Element], index: int, tag: int) -> bytes:
    """Return the content of an element, which must be there and have this tag. Raises: DerError."""
    if index >= len(elements) or elements[index][0] != tag:
        raise DerError(f"expected element {tag:#x}")
    return elements[index][1]


def time_at(elements: list[Element], index: int) -> datetime:
    """Return a time. Two-digit years from 50 on are 19xx, others 20xx (RFC 5280 §4.1.2.5.1). Raises: DerError."""
    if index >= len(elements) or elements[index][0] not in (UTC_TIME, GENERALIZED_TIME):
        raise DerError("a time is missing")
    tag, content = elements[index]
    text = content.decode("ascii", "replace")
    if tag == UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise DerError("malformed time") from error


def name_text(name: bytes) -> str:
    """Return the text of a distinguished name's content, such as `O=Example,CN=Staff CA`. Raises: DerError."""
    parts = []
    for tag, group in children(name):
        for _, pair in children(group) if tag == SET else ():
            pieces = children(pair)
            kind, (form, content) = expect(pieces, 0, OID).hex(), (pieces[1] if len(pieces) > 1 else (0, b""))
            text = content.decode("utf-16-be" if form == BMP_STRING else "utf-8", "replace")
            parts.append(f"{_ATTRIBUTES.get(kind, kind)}={' '.join(text.split())}")
    return ",".join(parts)


def extension(extensions: bytes, kind: bytes) -> bytes:
    """Return the value of an extension of this type in a certificate or revocation list, DER; b"" if it has none.

    Raises: DerError.
    """
    for tag, content in children(only(extensions, SEQUENCE)) if extensions else ():
        parts = children(content) if tag == SEQUENCE else []
        if len(parts) >= 2 and parts[0] == (OID, kind):
            return parts[-1][1]
    return b""
