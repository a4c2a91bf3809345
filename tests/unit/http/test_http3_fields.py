"""Field lists of HTTP/3: what is malformed (RFC 9114 §4.2, §4.3)."""

from __future__ import annotations

import os

import pytest

from npserver.http.http3_fields import content_length, find_fault, find_trailer_fault, read_http3_request
from npserver.http.request import Fields
from npserver.http.request_parser import HeadLimits

GET = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"example.com"), (b":path", b"/"))


@pytest.mark.parametrize(
    "fields",
    [
        GET,
        (*GET, (b"te", b"trailers"), (b"cookie", b"a=b"), (b"x", b"")),
        (*GET[:3], (b":path", b"/?a"), (b"x", b"\xff\t y")),
        ((b":method", b"OPTIONS"), *GET[1:3], (b":path", b"*")),
        ((b":method", b"CONNECT"), (b":authority", b"example.com:443")),
    ],
)
def test_good_lists(fields: Fields) -> None:
    assert find_fault(fields) == ""


@pytest.mark.parametrize(
    "fields",
    [
        (),
        GET[1:],
        GET[:3],
        (GET[0], GET[2], GET[3]),
        (*GET, GET[0]),
        (*GET, (b":protocol", b"websocket")),
        (*GET[:3], (b"x", b"y"), GET[3]),
        (*GET[:3], (b":path", b"")),
        (*GET[:3], (b":path", b"*")),
        (*GET[:3], (b":path", b"example.com/")),
        ((b":method", b"G T"), *GET[1:]),
        ((b":method", b"CONNECT"), *GET[1:]),
        (*GET, (b"X", b"y")),
        (*GET, (b"x y", b"y")),
        (*GET, (b"", b"y")),
        (*GET, (b"x", b"a\r\nb: c")),
        (*GET, (b"x", b"a\0b")),
        (*GET, (b"x", b" a")),
        (*GET, (b"x", b"a\t")),
        (*GET[:3], (b":path", b"/\r\n")),
        (*GET, (b"connection", b"close")),
        (*GET, (b"transfer-encoding", b"chunked")),
        (*GET, (b"te", b"gzip")),
        (*GET, (b"upgrade", b"websocket")),
    ],
)
def test_malformed_lists(fields: Fields) -> None:
    assert find_fault(fields)


def test_trailers() -> None:
    assert find_trailer_fault(((b"x-sum", b"1"),)) == ""
    for field in ((b":path", b"/"), (b"connection", b"x"), (b"x", b"\n")):
        assert find_trailer_fault((field,))


def test_content_length() -> None:
    assert content_length((*GET, (b"content-length", b"12"))) == 12
    assert content_length(GET) is content_length((*GET, (b"content-length", b"+1"))) is None


def test_the_request_says_its_version() -> None:
    request = read_http3_request(GET, False, HeadLimits(100, 100, 1000), os.urandom)
    assert (request.protocol, request.is_http2, request.host, request.path) == ("HTTP/3.0", False, "example.com", "/")
