"""The compression of one response: what is returned at once, and what waits for a pause."""

from __future__ import annotations

from types import SimpleNamespace

from npserver.http.media_types import MediaTypes
from npserver.web.exchange import ResponseStart
from npserver.web.middleware.compress.filter import CompressedResponses, CompressionFilter, Counters
from npserver.web.middleware.compress.heads import Heads
from tests.stage.decoding import decoder
from tests.stage.exchanges import exchange


def started(media_type: bytes) -> CompressionFilter:
    settings = CompressedResponses(Heads(MediaTypes()), ("gzip",), 0, Counters(0, 1, 2))
    loop = SimpleNamespace(call_soon=lambda *_: None)
    context = SimpleNamespace(row=SimpleNamespace(slots=[0, 0, 0]), loop=loop)
    one = settings.response(exchange(accept_encoding=b"gzip", context=context))
    assert one.start(ResponseStart(200, b"Content-Type: %b\r\n" % media_type, None, True))
    return one


def test_each_piece_of_an_event_stream_can_be_decoded_at_once() -> None:
    one, decode = started(b"text/event-stream"), decoder("gzip")
    assert [decode(one.data(b"data: %d\n\n" % number)) for number in range(3)] == [
        b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"
    ]  # fmt: skip


def test_pieces_of_other_answers_are_compressed_together_until_they_are_flushed() -> None:
    one, decode = started(b"text/plain"), decoder("gzip")
    assert decode(one.data(b"a") + one.data(b"b")) == b""
    assert decode(one.flush()) == b"ab"
    one.cancel()
    assert (one.data(b"c"), one.flush(), one.end(b"")) == (b"", b"", (b"", b""))
