"""Requests for the access log made of bytes that are no valid request: as much of them as can be told.

Fields and targets are not checked: they are only logged, and every format of the access log escapes them.
"""

from __future__ import annotations

from npserver.http.request import NO_BODY, Fields, HeaderBlock, HeadValues, Request

MAX_LOGGED_BYTES = 2048  # of a request line, and of the value of a field
UNKNOWN = "-"  # a method or target that cannot be told

_LOGGED = (b"referer", b"user-agent")
_VALUES = HeadValues(False, "", "", NO_BODY, 0, False, False, False, b"", None)


def refused_request(head: bytes) -> Request:
    """Return what can be told of a request from the bytes received, which may be none."""
    lines = head[: MAX_LOGGED_BYTES * 4].lstrip(b"\r\n").split(b"\n")
    line = lines[0].rstrip(b"\r")[:MAX_LOGGED_BYTES].decode("latin-1")
    words = line.split(" ")
    if len(words) == 3 and words[2].startswith("HTTP/"):
        method, target, minor_version = words[0], words[1], int(words[2] != "HTTP/1.0")
    else:
        method, target, minor_version = UNKNOWN, line or UNKNOWN, 1
    named = [one.partition(b":") for one in lines[1:]]
    found = {name.lower(): value.strip()[:MAX_LOGGED_BYTES] for name, colon, value in named if colon}
    return _request(method, target, minor_version, found, is_http2=False)


def refused_http2_request(fields: Fields) -> Request:
    """Return what can be told of a request from the field list of a HEADERS frame."""
    found = {name: value[:MAX_LOGGED_BYTES] for name, value in fields}
    method, target = (found.get(name, b"-").decode("latin-1") for name in (b":method", b":path"))
    return _request(method, target, 1, found, is_http2=True)


def _request(method: str, target: str, minor_version: int, found: dict[bytes, bytes], *, is_http2: bool) -> Request:
    authority = found.get(b":authority", found.get(b"host", b"")).decode("latin-1")
    fields = {name: value for name, value in found.items() if name in _LOGGED}
    return Request(
        method, target, target, "", False, minor_version, "", authority, HeaderBlock([], (), _VALUES), b"",
        is_http2=is_http2, known_fields=fields,
    )  # fmt: skip
