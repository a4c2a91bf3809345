"""What compression makes of a response's field lines (RFC 9110 §8.4, §8.8.1, §12.5.5). Pure decisions, cached.

Called by `web.middleware.compress.filter` with the field lines of each response. The field lines of most responses of
an application are the same again and again, so the decision about them is cached.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.http.memo import MemoOnSecondUse
from npserver.http.vary import with_vary
from npserver.regex import regex

if TYPE_CHECKING:
    from npserver.http.media_types import MediaTypes

MAX_CACHED = 512  # blocks of field lines
MAX_CACHED_BYTES = 2048  # longer blocks are not cached

#: Fields of responses that are left as they are: a part of a body, or a digest of the bytes that the upstream sends.
_BARRED = frozenset({b"content-range", b"content-md5", b"digest", b"content-digest", b"repr-digest"})
_NO_TRANSFORM = regex(rb"(?:^|[,\s])no-transform(?:$|[,;\s])", re.IGNORECASE)
_TAG = regex(rb'(?:W/)?"[^"]*"')


class Head(Struct, frozen=True):
    """What becomes of one block of field lines."""

    is_compressible: bool
    is_event_stream: bool = False
    plain: bytes = b""  # the lines if it is not compressed, with Vary
    coded: bytes = b""  # the lines if it is compressed, without Content-Encoding


LEFT_ALONE = Head(False)


class Heads:
    """The decisions for one rule."""

    __slots__ = ("_media", "_memo")

    def __init__(self, media: MediaTypes) -> None:
        self._media = media
        self._memo: MemoOnSecondUse[bytes, Head] = MemoOnSecondUse(self._decide, MAX_CACHED)

    def of(self, fields: bytes) -> Head:
        """Return the decision for the field lines of a response."""
        return self._memo[fields] if len(fields) <= MAX_CACHED_BYTES else self._decide(fields)

    def _decide(self, fields: bytes) -> Head:
        media_type = b""
        for name, value in _pairs(fields):
            if name == b"content-type":
                media_type = value
            elif _bars(name, value):
                return LEFT_ALONE
        if not self._media.is_compressible(media_type.decode("latin-1")):
            return LEFT_ALONE
        plain = with_vary(fields, b"Accept-Encoding")
        is_event_stream = media_type.partition(b";")[0].strip().lower() == b"text/event-stream"
        return Head(True, is_event_stream, plain, _coded(plain))


def _bars(name: bytes, value: bytes) -> bool:
    """Return whether a field says that the body is to stay as it is."""
    match name:
        case b"content-encoding":
            return value != b""
        case b"cache-control":
            return forbids_transforming(value)
        case _:
            return name in _BARRED


def forbids_transforming(cache_control: bytes) -> bool:
    """Return whether a value of Cache-Control has `no-transform` (RFC 9111 §5.2.1.6, §5.2.2.6)."""
    return _NO_TRANSFORM.search(cache_control) is not None


def weakened(fields: bytes, if_none_match: bytes | None) -> bytes:
    """Return the field lines of a 304: with a weak ETag and Vary if the client has named the weak one.

    The client has a compressed answer then, and updates it only if the entity tags are the same (RFC 9111 §4.3.4).
    """
    if not if_none_match:
        return fields
    for line in fields.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"etag":
            tag = value.strip()
            named = _TAG.findall(if_none_match)
            if b"W/" + tag in named and tag not in named:
                return with_vary(fields.replace(line, b"ETag: W/" + tag, 1), b"Accept-Encoding")
    return fields


def _coded(fields: bytes) -> bytes:
    """Return the field lines of a compressed answer: its bytes differ from the upstream's, and it has no ranges."""
    lines = []
    for line in fields.split(b"\r\n"):
        name, _, value = line.partition(b":")
        match name.lower():
            case b"accept-ranges" | b"content-encoding":
                continue
            case b"etag" if value.strip().startswith(b'"'):
                lines.append(b"ETag: W/" + value.strip())
            case _:
                lines.append(line)
    return b"\r\n".join(lines)


def _pairs(fields: bytes) -> list[tuple[bytes, bytes]]:
    found = [line.partition(b":") for line in fields.split(b"\r\n") if line]
    return [(name.lower(), value.strip()) for name, _, value in found]
