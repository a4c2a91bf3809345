"""The body of one request over HTTP/2 on its way to a handler: limited, held while no handler wants it.

Owned by `web.server.http2.exchange`. The client may send ahead as much as its window allows (RFC 9113 §5.2), and gets
new window only for what the handler has taken. It is timed only while the server waits for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from npserver.errors import BadRequest

if TYPE_CHECKING:
    from npserver.web.exchange import BodySink
    from npserver.web.server.roles import Http2ExchangeRole

log = logging.getLogger("npserver.http")

_CONTINUE = ((b":status", b"100"),)


class Http2Body:
    """The rest of a request's body, and the sink that takes it."""

    __slots__ = (
        "_exchange", "_held", "_is_continue_due", "_is_lost", "_is_paused", "_limit", "_sink", "_trailers",
        "_unacknowledged", "done", "received",
    )  # fmt: skip

    def __init__(self, exchange: Http2ExchangeRole) -> None:
        self._exchange = exchange
        self._limit = exchange.route.max_body_size
        self._sink: BodySink | None = None
        self._held: list[bytes] = []  # received before there was a sink, or while it had paused
        self._unacknowledged = 0  # bytes for which the client has got no new window yet
        self._trailers = b""
        self._is_paused = False
        self._is_lost = False  # the rest is not wanted
        self._is_continue_due = exchange.request.expects_continue
        self.done = False
        self.received = 0

    @property
    def is_awaited(self) -> bool:
        """Whether the server waits for the client's next piece."""
        return not self.done and self._sink is not None and not self._is_paused

    def check_length(self) -> None:
        """Refuse a body whose Content-Length is over the limit, before any of it is read. Raises: BadRequest (413)."""
        if self._exchange.request.length > self._limit:
            raise BadRequest(f"request body of {self._exchange.request.length} bytes", 413, "limits.max_body_size")

    def feed(self, data: bytes, *, has_ended: bool, trailers: bytes = b"") -> None:
        """Take a piece. Raises: BadRequest (413) for too long a body."""
        self.received += len(data)
        self._unacknowledged += len(data)
        if self._is_lost:  # the client gets no new window until the stream is closed
            return
        if data:
            self._held.append(data)
        if self.received > self._limit:
            raise BadRequest("request body too large", 413, "limits.max_body_size")
        self._trailers = trailers
        self.done = has_ended
        if not self._is_paused:
            self._deliver()

    def deliver_to(self, sink: BodySink) -> None:
        """Give the body to `sink` from now on; send 100 (Continue) to a client that waits for it."""
        exchange = self._exchange
        if self._is_continue_due and not self.received and not exchange.status:
            exchange.session.inform(exchange.stream_id, _CONTINUE)
            exchange.connection.flush_soon()
        self._is_continue_due = False
        self._sink = sink
        self._deliver()
        exchange.keep_body_time()

    def pause(self) -> None:
        """Give the sink no more for now."""
        self._is_paused = True
        self._exchange.keep_body_time()

    def resume(self) -> None:
        """Continue to give the body to the sink."""
        if self._is_paused:
            self._is_paused = False
            self._deliver()
            self._exchange.keep_body_time()

    def lose(self, reason: str) -> None:
        """Tell the sink that the rest will not come, or is not wanted."""
        sink, self._sink = self._sink, None
        self._is_lost = True
        self._held.clear()
        self._acknowledge()
        if sink is not None:
            sink.body_lost(reason)

    def _deliver(self) -> None:
        """Give the sink the pieces held, and the end."""
        sink = self._sink
        if sink is None:
            return
        try:
            if self._held:
                pieces, self._held = self._held, []
                sink.body_data(b"".join(pieces) if len(pieces) > 1 else pieces[0])
                if not self._is_paused:
                    self._acknowledge()
            if self.done and self._sink is not None and not self._held:
                self._sink = None
                sink.body_end(self._trailers)
        except Exception:
            log.exception("error in %s", self._exchange.route.name)
            self._exchange.break_off()

    def _acknowledge(self) -> None:
        """Give the client new window for the bytes that the sink has taken."""
        if self._unacknowledged:
            amount, self._unacknowledged = self._unacknowledged, 0
            self._exchange.session.acknowledge(self._exchange.stream_id, amount)
            self._exchange.connection.flush_soon()
