"""Range requests (RFC 9110 §14): the byte ranges that a Range field asks for, and how they are labelled in a response.

Called by `web.handlers.static.byte_ranges`. Pure.
"""

from __future__ import annotations

from msgspec import Struct

from npserver.regex import regex

_UNIT = b"bytes="
_RANGE = regex(rb"(\d*)-(\d*)")
_MAX_DIGITS = 18  # a position with more digits lies past the end of any file


class ByteRange(Struct, frozen=True):
    """A satisfiable range of a representation: `length` bytes from `offset`, both in bytes."""

    offset: int
    length: int

    def content_range(self, size: int) -> bytes:
        """Return the value of Content-Range for this range of `size` bytes (RFC 9110 §14.4)."""
        return b"bytes %d-%d/%d" % (self.offset, self.offset + self.length - 1, size)


def parse_ranges(value: bytes, size: int, max_ranges: int) -> list[ByteRange] | None:
    """Parse a Range field for a representation of `size` bytes.

    Return the satisfiable ranges in the order requested; an empty list if there are none (answered with 416); None if
    the field is to be ignored (RFC 9110 §14.2): for another unit, wrong grammar, more than `max_ranges` ranges, or
    more bytes in total than the representation has, which only attacks and broken clients request.
    """
    if value[: len(_UNIT)].lower() != _UNIT:
        return None
    texts = [text for text in (text.strip(b" \t") for text in value[len(_UNIT) :].split(b",")) if text]
    if not texts or len(texts) > max_ranges:
        return None
    parts: list[ByteRange] = []
    for text in texts:
        match = _RANGE.fullmatch(text)
        if match is None or text == b"-":
            return None
        first, last = match.groups()
        if not first:
            length = min(_number(last), size)
            if not size:
                return None  # a suffix of an empty file is satisfiable, but no Content-Range can express it
            if length:
                parts.append(ByteRange(size - length, length))
            continue
        start = _number(first)
        end = _number(last) if last else size - 1
        if last and end < start:
            return None
        if start < size:
            parts.append(ByteRange(start, min(end, size - 1) - start + 1))
    if sum([part.length for part in parts]) > size:
        return None
    return parts


def unsatisfied_range(size: int) -> bytes:
    """Return the value of Content-Range in a 416 response, for a representation of `size` bytes."""
    return b"bytes */%d" % size


def multipart_heads(parts: list[ByteRange], size: int, media_type: bytes, boundary: bytes) -> tuple[list[bytes], bytes]:
    """Return the bytes before each part of a multipart/byteranges body, and those after the last (RFC 9110 §14.6).

    Args:
        parts: the ranges to be sent, at least one.
        size: bytes of the whole representation.
        media_type: of the representation.
        boundary: text that the representation does not hold.
    """
    heads = [
        b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n" % (boundary, media_type, part.content_range(size))
        for part in parts
    ]
    heads[0] = heads[0][2:]
    return heads, b"\r\n--%b--\r\n" % boundary


def _number(digits: bytes) -> int:
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS
