"""The body of one HTTP/1.1 request on its way to a handler: counted or decoded from chunks, limited, held while no
handler wants it.

Owned by `web.server.http1.exchange`, fed by `web.server.http1.connection`. A client is timed only while the
server waits for it; while the handler is busy, the client waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.errors import BadRequest
from npserver.http.chunked import ChunkedDecoder
from npserver.http.request import CHUNKED
from npserver.web.server.request_body import RequestBody

if TYPE_CHECKING:
    from npserver.web.exchange import BodySink
    from npserver.web.server.roles import Http1ExchangeRole

#: An unwanted body up to this size is read to keep the connection; a longer one closes it (as in nginx).
MAX_DISCARDED_BYTES = 64 << 10
MAX_HELD_BYTES = 64 << 10  # held for a handler that does not take them; then reading pauses
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Http1Body(RequestBody["Http1ExchangeRole"]):
    """A body whose end is known by Content-Length or by chunks."""

    __slots__ = ("_decoder", "_left", "is_discarded", "is_wanted")

    def __init__(self, exchange: Http1ExchangeRole) -> None:
        super().__init__(exchange)
        request = exchange.request
        self._left = request.length
        self._decoder = ChunkedDecoder() if request.framing is CHUNKED else None
        self.is_wanted = False
        self.is_discarded = False

    @property
    def trailers(self) -> bytes:
        """The trailer section, once the body is done; lines with their ends."""
        return self._decoder.trailers if self._decoder is not None else b""

    @property
    def is_long(self) -> bool:
        """Whether the rest may be too long to be discarded for the sake of the connection."""
        return self._left > MAX_DISCARDED_BYTES

    def feed(self, data: bytes) -> None:
        """Take bytes from the connection; bytes after the body go back to it.

        Raises: BadRequest for wrong framing (400) or too long a body (413).
        """
        rest = self._unframe(data)
        if rest:
            self._exchange.connection.hold(rest)
        if self._sink is not None and not self._is_paused:
            self._deliver()
        elif sum(map(len, self._held)) > MAX_HELD_BYTES:
            self._exchange.connection.pause_reading()
        self.keep_time()

    def _unframe(self, data: bytes) -> bytes:
        if self._decoder is None:
            payload, rest = data[: self._left], data[self._left :]
            self._left -= len(payload)
            self.done = not self._left
        else:
            payload = self._decoder.feed(data)
            rest = self._decoder.rest
            self.done = self._decoder.done
        self._count(len(payload))
        if self.is_discarded:
            if self.received > MAX_DISCARDED_BYTES and not self.done:
                raise BadRequest("unwanted request body too large to skip", 413, rfc="RFC 9112 §9.3")
        elif payload:
            self._held.append(payload)
        return rest

    def deliver_to(self, sink: BodySink) -> None:
        """Give the body to `sink` from now on; send 100 (Continue) to a client that waits for it."""
        if self.is_continue_due and not self.received and not self._exchange.status:
            self._exchange.connection.transport.write(_CONTINUE)
        self.is_continue_due = False
        self.is_wanted = True
        self._sink = sink
        self._deliver()
        if not self._exchange.is_gone:
            self._exchange.connection.resume_reading()
            self.keep_time()

    def pause(self) -> None:
        """Give the sink no more for now."""
        if not self.done:
            self._is_paused = True
            self._exchange.connection.pause_reading()
            self.keep_time()

    def resume(self) -> None:
        """Continue to give the body to the sink."""
        if self._is_paused:
            self._is_paused = False
            self._deliver()
            if not self._exchange.is_gone and not self._is_paused:
                self._exchange.connection.resume_reading()
                self.keep_time()

    def discard(self) -> None:
        """Read and drop the rest, to keep the connection."""
        self._sink = None
        self._held.clear()
        self.is_discarded = True
        self._exchange.connection.resume_reading()
        self.keep_time()

    def keep_time(self) -> None:
        """Time the client only while the server waits for it to send; the time to read what is sent goes first."""
        connection = self._exchange.connection
        if not (self._exchange.is_gone or connection.is_write_paused or self._exchange.unsent_bytes):
            is_awaited = not self.done and connection.is_reading and (self.is_wanted or self.is_discarded)
            connection.await_body(is_awaited)
