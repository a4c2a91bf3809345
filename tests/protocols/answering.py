"""Feeds bytes of responses to the real upstream connections (`upstream.http1`, `upstream.fastcgi`), without sockets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from npserver.address import Address
from npserver.errors import UpstreamError
from npserver.http.response_parser import ResponseHead
from npserver.upstream.config import TargetSection
from npserver.upstream.http1 import HttpClient
from npserver.upstream.response_sink import ClientSettings
from npserver.upstream.target import Target, TargetSettings
from tests.protocols.memory import MemoryLoop, MemoryTransport
from tests.stage.worker import make_context


@dataclass
class Answer:
    """A response as reported. `end`: "complete", "lost", "switched"; `is_kept`: the connection may serve again."""

    interim: tuple[int, ...] = ()
    status: int = 0
    fields: bytes = b""
    body: bytes = b""
    trailers: bytes = b""
    end: str = ""
    is_kept: bool = False
    reason: str = ""
    errors: bytes = b""


class RecordingSink:
    """A response sink that records the response, and asserts that its methods are called in a valid order."""

    def __init__(self) -> None:
        self.answer = Answer()

    def response_interim(self, head: ResponseHead) -> None:
        assert not self.answer.status
        self.answer.interim += (head.status,)

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        self.response_start(head)
        self.answer.body = body
        self.response_end(b"")

    def response_start(self, head: ResponseHead) -> None:
        assert not self.answer.status
        assert not self.answer.end
        self.answer.status, self.answer.fields = head.status, head.fields

    def response_data(self, data: bytes) -> None:
        assert data
        assert self.answer.status
        assert not self.answer.end
        self.answer.body += data

    def response_end(self, trailers: bytes) -> None:
        assert not self.answer.end
        self.answer.trailers, self.answer.end = trailers, "complete"

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        self.answer.status, self.answer.fields = head.status, head.fields
        self.answer.body, self.answer.end = early, "switched"

    def response_lost(self, error: UpstreamError) -> None:
        assert not self.answer.end
        self.answer.end, self.answer.reason = "lost", str(error)

    def error_output(self, data: bytes, offset: int) -> None:
        assert data
        assert offset == len(self.answer.errors)
        self.answer.errors += data

    def request_pause(self) -> None: ...
    def request_resume(self) -> None: ...


def read_answer(
    pieces: Iterable[bytes], *, is_head: bool = False, client_type: type[HttpClient] = HttpClient
) -> Answer:
    """Send a request, feed the pieces, end the connection; return the response. `is_head`: of a HEAD request."""
    loop: Any = MemoryLoop()
    context = make_context(loop)
    settings = ClientSettings()
    target = Target(
        context, "app", TargetSettings(TargetSection(uri="http://127.0.0.1"), Address("http", "127.0.0.1", 80))
    )
    client = client_type(context, target, settings)
    transport = MemoryTransport(client, loop, ("127.0.0.1", 80))
    client.connection_made(transport)
    sink = RecordingSink()
    client.begin(sink, settings, is_head=is_head, has_body=False)
    client.write(b"GET / HTTP/1.1\r\n\r\n")
    for piece in pieces:
        if sink.answer.end == "switched":
            sink.answer.body += piece
        elif not transport.is_closed:
            client.data_received(piece)
            loop.settle()
    sink.answer.is_kept = client in target.pool.idle
    if not transport.is_closed:
        client.eof_received()
        transport.close()
        loop.settle()
    assert sink.answer.end
    assert client not in context.sweeper.watched
    assert not target.pool.idle
    return sink.answer


def same_answer(
    pieces: list[bytes], whole: list[bytes], *, is_head: bool, client_type: type[HttpClient] = HttpClient
) -> Answer:
    """Assert that a response is reported the same in both ways of arriving; return that of the whole bytes.

    A lost answer may have been passed on up to different places.
    """
    one = read_answer(pieces, is_head=is_head, client_type=client_type)
    other = read_answer(whole, is_head=is_head, client_type=client_type)
    if "lost" in (one.end, other.end):
        assert (one.end, one.is_kept) == (other.end, other.is_kept), (one, other)
    else:
        assert one == other
    return other
