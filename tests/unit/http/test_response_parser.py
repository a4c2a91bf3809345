"""Response heads of upstreams (RFC 9112 §4, §6.3)."""

from __future__ import annotations

import pytest

from npserver.errors import BadResponse
from npserver.http.request import Framing
from npserver.http.response_parser import check_partial_response_head, parse_response_head, read_response_head

DATE = b"Date: Sun, 22 Nov 2026 16:00:00 GMT\r\n"


def head(fields: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return status + b"\r\n" + fields + b"\r\n"


@pytest.mark.parametrize(
    ("data", "framing", "length", "keep_alive"),
    [
        (head(b"Content-Length: 5\r\n"), Framing.LENGTH, 5, True),
        (head(b"Content-Length: 0\r\n"), Framing.NONE, 0, True),
        (head(b"Transfer-Encoding: Chunked\r\n"), Framing.CHUNKED, None, True),
        (head(b""), Framing.CLOSE, None, True),
        (head(b"Content-Length: 5\r\n", b"HTTP/1.0 200"), Framing.LENGTH, 5, False),
        (head(b"Content-Length: 5\r\nConnection: Close\r\n"), Framing.LENGTH, 5, False),
        (head(b"Content-Length: 5\r\nConnection: x\r\nConnection: close\r\n"), Framing.LENGTH, 5, False),
        (head(b"Content-Length: 5\r\n", b"HTTP/1.1 204 N"), Framing.NONE, None, True),
        (head(b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 304 N"), Framing.NONE, None, True),
        (head(b"Content-Length: 5\r\n", b"HTTP/1.1 304 N"), Framing.NONE, 5, True),
        (head(b"Content-Length: 5\r\n", b"HTTP/1.1 103 E"), Framing.NONE, None, True),
    ],
)
def test_framing_follows_rfc9112_6_3(data: bytes, framing: Framing, length: int | None, keep_alive: bool) -> None:
    found = parse_response_head(data)
    assert (found.framing, found.length, found.keep_alive) == (framing, length, keep_alive)


def test_hop_by_hop_fields_are_left_out_rfc9110_7_6_1() -> None:
    fields = b"A: 1\r\nKeep-Alive: x\r\nServer: y\r\nX-Hop: 1\r\n" + DATE + b"Connection: x-hop\r\nB:2\r\n"
    assert parse_response_head(head(fields)).fields == b"A: 1\r\nB:2\r\n"


def test_a_head_without_fields_is_read() -> None:
    assert parse_response_head(head(b"")).fields == b""


@pytest.mark.parametrize("field", [b"Location: /", b"set-cookie: a=b", b"Content-Location: /", b"Refresh: 0"])
def test_fields_that_may_need_rewriting_are_marked(field: bytes) -> None:
    assert parse_response_head(head(field + b"\r\n")).needs_rewrite


def test_upgrade_counts_only_if_connection_names_it_rfc9110_7_8() -> None:
    assert parse_response_head(head(b"Upgrade: WebSocket\r\nConnection: Upgrade\r\n")).upgrade == b"websocket"
    assert parse_response_head(head(b"Upgrade: WebSocket\r\n")).upgrade == b""


class TestCache:
    def test_heads_that_differ_in_date_share_an_entry(self) -> None:
        dates = [DATE.replace(b":00 ", b":0%d " % second) for second in range(3)]
        heads = [head(b"A: remembered\r\n" + date + b"Content-Length: 5\r\n") for date in dates]
        first, one, two = map(read_response_head, heads)
        assert first is not one, "a head is cached when it comes the second time"
        assert one is two
        assert one.fields == b"A: remembered\r\n"

    @pytest.mark.parametrize(
        "date",
        [
            b"Date: Sun, 22 Nov 2026 16:00:00 GMX\r\n",
            b"Date: Sun, 22 Nov 2026 16:00:00 GM\0\r\n",
            b"Date: short\r\n",
            b"Date: a\r\nContent-Length: 6\r\nX: aaaaaaa\r\n",
        ],
    )
    def test_a_malformed_date_is_not_cut_out(self, date: bytes) -> None:
        data = head(b"B: 1\r\n" + date)
        try:
            expected: object = parse_response_head(data).fields
        except BadResponse as error:
            expected = str(error)
        try:
            found: object = read_response_head(data).fields
        except BadResponse as error:
            found = str(error)
        assert found == expected


@pytest.mark.parametrize(
    "data",
    [
        head(b"", b"HTTP/1.1 20 OK"),
        head(b"", b"HTTP/1.1 2000 OK"),
        head(b"", b"HTTP/1.1 000 OK"),
        head(b"", b"HTTP/1.1 099 OK"),
        head(b"", b"HTTP/1.1  200 OK"),
        head(b"", b"HTTP/2.0 200 OK"),
        head(b"", b"http/1.1 200 OK"),
        head(b"", b"ICY 200 OK"),
        head(b"Content-Length: 1\r\nContent-Length: 1\r\n"),
        head(b"Content-Length: 1, 1\r\n"),
        head(b"Content-Length: -1\r\n"),
        head(b"Content-Length: \r\n"),
        head(b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        head(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        head(b"Transfer-Encoding: identity\r\n"),
        head(b"Transfer-Encoding: chunked\r\n", b"HTTP/1.0 200 OK"),
        head(b"A : 1\r\n"),
        head(b"A\r\n"),
        head(b": 1\r\n"),
        head(b" A: 1\r\n"),
        head(b"A: 1\r\n B\r\n"),
        head(b"A: 1\nB: 2\r\n"),
        head(b"A: 1\rB: 2\r\n"),
        head(b"A: \0\r\n"),
        head(b"A: \x7f\r\n"),
        head(b"A: 1\r\n" * 257),
    ],
)
def test_a_malformed_head_is_refused(data: bytes) -> None:
    with pytest.raises(BadResponse):
        parse_response_head(data)


@pytest.mark.parametrize("status", [600, 799, 999])
def test_a_status_from_600_up_is_accepted_rfc9110_15(status: int) -> None:
    assert parse_response_head(head(b"Content-Length: 0\r\n", b"HTTP/1.1 %d Denied" % status)).status == status


class TestPartialHeads:
    """RFC 9112 §2.2: a bare LF does not end a line, and is told at once."""

    HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n"

    @pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
    def test_a_good_head_may_come_in_any_pieces(self, step: int) -> None:
        checked = 0
        for end in range(step, len(self.HEAD), step):
            check_partial_response_head(self.HEAD[:end], checked)
            checked = max(end - 3, 0)

    @pytest.mark.parametrize("place", [15, 41, 60])
    @pytest.mark.parametrize("step", [1, 2, 5, 100])
    def test_a_bare_line_feed_is_found_in_any_pieces(self, place: int, step: int) -> None:
        data = self.HEAD[:place] + b"\n" + self.HEAD[place:].replace(b"\r\n", b"\n")
        checked = 0
        with pytest.raises(BadResponse, match="bare LF"):
            for end in [*range(step, len(data), step), len(data)]:
                check_partial_response_head(data[:end], checked)
                checked = max(end - 3, 0)
