"""Any split of an upstream's response is parsed as the whole; any bytes yield a response or a lost connection."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from npserver.errors import BadResponse
from npserver.http.chunked import ChunkedDecoder, chunk
from npserver.http.response_parser import parse_response_head, read_response_head
from tests.conformance.test_rfc9112_responses import CASES
from tests.property.test_http_framing import cut
from tests.protocols.answering import same_answer

WIRES = [case[1] for case in CASES]
LINES = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 103 E", b"HTTP/1.0 304 N", b"Content-Length: 3", b"Content-Length: 0", b"X: y",
    b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: x, upgrade", b"Upgrade: websocket", b"\r\n",
    b"3\r\nabc", b"0\r\n\r\n", b"abc", b"", b"\r", b": ", b"\0", b"Date: Sun, 06 Nov 1994 08:49:37 GMT",
]  # fmt: skip


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(WIRES), min_size=1, max_size=3), st.lists(st.integers(0, 4000), max_size=6), st.booleans()
)
def test_any_split_equals_one_feed(wires: list[bytes], places: list[int], is_head: bool) -> None:
    wire = b"".join(wires)
    same_answer([piece for piece in cut(wire, places) if piece], [wire] if wire else [], is_head=is_head)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(LINES), max_size=12), st.lists(st.integers(0, 400), max_size=6))
def test_any_lines_are_an_answer_or_lost(lines: list[bytes], places: list[int]) -> None:
    wire = b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(lines) + b"\r\n"
    same_answer([piece for piece in cut(wire, places) if piece], [wire], is_head=False)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_a_cached_head_says_what_a_fresh_one_does(lines: list[bytes]) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"".join(line + b"\r\n" for line in lines if b"\r" not in line) + b"\r\n"
    try:
        fresh = parse_response_head(head)
    except BadResponse:
        fresh = None
    try:
        cached = read_response_head(head)
    except BadResponse:
        cached = None
    assert (fresh is None) == (cached is None)
    if fresh is not None and cached is not None:
        names = [name for name in fresh.__slots__ if name != "__weakref__"]
        assert [getattr(fresh, name) for name in names] == [getattr(cached, name) for name in names]


@settings(max_examples=200)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), st.lists(st.integers(0, 2000), max_size=8))
def test_chunks_of_an_answer_are_taken_apart(bodies: list[bytes], places: list[int]) -> None:
    decoder = ChunkedDecoder(BadResponse)
    wire = b"".join(map(chunk, bodies)) + b"0\r\n\r\n"
    assert b"".join(decoder.feed(piece) for piece in cut(wire, places) if piece) == b"".join(bodies)
    assert decoder.done
    assert decoder.rest == b""
