"""Conditional requests (RFC 9110 §13): whether a client's copy is still good, whether its precondition holds.

Called by `web.handlers.static.handler` with the validators of the representation it would send. Pure.
"""

from __future__ import annotations

from enum import Enum

from npserver.http.dates import parse_date
from npserver.regex import regex

#: Fields that make a request conditional, without If-Range, which matters only beside Range.
CONDITIONAL_FIELDS = frozenset({b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"})

_ENTITY_TAG = regex(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class Outcome(Enum):
    """What the preconditions make of a request (RFC 9110 §13.2.2)."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not modified"  # 304
    FAILED = "failed"  # 412


def evaluate(fields: dict[bytes, bytes], etag: bytes, modified_s: int) -> Outcome:
    """Evaluate the preconditions of a GET or HEAD request in the order of RFC 9110 §13.2.2.

    Args:
        fields: the request's, by lower-case name.
        etag: the strong entity tag of the selected representation, with its quotes.
        modified_s: its Last-Modified.
    """
    if (value := fields.get(b"if-match")) is not None:
        if not _matches_strongly(value, etag):
            return Outcome.FAILED
    elif (value := fields.get(b"if-unmodified-since")) is not None:
        date = _read_date(value)
        if date is not None and modified_s > date:
            return Outcome.FAILED
    if (value := fields.get(b"if-none-match")) is not None:
        if value == etag or _matches_weakly(value, etag):
            return Outcome.NOT_MODIFIED
    elif (value := fields.get(b"if-modified-since")) is not None:
        date = _read_date(value)
        if date is not None and modified_s <= date:
            return Outcome.NOT_MODIFIED
    return Outcome.PROCEED


def is_range_wanted(if_range: bytes | None, etag: bytes, modified_s: int, now_s: float) -> bool:
    """Tell whether a Range field counts beside this If-Range (RFC 9110 §13.1.5).

    A date is a strong validator only if the file was a second old when the date was given out (§8.8.2.2).
    """
    if if_range is None:
        return True
    if if_range.startswith((b'"', b"W/")):
        return if_range == etag
    return _read_date(if_range) == modified_s and modified_s + 1 <= now_s


def _matches_strongly(value: bytes, etag: bytes) -> bool:
    """If-Match compares strongly (RFC 9110 §13.1.1)."""
    return value == b"*" or any(not weak and tag == etag for weak, tag in _ENTITY_TAG.findall(value))


def _matches_weakly(value: bytes, etag: bytes) -> bool:
    """If-None-Match compares weakly (RFC 9110 §13.1.2)."""
    return value == b"*" or any(tag == etag for _, tag in _ENTITY_TAG.findall(value))


def _read_date(value: bytes) -> int | None:
    return parse_date(value.decode("latin-1"))
