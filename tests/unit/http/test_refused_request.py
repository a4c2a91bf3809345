"""Requests for the access log made of bytes that are none."""

from __future__ import annotations

import pytest

from npserver.http.refused_request import refused_http2_request, refused_request


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"GET /a?b HTTP/1.1\r\nHost : a\r\n\r\n", ("GET", "/a?b", "HTTP/1.1")),
        (b"GET / HTTP/1.0\r\n", ("GET", "/", "HTTP/1.0")),
        (b"GET / HTTP/3.0\n\n", ("GET", "/", "HTTP/1.1")),
        (b"\r\nTRACE / HTTP/1.1", ("TRACE", "/", "HTTP/1.1")),
        (b"GET /a b HTTP/1.1\r\n", ("-", "GET /a b HTTP/1.1", "HTTP/1.1")),
        (b"\x16\x03\x01\x00", ("-", "\x16\x03\x01\x00", "HTTP/1.1")),
        (b"", ("-", "-", "HTTP/1.1")),
        (b"A" * 100_000, ("-", "A" * 2048, "HTTP/1.1")),
    ],
)
def test_as_much_as_can_be_told(data: bytes, line: tuple[str, str, str]) -> None:
    request = refused_request(data)
    assert (request.method, request.target, request.protocol) == line


def test_fields_for_the_log() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent:  curl/8 \r\nCookie: secret\r\nReferer: /x\r\nX\0: 1\r\n\r\n"
    request = refused_request(head)
    assert request.fields == {b"user-agent": b"curl/8", b"referer": b"/x"}
    assert request.authority == "a"


def test_of_http2() -> None:
    fields = ((b":method", b"GET"), (b":path", b"/a"), (b":authority", b"a.example"), (b"user-agent", b"x"))
    request = refused_http2_request(fields)
    assert (request.method, request.target, request.protocol) == ("GET", "/a", "HTTP/2.0")
    assert (request.authority, request.fields) == ("a.example", {b"user-agent": b"x"})
    assert refused_http2_request(()).target == "-"
