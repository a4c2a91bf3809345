"""Decoders of content codings, as clients have them: each takes pieces and returns all that can be decoded by then."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped, unused-ignore]


def decoder(coding: str) -> Callable[[bytes], bytes]:
    """Return the decoder of one body."""
    if coding == "br":
        return _brotli()
    if coding == "zstd":
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd

        decompressor = zstd.ZstdDecompressor()
        return lambda data: bytes(decompressor.decompress(data))
    return zlib.decompressobj(31).decompress


def _brotli() -> Callable[[bytes], bytes]:
    decompressor = brotli.Decompressor()

    def decode(data: bytes) -> bytes:
        decoded = piece = bytes(decompressor.process(data))
        while piece:  # it returns 32 KB at a time
            piece = bytes(decompressor.process(b""))
            decoded += piece
        return decoded

    return decode
