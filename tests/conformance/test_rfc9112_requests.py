"""RFC 9112: requests are parsed strictly, however their bytes are split and whether or not their heads are cached.

Covers `web.server.http1.request_body`.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from npserver.web.exchange import Exchange
from tests.protocols.memory import Server


class Echo:
    """A handler that responds with the request as parsed: method, path, query, host, body."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def handle(self, exchange: Exchange) -> None:
        exchange.receive(Collector(self, exchange))


class Collector:
    def __init__(self, echo: Echo, exchange: Exchange) -> None:
        self.echo, self.exchange, self.body = echo, exchange, b""

    def body_data(self, data: bytes) -> None:
        self.body += data

    def body_end(self, trailers: bytes) -> None:
        request = self.exchange.request
        text = f"{request.method} {request.path}|{request.query}|{request.host}|".encode() + self.body + b"|" + trailers
        self.echo.seen.append(text.decode("latin-1"))
        self.exchange.respond(200, b"Content-Type: text/plain\r\n", text)

    def body_lost(self, reason: str) -> None:
        pass


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def post(fields: bytes, body: bytes) -> bytes:
    return b"POST /p HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", body)


# ruff: noqa: E501 - a table reads best with a case a line

#: title, bytes, answered statuses, what the handler saw (None: not looked at)
CASES: list[tuple[str, bytes, list[int], list[str] | None]] = [
    ("§2.1 simple request", GET, [200], ["GET /||a||"]),
    ("§2.2 empty lines before a request", b"\r\n\r\n" + GET, [200], ["GET /||a||"]),
    ("§2.2 bare LF as line end", b"GET / HTTP/1.1\nHost: a\n\n", [400], []),
    ("§2.2 bare LF after another fault", b"GET / HTTP/1.2\r\nHost: a\nX: b\r\n\r\n", [400], []),
    ("§2.2 bare LF in one line", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", [400], []),
    ("§2.2 bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", [400], []),
    ("§2.2 space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", [400], []),
    ("§2.3 HTTP/1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", [200], ["GET /||||"]),
    ("§2.3 HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505], []),
    ("§2.3 version in lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n", [400], []),
    ("9110 §2.5 HTTP/1.2 is as HTTP/1.1", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n" + GET, [200, 200], ["GET /||a||", "GET /||a||"]),
    ("9110 §2.5 HTTP/1.9 needs a Host", b"GET / HTTP/1.9\r\n\r\n", [400], []),
    ("§2.3 HTTP/11", b"GET / HTTP/11\r\nHost: a\r\n\r\n", [400], []),
    ("§3 two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", [400], []),
    ("§3 no version (HTTP/0.9)", b"GET /\r\n\r\n", [400], []),
    ("§3 tab for a space", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", [400], []),
    ("§3.1 method not a token", b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", [400], []),
    ("§3.1 unknown method is the handler's business", b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", [200], ["BREW /||a||"]),
    ("9110 §9.3.6 CONNECT refused", b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", [405], []),
    ("9110 §9.3.8 TRACE refused", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", [405], []),
    ("§3.2 no Host", b"GET / HTTP/1.1\r\n\r\n", [400], []),
    ("§3.2 two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", [400], []),
    ("§3.2 empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", [400], []),
    ("§3.2 bad Host", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", [400], []),
    ("§3.2 Host with user", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", [400], []),
    ("§3.2 Host port over 65535", b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", [400], []),
    ("§3.2 Host in capitals with dot and port", b"GET / HTTP/1.1\r\nHost: Ex.Org.:80\r\n\r\n", [200], ["GET /||ex.org||"]),
    ("§3.2 IPv6 Host", b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", [200], ["GET /||[::1]||"]),
    ("§3.2.1 query", b"GET /a?b=c&d HTTP/1.1\r\nHost: a\r\n\r\n", [200], ["GET /a|b=c&d|a||"]),
    ("§3.2.1 fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", [400], []),
    ("§3.2.2 absolute form wins over Host", b"GET http://b:8/x?y HTTP/1.1\r\nHost: a\r\n\r\n", [200], ["GET /x|y|b||"]),
    ("§3.2.2 absolute form without path", b"GET http://b HTTP/1.1\r\nHost: b\r\n\r\n", [200], ["GET /||b||"]),
    ("§3.2.2 absolute form with a query only", b"GET http://b?q HTTP/1.1\r\nHost: b\r\n\r\n", [200], ["GET /|q|b||"]),
    ("§3.2.2 other schemes", b"GET ftp://b/ HTTP/1.1\r\nHost: b\r\n\r\n", [400], []),
    ("§3.2.2 user in absolute form", b"GET http://u@b/ HTTP/1.1\r\nHost: b\r\n\r\n", [400], []),
    ("§3.2.4 OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", [204], []),
    ("§3.2.4 GET *", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", [400], []),
    ("§5 no colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", [400], []),
    ("§5 empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", [400], []),
    ("§5.1 space before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", [400], []),
    ("§5.1 space in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", [400], []),
    ("§5.2 obs-fold", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", [400], []),
    ("§5.2 obs-fold with tab", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", [400], []),
    ("9110 §5.5 NUL", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", [400], []),
    ("9110 §5.5 escape character", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x1b[2Jb\r\n\r\n", [400], []),
    ("9110 §5.5 obs-text", b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe9\r\n\r\n", [200], None),
    ("§6.1 both lengths", post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), [400], []),
    ("§6.1 chunked on HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400], []),
    ("§6.1 unknown coding", post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), [501], []),
    ("§6.3 identity: chunked is not the last", post(b"Transfer-Encoding: identity\r\n", b""), [400], []),
    ("§6.3 xchunked", post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), [400], []),
    ("§6.3 chunked before another", post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"), [400], []),
    ("§6.1 chunked twice", post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"), [400], []),
    ("§6.3 two fields", post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n"), [400], []),
    ("§6.1 empty coding", post(b"Transfer-Encoding:\r\n", b"0\r\n\r\n"), [400], []),
    ("§6.1 coding with a parameter", post(b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"), [400], []),
    ("§6.1 vertical tab before the coding", post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"), [400], []),
    ("§6.1 chunked in capitals", post(b"Transfer-Encoding: CHUNKED\r\n", b"1\r\nx\r\n0\r\n\r\n"), [200], ["POST /p||a|x|"]),
    ("§6.2 body by length", post(b"Content-Length: 3\r\n", b"abc") + GET, [200, 200], ["POST /p||a|abc|", "GET /||a||"]),
    ("§6.2 length zero", post(b"Content-Length: 0\r\n", b"") + GET, [200, 200], ["POST /p||a||", "GET /||a||"]),
    ("§6.3 two equal lengths", post(b"Content-Length: 1\r\nContent-Length: 1\r\n", b"x"), [400], []),
    ("§6.3 two lengths in a list", post(b"Content-Length: 1, 1\r\n", b"x"), [400], []),
    ("§6.3 +5", post(b"Content-Length: +5\r\n", b"abcde"), [400], []),
    ("§6.3 -1", post(b"Content-Length: -1\r\n", b""), [400], []),
    ("§6.3 hexadecimal length", post(b"Content-Length: 0x1\r\n", b"x"), [400], []),
    ("§6.3 empty length", post(b"Content-Length: \r\n", b""), [400], []),
    ("§6.3 underscore in a length", post(b"Content-Length: 1_0\r\n", b"0123456789"), [400], []),
    ("§6.3 enormous length", post(b"Content-Length: 99999999999999999999\r\n", b""), [400], []),
    ("9110 §15.5.14 length over the limit", post(b"Content-Length: 2000000\r\n", b""), [413], []),
    ("§7.1 chunks", chunked(b"3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n"), [200],
     ["POST /p||a|abc0123456789|"]),
    ("§7.1 wrong end of a chunk", chunked(b"3\r\nabcX\r\n0\r\n\r\n"), [400], []),
    ("§7.1 LF after the size", chunked(b"3\nabc\r\n0\r\n\r\n"), [400], []),
    ("§7.1 LF after the data", chunked(b"3\r\nabc\n0\r\n\r\n"), [400], []),
    ("§7.1 empty size", chunked(b"\r\nabc\r\n0\r\n\r\n"), [400], []),
    ("§7.1 0x3", chunked(b"0x3\r\nabc\r\n0\r\n\r\n"), [400], []),
    ("§7.1 -3", chunked(b"-3\r\nabc\r\n0\r\n\r\n"), [400], []),
    ("§7.1 oversized hexadecimal", chunked(b"10000000000000003\r\nabc\r\n"), [400], []),
    ("§7.1 size over the limit", chunked(b"1E8481\r\n" + b"x" * 1048577), [413], []),
    ("§7.1.1 extension", chunked(b"3;a=b\r\nabc\r\n0\r\n\r\n"), [200], ["POST /p||a|abc|"]),
    ("§7.1.1 bare CR in an extension", chunked(b"3;a\rb\r\nabc\r\n0\r\n\r\n"), [400], []),
    ("§7.1.1 endless extension", chunked(b"3;" + b"a" * 5000 + b"\r\nabc\r\n"), [400], []),
    ("§7.1.2 trailer", chunked(b"0\r\nX-Sum: 1\r\n\r\n"), [200], ["POST /p||a||X-Sum: 1\r\n"]),
    ("§7.1.2 trailer that would frame", chunked(b"0\r\nContent-Length: 5\r\n\r\n"), [200],
     ["POST /p||a||"]),
    ("§7.1.2 bad trailer", chunked(b"0\r\nX Y: 1\r\n\r\n"), [400], []),
    ("§9.3 close", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET, [200], ["GET /||a||"]),
    ("§9.3 HTTP/1.0 closes", b"GET / HTTP/1.0\r\n\r\n" + GET, [200], ["GET /||||"]),
    ("§9.3 HTTP/1.0 keeps", b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n" + GET, [200, 200], None),
    ("§9.3.2 pipelining", GET * 5, [200] * 5, ["GET /||a||"] * 5),
    ("9110 §10.1.1 unknown expectation", b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", [417], []),
    ("9110 §15.5.15 target too long", b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: a\r\n\r\n", [414], []),
    ("§3 a target of 8000 octets", b"GET /" + b"a" * 7999 + b" HTTP/1.1\r\nHost: a\r\n\r\n", [200], ["GET /" + "a" * 7999 + "||a||"]),
    ("6585 §5 too many fields", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 128 + b"\r\n", [431], []),
    ("6585 §5 fields too large", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70000 + b"\r\n\r\n", [431], []),
]  # fmt: skip


def run(data: list[bytes], **settings: Any) -> tuple[list[int], list[str], bytes]:
    echo = Echo()
    server = Server(echo, **settings)
    client = server.connect()
    for piece in data:
        client.send(piece)
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d\d\d) ", client.received)]
    if statuses and statuses[-1] >= 400:
        assert client.is_ended, "a refused connection is closed"
    return statuses, echo.seen, client.received


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "parsed"])
@pytest.mark.parametrize(("data", "statuses", "seen"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_request_is_read_or_refused(
    data: bytes, statuses: list[int], seen: list[str] | None, use_cache: bool
) -> None:
    for pieces in ([data], [data[i : i + 1] for i in range(min(len(data), 8000))] + [data[8000:]]):
        found = run(pieces, caches_heads=use_cache)
        assert found[0] == statuses
        if seen is not None:
            assert found[1] == seen
        if statuses == [405]:  # RFC 9110 §15.5.6
            assert b"\r\nAllow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS\r\n" in found[2]
    if statuses[-1] == 200:
        followed = run([data + GET], caches_heads=use_cache)  # trailing data begins the next request, or is dropped
        assert followed[0] in (statuses, [*statuses, 200])


@pytest.mark.parametrize(("data", "statuses"), [(case[1], case[2]) for case in CASES], ids=[case[0] for case in CASES])
def test_a_cached_head_is_answered_alike(data: bytes, statuses: list[int]) -> None:
    """The second time a head comes it is taken from the cache, and answered exactly as the first time."""
    echo = Echo()
    server = Server(echo)
    answers = []
    for _ in range(3):
        client = server.connect()
        client.send(data)
        answers.append(client.received)
    assert answers[0] == answers[1] == answers[2]


#: FIELD: the path matched is the path forwarded (RFC 3986 §6.2.2).
PATHS = [
    ("/a/./b", "/a/b"), ("/a/../b", "/b"), ("/a/%2e%2e/b", "/b"), ("/a/%2E/b", "/a/b"), ("//a//b/", "/a/b/"),
    ("/%7Euser", "/~user"), ("/a%2fb", "/a%2Fb"), ("/a%5cb", "/a%5Cb"), ("/a;x=1", "/a;x=1"), ("/a b", None),
    ("/..", None), ("/a/../../b", None), ("/%2e%2e/etc", None), ("/a\\b", None), ("/a%00", None), ("/a%", None),
    ("/a%g1", None), ("/a/..;/b", None), ("/a/%2e%2e;/b", None), ("/a/..%2fb", None), ("/a/b%5c..%5cc", None),
    ("/a/.", "/a/"), ("/a/b/..", "/a/"), ("/", "/"), ("/a.b/.well-known", "/a.b/.well-known"), ("/%", None),
    ("/%c3%a9", "/%C3%A9"), ("/a%2", None), ("/...", "/..."), ("/a/%252e%252e/b", "/a/%252e%252e/b"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "canonical"), PATHS, ids=[path for path, _ in PATHS])
def test_each_path_has_its_canonical_form(path: str, canonical: str | None) -> None:
    statuses, seen, _ = run([f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()])
    assert (statuses, seen) == (([200], [f"GET {canonical}||a||"]) if canonical else ([400], []))


@pytest.mark.parametrize("ending", ["%", "%20", "é", ";", "\\", "//", "/.."])
def test_paths_are_parsed_in_linear_time(ending: str) -> None:
    """A pattern that backtracks exponentially would exceed the test's deadline."""
    for path in ("/" + "a" * 3000 + ending, "/a" * 1500 + ending, "/a." * 1000 + ending):
        statuses, _, _ = run([f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()])
        assert statuses in ([200], [400])


def test_expect_100_continue_9110_10_1_1() -> None:
    echo = Echo()
    client = Server(echo).connect()
    client.send(post(b"Content-Length: 3\r\nExpect: 100-continue\r\n", b""))
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"abc")
    assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert echo.seen == ["POST /p||a|abc|"]


class IgnoresBody:
    """A handler that responds without reading the body."""

    def handle(self, exchange: Exchange) -> None:
        exchange.respond(200, b"", b"no")


def test_no_100_continue_when_the_body_is_not_wanted() -> None:
    client = Server(IgnoresBody()).connect()
    client.send(post(b"Content-Length: 3\r\nExpect: 100-continue\r\n", b""))
    assert b"100 Continue" not in client.received
    assert b"Connection: close" in client.received
    assert client.is_ended


def test_unwanted_body_is_skipped_and_the_connection_kept() -> None:
    client = Server(IgnoresBody()).connect()
    client.send(post(b"Content-Length: 1000\r\n", b"x" * 400))
    client.send(b"x" * 600 + GET)
    assert client.received.count(b"HTTP/1.1 200 OK") == 2
    assert not client.is_ended


def test_long_unwanted_body_costs_the_connection() -> None:
    client = Server(IgnoresBody()).connect()
    client.send(post(b"Content-Length: 1000000\r\n", b"x" * 400))
    client.send(b"x" * 1000 + GET)
    assert client.received.count(b"HTTP/1.1") == 1
    assert client.is_ended
