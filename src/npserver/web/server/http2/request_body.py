"""The body of one request over HTTP/2 on its way to a handler: limited, held while no handler wants it.

Owned by `web.server.http2.exchange`. The client may send ahead as much as its window allows (RFC 9113 §5.2), and gets
new window only for what the handler has taken. It is timed only while the server waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.http.request import BY_LENGTH
from npserver.web.server.request_body import RequestBody

if TYPE_CHECKING:
    from npserver.web.exchange import BodySink
    from npserver.web.server.roles import Http2ExchangeRole

ANSWERED = "answered"  # why the rest is not wanted
SMALL_REST_BYTES = 16 << 10  # no more than the smallest window (limits.http2_window): it can be sent at once
_CONTINUE = ((b":status", b"100"),)


class Http2Body(RequestBody["Http2ExchangeRole"]):
    """A body in DATA frames."""

    # has_ended        the client has ended the stream: a body of known length is done before, with its last byte
    # _unacknowledged  bytes for which the client has got no new window yet
    # _is_lost         the rest is not wanted

    __slots__ = ("_is_lost", "_trailers", "_unacknowledged", "has_ended")

    def __init__(self, exchange: Http2ExchangeRole) -> None:
        super().__init__(exchange)
        self.has_ended = False
        self._unacknowledged = 0
        self._trailers = b""
        self._is_lost = False

    @property
    def trailers(self) -> bytes:
        """The trailer section, once the body is done; lines with their ends."""
        return self._trailers

    @property
    def is_awaited(self) -> bool:
        """Whether the server waits for the client's next piece."""
        return not self.done and self._sink is not None and not self._is_paused

    @property
    def is_nearly_there(self) -> bool:
        """Whether the client likely has sent the rest of a body that the answer did not wait for."""
        request = self._exchange.request
        return (
            self._lost_reason == ANSWERED
            and request.framing is BY_LENGTH
            and request.length - self.received <= SMALL_REST_BYTES
        )

    def feed(self, data: bytes, *, has_ended: bool, trailers: bytes = b"") -> None:
        """Take a piece. Raises: BadRequest (413) for too long a body."""
        self._unacknowledged += len(data)
        self.has_ended = has_ended
        if self._is_lost:  # the client gets no new window until the stream is closed
            self.received += len(data)
            return
        self._count(len(data))
        if data:
            self._held.append(data)
        self._trailers = trailers
        request = self._exchange.request
        self.done = has_ended or (request.framing is BY_LENGTH and self.received == request.length)
        if not self._is_paused:
            self._deliver()

    def deliver_to(self, sink: BodySink) -> None:
        """Give the body to `sink` from now on; send 100 (Continue) to a client that waits for it."""
        exchange = self._exchange
        if self.is_continue_due and not self.received and not exchange.status:
            exchange.session.inform(exchange.stream_id, _CONTINUE)
            exchange.connection.flush_soon()
        self.is_continue_due = False
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
            if not self._is_paused:
                self._taken()  # also what the sink had taken when it paused
            self._exchange.keep_body_time()

    def lose(self, reason: str) -> None:
        """Tell the sink that the rest will not come, or is not wanted."""
        self._is_lost = True
        self._taken()
        super().lose(reason)

    def _taken(self) -> None:
        """Give the client new window for the bytes that the sink has taken."""
        if self._unacknowledged:
            amount, self._unacknowledged = self._unacknowledged, 0
            self._exchange.session.acknowledge(self._exchange.stream_id, amount)
            self._exchange.connection.flush_soon()
