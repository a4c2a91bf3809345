"""HTTP/2 field lists. `tests/conformance/test_rfc9113_requests.py` lists requests that are refused."""

from __future__ import annotations

import pytest

from npserver.http.http2_fields import field_list, read_request, trailer_lines
from npserver.http.request import Fields, Framing
from npserver.http.request_parser import HeadLimits, parse_head
from npserver.web.handlers.proxy.request_head import framing_lines, prepare_fields, untrusted_fields

LIMITS = HeadLimits()
GET: Fields = ((b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/a?b"), (b":authority", b"x.example:443"))


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ((b"accept", b"*/*"), (b"user-agent", b"x")),
        ((b"cookie", b"a=1"), (b"accept", b"*/*"), (b"cookie", b"b=2")),
        ((b"x", b"1"), (b"y", b"2"), (b"x", b"3")),
        ((b"if-none-match", b'"x"'),),
        ((b"range", b"bytes=0-1"), (b"forwarded", b"for=1.2.3.4"), (b"x-forwarded-for", b"1.2.3.4")),
        ((b"host", b"x.example:443"), (b"accept", b"*/*")),
    ],
)
def test_requests_equal_those_of_http_1(fields: Fields) -> None:
    """Handlers see the same request; upstreams get the same head."""
    found = read_request((*GET, *fields), False, LIMITS, bytes)
    pairs = [pair for pair in fields if pair[0] not in (b"cookie", b"host")]
    if cookies := [value for name, value in fields if name == b"cookie"]:
        pairs.append((b"cookie", b"; ".join(cookies)))
    lines = b"".join(b"%b: %b\r\n" % pair for pair in (*pairs, (b"host", b"x.example:443")))
    expected = parse_head(b"GET /a?b HTTP/1.1\r\n" + lines + b"\r\n", LIMITS)
    for name in ("method", "target", "path", "query", "has_query", "host", "authority", "fields", "framing", "length",
                 "keep_alive", "is_idempotent", "is_plain", "expects_continue", "upgrade"):  # fmt: skip
        assert getattr(found, name) == getattr(expected, name), name
    assert (found.protocol, expected.protocol) == ("HTTP/2.0", "HTTP/1.1")
    passed = [
        untrusted_fields(one, prepare_fields(one.block), "https", "192.0.2.1")
        + framing_lines(one, prepare_fields(one.block), close=False, upgrade=b"")
        for one in (found, expected)
    ]
    assert sorted(passed[0].split(b"\r\n")) == sorted(passed[1].split(b"\r\n"))
    assert b"\r\nhost:" not in b"\r\n" + passed[0].lower()


@pytest.mark.parametrize(
    ("fields", "has_body", "framing", "length"),
    [
        ((), False, Framing.NONE, 0),
        ((), True, Framing.CHUNKED, 0),
        (((b"content-length", b"5"),), True, Framing.LENGTH, 5),
        (((b"content-length", b"0"),), False, Framing.NONE, 0),
        (((b"content-length", b"0"),), True, Framing.CHUNKED, 0),  # the stream goes on, so its end must be awaited
    ],
)
def test_a_body_is_framed_by_length_or_end(fields: Fields, has_body: bool, framing: Framing, length: int) -> None:
    request = read_request((*GET, *fields), has_body, LIMITS, bytes)
    assert (request.framing, request.length) == (framing, length)


def test_response_fields() -> None:
    block = b"Content-Type: text/html\r\nX-A:  b \r\nSet-Cookie: a\r\nSet-Cookie: b\r\nCONNECTION: close\r\n"
    assert field_list(block) == (
        (b"content-type", b"text/html"),
        (b"x-a", b"b"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
    )
    assert field_list(b"") == ()
    long = b"".join(b"X-%d: y\r\n" % number for number in range(400))
    assert len(field_list(long)) == 400


def test_trailers_become_lines() -> None:
    assert trailer_lines(((b"x-sum", b"1"), (b"content-length", b"5"), (b"host", b"x"))) == b"x-sum: 1\r\n"
