"""Vary names a further field of the request."""

from __future__ import annotations

import pytest

from npserver.http.vary import with_vary


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"Vary: Accept-Encoding\r\n"),
        (b"Vary: *\r\n", b"Vary: *\r\n"),
        (b"vary: origin , accept-encoding\r\n", b"vary: origin , accept-encoding\r\n"),
        (b"Vary:\r\n", b"Vary: Accept-Encoding\r\n"),
        (b"Vary: A,\r\n", b"Vary: A, Accept-Encoding\r\n"),
        (b"Vary: A\r\nX: 1\r\nVary: B\r\n", b"Vary: A\r\nX: 1\r\nVary: B, Accept-Encoding\r\n"),
        (b"Vary: X-Accept-Encoding\r\n", b"Vary: X-Accept-Encoding, Accept-Encoding\r\n"),
    ],
)
def test_vary_is_merged(before: bytes, after: bytes) -> None:
    assert with_vary(before, b"Accept-Encoding") == after
