"""Fuzzes the decoder of chunked bodies: `make fuzz ARGS="chunked --seconds 60"`.

Oracle: bytes are decoded, incomplete, or refused with the error class given; the result is the same byte by byte as in
one piece; a decoded body that is encoded again decodes to the same.
"""

from __future__ import annotations

from fuzz.driver import run
from npserver.errors import BadResponse
from npserver.http.chunked import LAST_CHUNK, MAX_LINE_BYTES, MAX_TRAILER_BYTES, ChunkedDecoder, chunk

SEEDS = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;a=b\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nHost: a\r\n\r\nrest",
    b"1\r\n\r\r\n2\r\n\r\n\r\n0\r\n\r\n",
    b"fffffffffffffff\r\nx",
    b'3;q="\\""\r\nabc\r\n000;z\r\n\r\n0\r\n\r\n',
]


def target(data: bytes) -> None:
    """One input."""
    whole = decode([data])
    pieces = decode([data[at : at + 1] for at in range(len(data))])
    assert whole[0] == pieces[0]
    if whole[0] == "refused":
        return
    assert whole == pieces
    state, payload, trailers, rest = whole
    assert data.endswith(rest)
    if state == "done":
        framed = (chunk(payload) if payload else b"") + LAST_CHUNK + trailers + b"\r\n" + rest
        assert decode([framed]) == whole


def decode(pieces: list[bytes]) -> tuple[str, bytes, bytes, bytes]:
    """Return how decoding ended ("done", "refused", "awaits more"), payload, trailers, and the rest."""
    decoder, payload, rest = ChunkedDecoder(BadResponse), b"", b""
    try:
        for piece in pieces:
            if decoder.done:
                rest += piece
                continue
            payload += decoder.feed(piece)
            assert len(decoder._buffer) <= max(MAX_LINE_BYTES, MAX_TRAILER_BYTES)
    except BadResponse:
        return "refused", b"", b"", b""
    return "done" if decoder.done else "awaits more", payload, decoder.trailers, decoder.rest + rest


if __name__ == "__main__":
    run(target, SEEDS)
