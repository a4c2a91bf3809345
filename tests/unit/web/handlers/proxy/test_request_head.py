"""Request heads as a proxy forwards them (RFC 9110 §7.6)."""

from __future__ import annotations

import pytest

from npserver.http.request import Request
from npserver.http.request_parser import HeadLimits, parse_head
from npserver.web.handlers.proxy.request_head import (
    MAX_LOOPS,
    forwarded_line,
    framing_lines,
    prepare_fields,
    trusted_fields,
    untrusted_fields,
    upgrade_of,
)

CLAIMS = (
    b"X-Forwarded-For: 203.0.113.1", b"X-Real-IP: 203.0.113.1", b"X-Forwarded-Proto: https",
    b"Forwarded: for=203.0.113.1;proto=https", b"x_forwarded_for: 203.0.113.1",
)  # fmt: skip


def request(*lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> Request:
    fields = b"".join([line + b"\r\n" for line in (b"Host: app.example", *lines)])
    return parse_head(b"%b / HTTP/%b\r\n%b\r\n" % (method, version, fields), HeadLimits())


def untrusted(one: Request) -> list[bytes]:
    return untrusted_fields(one, prepare_fields(one.block), "http", "192.0.2.1").splitlines()


def trusted(one: Request) -> list[bytes]:
    return trusted_fields(one, prepare_fields(one.block), "http", "203.0.113.1", "10.0.0.1").splitlines()


def framing(one: Request, *, close: bool = False, upgrade: bytes = b"") -> list[bytes]:
    return framing_lines(one, prepare_fields(one.block), close=close, upgrade=upgrade).splitlines()


class TestUntrustedClient:
    def test_its_identity_fields_are_replaced(self) -> None:
        assert untrusted(request(b"Accept: */*", *CLAIMS)) == [
            b"Accept: */*", b"X-Forwarded-Host: app.example", b"X-Forwarded-Proto: http", b"CDN-Loop: npserver",
            b"X-Forwarded-For: 192.0.2.1", b"X-Real-IP: 192.0.2.1",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "line",
        [b"Connection: close", b"Keep-Alive: 1", b"TE: trailers", b"Upgrade: x", b"Proxy-Authorization: a"],
    )
    def test_hop_by_hop_fields_are_left_out(self, line: bytes) -> None:
        assert untrusted(request(line)) == untrusted(request())

    def test_fields_that_connection_names_are_left_out(self) -> None:
        lines = untrusted(request(b"Connection: x-hop, close", b"X-Hop: 1", b"X-End: 2"))
        assert lines[0] == b"X-End: 2"
        assert b"X-Hop: 1" not in lines

    def test_a_client_of_a_unix_socket_has_no_address(self) -> None:
        one = request(b"X-Forwarded-For: 203.0.113.1")
        lines = untrusted_fields(one, prepare_fields(one.block), "http", "unix:")
        assert b"X-Forwarded-For" not in lines
        assert b"X-Real-IP" not in lines


class TestTrustedProxy:
    def test_its_claims_are_kept_and_its_chain_is_extended(self) -> None:
        assert trusted(request(b"Accept: */*", *CLAIMS)) == [
            b"Accept: */*", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: app.example",
            b"Forwarded: for=203.0.113.1;proto=https", b"CDN-Loop: npserver",
            b"X-Forwarded-For: 203.0.113.1, 10.0.0.1", b"X-Real-IP: 203.0.113.1",
        ]  # fmt: skip

    def test_one_at_a_unix_socket_adds_nothing_to_the_chain(self) -> None:
        one = request(b"X-Forwarded-For: 203.0.113.1")
        lines = trusted_fields(one, prepare_fields(one.block), "http", "203.0.113.1", "unix:").splitlines()
        assert b"X-Forwarded-For: 203.0.113.1" in lines
        assert b"X-Real-IP: 203.0.113.1" in lines

    def test_what_it_does_not_say_is_added(self) -> None:
        assert trusted(request())[:2] == [b"X-Forwarded-Proto: http", b"X-Forwarded-Host: app.example"]

    def test_the_scheme_may_be_in_forwarded(self) -> None:
        assert b"X-Forwarded-Proto: https" in trusted(request(b"Forwarded: for=203.0.113.1;proto=https"))

    def test_fields_that_connection_names_are_left_out(self) -> None:
        assert b"X-Hop: 1" not in trusted(request(b"Connection: x-hop", b"X-Hop: 1"))


class TestFraming:
    @pytest.mark.parametrize(
        ("method", "lines", "expected"),
        [
            (b"GET", [], [b""]),
            (b"POST", [], [b"Content-Length: 0", b""]),
            (b"GET", [b"Content-Length: 5"], [b"Content-Length: 5", b""]),
            (b"POST", [b"Transfer-Encoding: chunked"], [b"Transfer-Encoding: chunked", b""]),
            (
                b"PUT",
                [b"Content-Length: 5", b"Expect: 100-continue"],
                [b"Content-Length: 5", b"Expect: 100-continue", b""],
            ),
            (b"GET", [b"TE: trailers", b"Connection: TE"], [b"TE: trailers", b"Connection: TE", b""]),
        ],
    )
    def test_it_is_that_of_the_body_sent(self, method: bytes, lines: list[bytes], expected: list[bytes]) -> None:
        assert framing(request(*lines, method=method)) == expected

    def test_a_connection_that_closes_says_so(self) -> None:
        assert framing(request(method=b"POST"), close=True) == [b"Content-Length: 0", b"Connection: close", b""]

    def test_an_upgrade_is_asked_for(self) -> None:
        one = request(b"Connection: upgrade", b"Upgrade: WebSocket, h2c")
        assert framing(one, upgrade=upgrade_of(one)) == [b"Upgrade: websocket", b"Connection: Upgrade", b""]

    def test_no_upgrade_with_a_body(self) -> None:
        assert upgrade_of(request(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 1")) == b""


@pytest.mark.parametrize("line", [b"CDN-Loop: npserver", b"Via: 1.1 npserver"])
def test_a_loop_is_found(line: bytes) -> None:
    """RFC 8586 §2, RFC 9110 §7.6.3."""
    for count in (MAX_LOOPS - 1, MAX_LOOPS):
        one = request(*[line] * count)
        assert prepare_fields(one.block).is_loop is (count == MAX_LOOPS)


def test_the_forwarded_line_names_the_client() -> None:
    line = forwarded_line(request(), "https", "2001:db8::1")
    assert line == b'Forwarded: for="[2001:db8::1]";proto=https;host=app.example\r\n'
