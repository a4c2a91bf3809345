"""RFC 9112: upstreams' responses are parsed strictly, however their bytes are split; bytes after one are discarded."""

from __future__ import annotations

import pytest

from tests.protocols.answering import read_answer

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LOST = "lost"

# ruff: noqa: E501 - a table reads best with a case a line

#: title, bytes, status, body, end of the message, whether the connection is kept; of a lost one nothing else is looked at
# fmt: off
CASES: list[tuple[str, bytes, int, bytes, str, bool]] = [
    ("§6.3 rule 6: by length", OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok", "complete", True),
    ("§6.3 rule 6: nothing", OK + b"Content-Length: 0\r\n\r\n", 200, b"", "complete", True),
    ("§6.3 rule 4: by chunks", CHUNKED + b"2\r\nok\r\n0\r\n\r\n", 200, b"ok", "complete", True),
    ("§6.3 rule 8: by closing", OK + b"\r\nok", 200, b"ok", "complete", False),
    ("§6.3 rule 1: 204", b"HTTP/1.1 204 N\r\n\r\n", 204, b"", "complete", True),
    ("§6.3 rule 1: 304 with a length", b"HTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\n", 304, b"", "complete", True),
    ("§4 no reason phrase", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b"", "complete", True),
    ("§9.3 closed by option", OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", "complete", False),
    ("§9.3 HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", "complete", False),
    ("§9.2 bytes after the message", OK + b"Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK", 200, b"ok", "complete", False),
    ("§9.2 bytes after the last chunk", CHUNKED + b"2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK", 200, b"ok", "complete", False),
    ("RFC 9110 §15.2 interim", b"HTTP/1.1 103 E\r\nLink: <a>\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok", "complete", True),
    ("RFC 9110 §7.8 switched", b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly", 101, b"early", "switched", False),
    ("§7.1.2 trailers", CHUNKED + b"2\r\nok\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n", 200, b"ok", "complete", True),
    ("§8 less than the length", OK + b"Content-Length: 5\r\n\r\nok", 200, b"", LOST, False),
    ("§8 no last chunk", CHUNKED + b"2\r\nok\r\n", 200, b"", LOST, False),
    ("§8 no empty line", OK + b"Content-Length: 0\r\n", 0, b"", LOST, False),
    ("§7.1 wrong bytes after a chunk", CHUNKED + b"2\r\nokXX0\r\n\r\n", 0, b"", LOST, False),
    ("§7.1 bare LF", CHUNKED + b"2\nok\n0\n\n", 0, b"", LOST, False),
    ("§7.1 signed size", CHUNKED + b"+2\r\nok\r\n0\r\n\r\n", 0, b"", LOST, False),
    ("§7.1 oversized size", CHUNKED + b"1" + b"0" * 16 + b"\r\nok", 0, b"", LOST, False),
    ("§6.1 both framings", OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, b"", LOST, False),
    ("§6.3 two lengths", OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", 0, b"", LOST, False),
    ("§6.3 list of lengths", OK + b"Content-Length: 2, 2\r\n\r\nok", 0, b"", LOST, False),
    ("§6.1 another coding", OK + b"Transfer-Encoding: gzip\r\n\r\nok", 0, b"", LOST, False),
    ("§5.2 folded line", OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n", 0, b"", LOST, False),
    ("§5.1 space before the colon", OK + b"Content-Length : 0\r\n\r\n", 0, b"", LOST, False),
    ("§2.2 bare CR", OK + b"X: a\rb\r\nContent-Length: 0\r\n\r\n", 0, b"", LOST, False),
    ("RFC 9110 §5.5 NUL", OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n", 0, b"", LOST, False),
    ("§4 no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 0, b"", LOST, False),
    ("§4 status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n", 0, b"", LOST, False),
    ("§9 nothing", b"", 0, b"", LOST, False),
]
# fmt: on


@pytest.mark.parametrize(
    ("wire", "status", "body", "end", "kept"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20], ids=["bytes", "sevens", "whole"])
def test_each_response_is_read_or_refused(
    wire: bytes, status: int, body: bytes, end: str, kept: bool, size: int
) -> None:
    answer = read_answer(wire[at : at + size] for at in range(0, len(wire), size))
    assert (answer.end, answer.is_kept) == (end, kept)
    if end != LOST:
        assert (answer.status, answer.body) == (status, body)


def test_trailers_that_frame_or_route_are_left_out_rfc9110_6_5_1() -> None:
    wire = CHUNKED + b"0\r\nX-Sum: 1\r\nHost: evil\r\nContent-Length: 9\r\n\r\n"
    assert read_answer([wire]).trailers == b"X-Sum: 1\r\n"


@pytest.mark.parametrize("fields", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_head_has_no_body_rfc9110_9_3_2(fields: bytes) -> None:
    answer = read_answer([OK + fields + b"\r\n"], is_head=True)
    assert (answer.status, answer.body, answer.end) == (200, b"", "complete")


@pytest.mark.parametrize("after", [b"evil", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
def test_bytes_after_a_response_to_head_are_discarded(after: bytes) -> None:
    answer = read_answer([OK + b"Content-Length: 5\r\n\r\n", after], is_head=True)
    assert (answer.body, answer.is_kept) == (b"", False)
