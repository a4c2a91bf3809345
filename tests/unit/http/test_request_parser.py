"""Request heads: the Cookie line and the cached parts. `tests/conformance/test_rfc9112_requests.py` has the grammar."""

from __future__ import annotations

import itertools

import pytest

from npserver.errors import BadRequest
from npserver.http.request import Request
from npserver.http.request_parser import HeadLimits, check_partial_head, parse_head
from npserver.web.handlers.proxy.request_head import prepare_fields, untrusted_fields

LIMITS = HeadLimits()
OTHERS = (b"Host: a", b"Accept: */*", b"User-Agent: b")


def head(*lines: bytes, version: bytes = b"1.1") -> bytes:
    return b"GET /x HTTP/%b\r\n%b\r\n" % (version, b"".join([line + b"\r\n" for line in lines]))


def parsed(data: bytes) -> Request:
    """Parse a head often enough for all its parts to be cached, with the same result each time."""
    found = [parse_head(data, LIMITS) for _ in range(4)]
    assert all(one.fields == found[0].fields and one.lines == found[0].lines for one in found)
    return found[-1]


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("name", [b"Cookie", b"cookie", b"COOKIE"])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_the_cookie_line_may_stand_anywhere(at: int, name: bytes, version: bytes) -> None:
    lines = [*OTHERS]
    lines.insert(at, name + b": c=d; e=f")
    request = parsed(head(*lines, version=version))
    expected = {b"host": b"a", b"accept": b"*/*", b"user-agent": b"b", b"cookie": b"c=d; e=f"}
    assert request.fields == expected
    assert sorted(request.lines) == sorted(lines)
    passed = untrusted_fields(request, prepare_fields(request.block), "http", "192.0.2.1")
    assert passed.count(name + b": c=d; e=f\r\n") == 1
    assert b"Host: a\r\n" not in b"\r\n" + passed.partition(b"X-Forwarded-Host")[0]


@pytest.mark.parametrize("names", [*itertools.product([b"Cookie", b"cookie"], repeat=2)])
def test_rfc_9113_8_2_3_several_cookies_keep_their_order(names: tuple[bytes, bytes]) -> None:
    first, second = names
    request = parsed(head(b"Host: a", first + b": c=1", b"Accept: */*", second + b": c=2"))
    assert request.fields[b"cookie"] == b"c=1; c=2"
    assert [line for line in request.lines if b"ookie" in line] == [first + b": c=1", second + b": c=2"]


def test_heads_that_differ_in_cookies_share_the_rest() -> None:
    requests = [parse_head(head(*OTHERS, b"Cookie: c=%d" % number), LIMITS) for number in range(5)]
    assert [request.fields[b"cookie"] for request in requests] == [b"c=%d" % number for number in range(5)]
    assert requests[3].block is requests[4].block
    assert requests[3].block is parse_head(head(*OTHERS), LIMITS).block


@pytest.mark.parametrize("octet", [0, 10, 13, 27, 127])
def test_rfc_9110_5_5_control_characters_in_cookies(octet: int) -> None:
    for _ in range(3):
        with pytest.raises(BadRequest):
            parse_head(head(*OTHERS, b"Cookie: a" + bytes((octet,)) + b"b"), LIMITS)
        assert parse_head(head(*OTHERS, b"Cookie: a\tb"), LIMITS).fields[b"cookie"] == b"a\tb"


@pytest.mark.parametrize("follows", [b" folded", b"\tfolded", b"Cookie : x", b": x", b"x"])
def test_rfc_9112_5_a_malformed_line_after_the_cookie_is_refused(follows: bytes) -> None:
    for _ in range(3):
        with pytest.raises(BadRequest):
            parse_head(head(b"Host: a", b"Cookie: a=b", follows), LIMITS)


def test_cookies_count_as_fields() -> None:
    limits = HeadLimits(fields=3)
    parse_head(head(b"Host: a", b"Accept: */*", b"Cookie: c=1"), limits)
    parse_head(head(b"Host: a", b"Cookie: c=1", b"Cookie: c=2"), limits)
    for lines in ((*OTHERS, b"Cookie: c=1"), (b"Host: a", b"A: b", b"Cookie: c=1", b"Cookie: c=2"), (*OTHERS, b"A: b")):
        for _ in range(3):
            with pytest.raises(BadRequest) as caught:
                parse_head(head(*lines), limits)
            assert caught.value.status == 431


def test_too_many_fields_of_a_long_head_are_refused_unread() -> None:
    with pytest.raises(BadRequest) as caught:
        parse_head(head(b"Host: a", *[b"\0" * 50] * 128), LIMITS)
    assert caught.value.status == 431
    assert len(parse_head(head(b"Host: a", *[b"A%d: " % n + b"b" * 50 for n in range(127)]), LIMITS).fields) == 128


def test_a_cookie_that_connection_names_is_not_forwarded() -> None:
    """RFC 9110 §7.6.1: hop-by-hop, as any field that Connection names."""
    request = parsed(head(b"Host: a", b"Connection: cookie", b"Cookie: c=d", b"Accept: */*"))
    passed = untrusted_fields(request, prepare_fields(request.block), "http", "192.0.2.1")
    assert b"Cookie" not in passed
    assert b"Accept: */*\r\n" in passed


def test_a_head_without_fields_is_read() -> None:
    assert parsed(head(version=b"1.0")).fields == {}
    assert parsed(head(b"Cookie: a=b", version=b"1.0")).fields == {b"cookie": b"a=b"}
    with pytest.raises(BadRequest):
        parse_head(head(), LIMITS)
    with pytest.raises(BadRequest):
        parse_head(head(b"Cookie: a=b"), LIMITS)


@pytest.mark.parametrize(
    ("data", "status", "message", "key"),
    [
        (head(b"Host: a", b"X: " + b"y" * 300), 431, "request head of more than 200 bytes", "limits.max_header_size"),
        (
            b"GET /%b HTTP/1.1\r\n\r\n" % (b"a" * 120),
            414,
            "request target of more than 50 bytes",
            "limits.max_url_size",
        ),
    ],
)
def test_an_exceeded_limit_is_named_before_and_after_the_end_of_the_head(
    data: bytes, status: int, message: str, key: str
) -> None:
    limits = HeadLimits(url_bytes=50, head_bytes=200)
    for refuse in (lambda: parse_head(data, limits), lambda: check_partial_head(data[:-4], 0, limits)):
        with pytest.raises(BadRequest) as caught:
            refuse()
        assert (caught.value.status, str(caught.value), caught.value.key) == (status, message, key)
