"""Chunked bodies (RFC 9112 §7.1). `tests/property/test_http_framing.py` splits them at every place."""

from __future__ import annotations

import pytest

from npserver.errors import BadRequest, BadResponse
from npserver.http.chunked import MAX_LINE_BYTES, MAX_OVERHEAD_BYTES, MAX_TRAILER_BYTES, ChunkedDecoder, chunk


def read(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Feed a whole body; give its payload, its trailers, and what follows."""
    decoder = ChunkedDecoder()
    payload = decoder.feed(data)
    assert decoder.done
    return payload, decoder.trailers, decoder.rest


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"00a\r\n0123456789\r\n000\r\n\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b'3;a=b;c="d"\r\nabc\r\n0;e\r\n\r\n', b"abc"),
        (b"2 ;x\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
    ],
)
def test_chunks_are_joined(data: bytes, payload: bytes) -> None:
    assert read(data) == (payload, b"", b"")


def test_bytes_after_the_body_are_the_rest() -> None:
    assert read(b"1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n") == (b"a", b"", b"GET / HTTP/1.1\r\n")


def test_rfc_9110_6_5_1_forbidden_trailers_are_dropped() -> None:
    lines = b"X-Sum: 1\r\nContent-Length: 5\r\nhost: x\r\nx-other:\r\n"
    assert read(b"0\r\n" + lines + b"\r\n")[1] == b"X-Sum: 1\r\nx-other:\r\n"


def test_a_body_may_come_byte_by_byte() -> None:
    data = b"3;a\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX: 1\r\n\r\n"
    decoder = ChunkedDecoder()
    payload = b"".join(decoder.feed(data[at : at + 1]) for at in range(len(data)))
    assert (payload, decoder.trailers, decoder.done, decoder.rest) == (b"abc0123456789abcdef", b"X: 1\r\n", True, b"")


def test_encoded_chunks_are_decoded() -> None:
    assert chunk(b"x" * 255) == b"ff\r\n" + b"x" * 255 + b"\r\n"
    assert read(chunk(b"abc") + chunk(b"d" * 70_000) + b"0\r\n\r\n")[0] == b"abc" + b"d" * 70_000


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"0x1\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b" 1\r\n",
        b"1\n",
        b"1\r\r\n",
        b"1\r\nab",  # longer than its size
        b"1\r\na\n0\r\n\r\n",
        b"1" * 16 + b"\r\n",
        b"1;" + b"a" * MAX_LINE_BYTES,
        b"1;\x01\r\n",
        b"0\r\nX 1\r\n\r\n",
        b"0\r\n: 1\r\n\r\n",
        b"0\r\nX: a\x00\r\n\r\n",
        b"0\r\n X: folded\r\n\r\n",
        b"0\r\n" + b"X: " + b"a" * MAX_TRAILER_BYTES + b"\r\n\r\n",
        (b"1;" + b"a" * 250 + b"\r\nx\r\n") * (MAX_OVERHEAD_BYTES // 250 + 1),
    ],
)
def test_malformed_bodies_are_refused(data: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        ChunkedDecoder().feed(data)
    assert caught.value.status == 400


def test_the_error_raised_is_of_the_class_given() -> None:
    with pytest.raises(BadResponse, match="bad chunk size"):
        ChunkedDecoder(BadResponse).feed(b"x\r\n")
