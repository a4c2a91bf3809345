"""Any split of a message is parsed as the whole; any bytes are parsed, or refused with the documented error."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from npserver.errors import BadRequest
from npserver.http.chunked import ChunkedDecoder, chunk
from npserver.http.request_parser import HeadLimits, parse_head
from npserver.http.request_target import canonical_path, parse_target
from tests.conformance.test_rfc9112_requests import CASES, run

STREAMS = [case[1] for case in CASES if len(case[1]) < 2000]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [*sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(STREAMS), min_size=1, max_size=3), st.lists(st.integers(0, 4000), max_size=6))
def test_any_split_equals_one_feed(streams: list[bytes], places: list[int]) -> None:
    data = b"".join(streams)
    whole = run([data])
    pieces = run([piece for piece in cut(data, places) if piece])
    assert pieces[:2] == whole[:2]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=5), st.lists(st.integers(0, 2000), max_size=8), st.binary()
)
def test_what_is_chunked_is_read_back(bodies: list[bytes], places: list[int], rest: bytes) -> None:
    wire = b"".join(map(chunk, bodies)) + b"0\r\nX-Sum: 1\r\n\r\n" + rest
    decoder = ChunkedDecoder()
    payload = b""
    tail = b""
    for piece in cut(wire, places):
        if decoder.done:
            tail += piece
        elif piece:
            payload += decoder.feed(piece)
            tail = decoder.rest
    assert (payload, tail, decoder.done, decoder.trailers) == (b"".join(bodies), rest, True, b"X-Sum: 1\r\n")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_chunks_or_refused(data: bytes) -> None:
    try:
        ChunkedDecoder().feed(data)
    except BadRequest as error:
        assert error.status == 400


TOKENS = [
    b"GET",
    b" ",
    b"/",
    b"HTTP/1.1",
    b"\r\n",
    b"Host:",
    b"a",
    b"Content-Length: ",
    b"1",
    b":",
    b"\n",
    b"\r",
    b"\0",
]
TOKENS += [
    b"Transfer-Encoding: chunked",
    b"%2e",
    b"..",
    b"\\",
    b"http://",
    b"?",
    b"Connection: close, upgrade",
    b"\xff",
]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=20))
def test_any_head_is_a_request_or_refused(tokens: list[bytes]) -> None:
    try:
        request = parse_head(b"GET " + b"".join(tokens) + b"\r\n\r\n", HeadLimits())
    except BadRequest as error:
        assert 400 <= error.status <= 505
    else:
        assert request.path.startswith("/") and "//" not in request.path and "/../" not in request.path


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([b"/", b".", b"..", b"%2e", b"%2F", b"%5c", b";", b"a", b"%00", b"\\", b"\xe9", b"%7e"]))
)
def test_canonical_paths_are_settled(parts: list[bytes]) -> None:
    try:
        path = canonical_path(b"/" + b"".join(parts))
    except BadRequest:
        return
    assert canonical_path(path.encode()) == path
    segments = path.replace("%2F", "/").replace("%5C", "/").split("/")
    assert not {".."} & {segment.partition(";")[0] for segment in segments}
    assert parse_target(path.encode())[1] == path
