"""Checks the field lists of HTTP/3 requests and trailers (RFC 9114 §4.2, §4.3), as the HTTP/2 library does for HTTP/2.

A list that passes is read by `http.http2_fields`, with the same limits: the two versions have the same messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.http.http2_fields import CONNECTION_FIELDS, read_request
from npserver.regex import regex

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.http.request import Fields, Request
    from npserver.http.request_parser import HeadLimits

_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
_REQUIRED = frozenset({b":method", b":scheme", b":path"})
_NAME = regex(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = regex(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_BAD_VALUE = "a field value with characters that it cannot have"
_METHOD = regex(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def find_fault(fields: Fields) -> str:
    """Return why a request's field list is malformed; "" if it is not."""
    pseudo: dict[bytes, bytes] = {}
    has_fields = False
    for name, value in fields:
        if name[:1] == b":":
            if has_fields:
                return "a pseudo-header field after other fields"
            if name not in _PSEUDO:
                return "an unknown pseudo-header field"
            if name in pseudo:
                return "a pseudo-header field given twice"
            if not _VALUE.fullmatch(value):
                return _BAD_VALUE
            pseudo[name] = value
        else:
            has_fields = True
            if fault := _field_fault(name, value):
                return fault
    method = pseudo.get(b":method", b"")
    if b":protocol" in pseudo and (method != b"CONNECT" or b":authority" not in pseudo):
        return "a :protocol without an extended CONNECT"  # RFC 8441 §4, RFC 9220 §3
    if method == b"CONNECT" and b":protocol" not in pseudo:
        return "" if pseudo.keys() == {b":method", b":authority"} else "CONNECT with other pseudo-header fields"
    if not pseudo.keys() >= _REQUIRED:
        return "a pseudo-header field is missing"
    if not _METHOD.fullmatch(method):
        return "no method"
    if not pseudo[b":path"] or not (
        pseudo[b":path"][:1] == b"/" or (pseudo[b":path"] == b"*" and method == b"OPTIONS")
    ):
        return "a path that does not begin with a slash"
    return ""


def find_trailer_fault(fields: Fields) -> str:
    """Return why a trailer section is malformed; "" if it is not."""
    return next((fault for name, value in fields if (fault := _field_fault(name, value))), "")


def content_length(fields: Fields) -> int | None:
    """Return the value of Content-Length; None without one, or with one that is not a number."""
    for name, value in fields:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) <= 18 else None
    return None


def read_http3_request(fields: Fields, has_body: bool, limits: HeadLimits, chance: Callable[[int], bytes]) -> Request:
    """Return the request of a field list without fault. Raises: BadRequest, as `read_request` does."""
    request = read_request(fields, has_body, limits, chance)
    request.is_http2, request.is_http3 = False, True
    return request


def _field_fault(name: bytes, value: bytes) -> str:
    if not _NAME.fullmatch(name):
        return "a field name with characters that it cannot have"
    if name in CONNECTION_FIELDS or (name == b"te" and value.lower() != b"trailers"):  # §4.2
        return "a connection-specific field"
    return "" if _VALUE.fullmatch(value) else _BAD_VALUE
