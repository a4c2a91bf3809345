"""Heads of CGI scripts' responses (RFC 3875 §6)."""

from __future__ import annotations

import pytest

from npserver.errors import BadResponse
from npserver.http.cgi_response import find_head_end, parse_cgi_head, read_cgi_head
from npserver.http.response_parser import MAX_HEAD_BYTES


@pytest.mark.parametrize(
    ("head", "status", "fields"),
    [
        (b"Content-Type: text/html\r\n\r\n", 200, b"Content-Type: text/html\r\n"),
        (b"Content-Type: text/html\n\n", 200, b"Content-Type: text/html\r\n"),
        (b"Status: 404 Not Found\r\nX: y\r\n\r\n", 404, b"X: y\r\n"),
        (b"X: y\r\nstatus:  503\t\r\n\r\n", 503, b"X: y\r\n"),
        (b"Location: /x\r\n\r\n", 302, b"Location: /x\r\n"),
        (b"Status: 201 Created\r\nLocation: /x\r\n\r\n", 201, b"Location: /x\r\n"),
        (b"\r\n", 200, b""),
        (b"\n", 200, b""),
        (b"X-Powered-By: PHP\r\nServer: s\r\nDate: d\r\nConnection: close\r\n\r\n", 200, b"X-Powered-By: PHP\r\n"),
        (b"X-Accel-Redirect: /private/file\r\n\r\n", 200, b"X-Accel-Redirect: /private/file\r\n"),
    ],
)
def test_a_head_becomes_one_of_http(head: bytes, status: int, fields: bytes) -> None:
    found = parse_cgi_head(head)
    assert (found.status, found.fields) == (status, fields)
    assert [read_cgi_head(head).fields for _ in range(3)] == [fields] * 3


def test_a_length_is_kept() -> None:
    assert parse_cgi_head(b"Content-Length: 5\r\n\r\n").body_bytes == 5


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"Status: 101 Switching Protocols\r\n\r\n", "bad Status b'101"),
        (b"Status: 103\r\n\r\n", "bad Status"),
        (b"Status: 600\r\n\r\n", "bad Status"),
        (b"Status: \r\n\r\n", "bad Status"),
        (b"Status: 200\r\nStatus: 404\r\n\r\n", "two Status fields"),
        (b"Transfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding in the response of a script"),
        (b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", "two Content-Length"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "header line without a colon|bad field name"),
        (b"<b>Fatal error</b>: no\r\n\r\n", "bad field name"),
        (b"X: a\nSet-Cookie: evil=1\r\n\r\n", "bare LF"),
        (b"X: a\rb\n\n", "both LF and CRLF"),
        (b"X: a\nY: b\r\n\n", "both LF and CRLF"),
        (b"X: a\0\r\n\r\n", "control character"),
    ],
)
def test_what_clients_may_read_in_two_ways_is_refused(head: bytes, reason: str) -> None:
    with pytest.raises(BadResponse, match=reason):
        parse_cgi_head(head)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"A: b\r\n\r\nbody", 8),
        (b"A: b\n\nbody", 6),
        (b"A: b\r\n\nbody", 0),
        (b"A: b\n\r\nbody", 0),
        (b"A: b\r\nC: d\n\r\n\r\n", 15),
        (b"\r\nbody", 2),
        (b"\nbody", 1),
        (b"\r", 0),
        (b"", 0),
        (b"A: b\r\n\r", 0),
    ],
)
def test_the_first_line_decides_how_lines_end(data: bytes, size: int) -> None:
    assert find_head_end(data, 0) == size
    assert all(find_head_end(data[:cut], 0) in (0, size) for cut in range(len(data)))


def test_a_head_has_a_largest_size() -> None:
    largest = b"A: " + b"b" * (MAX_HEAD_BYTES - 3) + b"\r\n\r\n"
    assert find_head_end(largest, 0) == MAX_HEAD_BYTES + 4
    for longer in (b"A" + largest, b"A" + largest[:-1], b"A" * (MAX_HEAD_BYTES + 1)):
        with pytest.raises(BadResponse, match="response head of more than"):
            find_head_end(longer, 0)
