"""Coders of bodies in pieces, read by the decoders of the clients' libraries."""

from __future__ import annotations

import sys
import zlib

import pytest

from npserver.web.middleware.compress import coders
from tests.stage.decoding import decoder

PIECES = [b"data: %d\n\n" % number for number in range(100)] + [b"x" * 70_000, b"", b"end"]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize("flushes", [False, True])
def test_pieces_come_out_whole_and_at_each_flush(coding: str, flushes: bool) -> None:
    coder, decode = coders.coder_maker(coding)(), decoder(coding)
    received = b""
    for count, piece in enumerate(PIECES, 1):
        received += decode(coder.compress(piece))
        if flushes:
            received += decode(coder.flush())
            assert received == b"".join(PIECES[:count])
    assert received + decode(coder.finish()) == b"".join(PIECES)


def test_gzip_without_isal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    coders.coder_maker.cache_clear()
    try:
        coder = coders.coder_maker("gzip")()
    finally:
        coders.coder_maker.cache_clear()
    data = coder.compress(b"a" * 1000) + coder.flush() + coder.compress(b"b") + coder.finish()
    assert zlib.decompress(data, 31) == b"a" * 1000 + b"b"
