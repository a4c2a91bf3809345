"""Byte ranges (RFC 9110 §14): which parts of a representation a Range field asks for, and how they are sent.

Called by `web.handlers.static.byte_ranges`. Pure.
"""

from __future__ import annotations

from msgspec import Struct

from npserver.regex import regex

_UNIT = b"bytes="
_RANGE = regex(rb"(\d*)-(\d*)")
_MAX_DIGITS = 18  # longer positions lie past the end of any file


class ByteRange(Struct, frozen=True):
    """`length` bytes from `offset`."""

    offset: int
    length: int

    def content_range(self, size: int) -> bytes:
        """The value of Content-Range (RFC 9110 §14.4)."""
        return b"bytes %d-%d/%d" % (self.offset, self.offset + self.length - 1, size)


def parse_ranges(value: bytes, size: int, max_ranges: int) -> list[ByteRange] | None:
    """Read a Range field for a representation of `size` bytes.

    Gives the satisfiable parts in the order asked, an empty list if there are none (416), or None where the field is
    to be ignored (RFC 9110 §14.2): another unit, wrong grammar, too many ranges, or more bytes asked for in sum than
    there are, as only attacks and broken clients do.
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
                return None  # the whole of nothing satisfies a suffix, yet no Content-Range can say so
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
    """The value of Content-Range in a 416."""
    return b"bytes */%d" % size


def multipart_heads(parts: list[ByteRange], size: int, media_type: bytes, boundary: bytes) -> tuple[list[bytes], bytes]:
    """Give what stands before each part of a multipart/byteranges body, and what ends it (RFC 9110 §14.6)."""
    heads = [
        b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n" % (boundary, media_type, part.content_range(size))
        for part in parts
    ]
    heads[0] = heads[0][2:]
    return heads, b"\r\n--%b--\r\n" % boundary


def _number(digits: bytes) -> int:
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS
