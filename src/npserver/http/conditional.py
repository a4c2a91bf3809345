"""Conditional requests (RFC 9110 §13): whether the client's cached copy is current, and whether its preconditions hold.

Called by `web.handlers.static.handler` with the validators of the representation that it would send. Pure.
"""

from __future__ import annotations

from enum import Enum

from npserver.http.dates import parse_date
from npserver.regex import regex

#: Fields that make a request conditional. If-Range is not among them: it only has an effect together with Range.
CONDITIONAL_FIELDS = frozenset({b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"})

_ENTITY_TAG = regex(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class Outcome(Enum):
    """The result of evaluating the preconditions (RFC 9110 §13.2.2)."""

    PROCEED = "proceed"  # answer as if there were no preconditions
    NOT_MODIFIED = "not modified"  # 304
    FAILED = "failed"  # 412


def evaluate(fields: dict[bytes, bytes], etag: bytes, modified_s: int | None) -> Outcome:
    """Evaluate the preconditions of a GET or HEAD request in the order of RFC 9110 §13.2.2.

    Args:
        fields: the request's fields by lower-case name.
        etag: the strong entity tag of the selected representation, with its quotes.
        modified_s: its Last-Modified date, in seconds since 1970; None if it has none, so that dates are ignored.
    """
    if (value := fields.get(b"if-match")) is not None:
        if not _matches_strongly(value, etag):
            return Outcome.FAILED
    elif (value := fields.get(b"if-unmodified-since")) is not None:
        date = _read_date(value)
        if date is not None and modified_s is not None and modified_s > date:
            return Outcome.FAILED
    if (value := fields.get(b"if-none-match")) is not None:
        if value == etag or _matches_weakly(value, etag):
            return Outcome.NOT_MODIFIED
    elif (value := fields.get(b"if-modified-since")) is not None:
        date = _read_date(value)
        if date is not None and modified_s is not None and modified_s <= date:
            return Outcome.NOT_MODIFIED
    return Outcome.PROCEED


def is_range_wanted(if_range: bytes | None, etag: bytes, modified_s: int | None, now_s: float) -> bool:
    """Return whether a Range field is to be honoured, given the value of If-Range, if any (RFC 9110 §13.1.5).

    A Last-Modified date is a strong validator only if it lies at least a second in the past (§8.8.2.2).

    Args:
        if_range: the field's value; None if it was not sent.
        etag: the strong entity tag of the selected representation, with its quotes.
        modified_s: its Last-Modified date, in seconds since 1970; None if it has none, so that no date matches.
        now_s: the time of day, in seconds since 1970.
    """
    if if_range is None:
        return True
    if if_range.startswith((b'"', b"W/")):
        return if_range == etag
    return modified_s is not None and _read_date(if_range) == modified_s and modified_s + 1 <= now_s


def _matches_strongly(value: bytes, etag: bytes) -> bool:
    """Return whether an If-Match field matches: by strong comparison (RFC 9110 §13.1.1)."""
    return value == b"*" or any(not weak and tag == etag for weak, tag in _ENTITY_TAG.findall(value))


def _matches_weakly(value: bytes, etag: bytes) -> bool:
    """Return whether an If-None-Match field matches: by weak comparison (RFC 9110 §13.1.2)."""
    return value == b"*" or any(tag == etag for _, tag in _ENTITY_TAG.findall(value))


def _read_date(value: bytes) -> int | None:
    return parse_date(value.decode("latin-1"))
