"""Heads of messages to and from upstreams over HTTP/2. What they mean: `protocols/test_http2_upstream.py`."""

from __future__ import annotations

import pytest

from npserver.http.http2_upstream import read_request_head, read_response
from npserver.http.memo import SHORT_HEAD_BYTES


@pytest.mark.parametrize("size", [10, SHORT_HEAD_BYTES])
def test_only_short_heads_are_remembered(size: int) -> None:
    """The number of those that are is bounded, and so must be the size of each."""
    line = b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * size)
    heads = {id(head) for head in [read_request_head(line, b"http") for _ in range(4)]}
    fields = ((b":status", b"200"), (b"x", b"x" * size))
    responses = {id(head) for head in [read_response(fields) for _ in range(4)]}
    assert (len(heads), len(responses)) == ((2, 2) if size == 10 else (4, 4))
