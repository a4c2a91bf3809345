"""The short way of a plain request through the proxy: no exchange, as long as nothing out of the ordinary happens.

Most requests have no body, find an idle connection to their target, and are answered whole in one read. A `DirectCall`
stands in for the exchange with the client's connection, and is what the upstream's connection tells of the answer. With
anything else - an answer in pieces, a target that fails, a client that goes - it becomes an ordinary call with an
exchange (`unfold`), and all goes on as `web.handlers.proxy.call` has it. Begun by `Proxy.pass_on`.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, ClassVar, cast

from npserver.errors import UpstreamError
from npserver.web.handlers.proxy.call import ProxyCall
from npserver.web.server.http1.exchange import HttpExchange
from npserver.web.server.http1.response import JOINED_BYTES, LENGTH_LINES
from npserver.web.server.http1.state import IDLE

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.http.response_parser import ResponseHead
    from npserver.upstream.target import Target
    from npserver.web.exchange import Exchange
    from npserver.web.route import Route
    from npserver.web.server.http1.connection import HttpConnection

NOBODY = cast("Exchange", None)  # whose exchange it is until it is unfolded


class DirectCall(ProxyCall, eq=False):
    """A plain request's way to an upstream and back."""

    # started      when, by the monotonic clock; 0 if nothing is logged
    # is_unfolded  it has an exchange, and is an ordinary call

    connection: HttpConnection
    request: Request
    route: Route
    started: float
    is_unfolded: bool = False

    body: ClassVar[None] = None
    unsent_bytes: ClassVar[int] = 0

    def unfold(self) -> HttpExchange:
        """Become an ordinary call."""
        connection = self.connection
        self.is_unfolded = True
        exchange = HttpExchange(connection, self.request, self.route)
        exchange.started = self.started
        self.exchange = cast("Exchange", exchange)
        if self.target is not None:
            exchange.upstream = self.target.uri
        exchange.watch(self)
        serving: object = connection.exchange
        if serving is self:
            connection.exchange = exchange
        return exchange

    # ── what a connection tells its exchange ──

    def connection_lost(self) -> None:
        """The client is gone."""
        self.unfold().connection_lost()

    def eof_received(self) -> None:
        """The client has ended its side."""
        self.unfold().eof_received()

    def pause_writing(self) -> None:
        """The client does not keep up with earlier answers; there is nothing of this one yet."""

    def resume_writing(self) -> None:
        """It does again."""

    # ── the answer: upstream to client ──

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """The answer, all of it."""
        # hot: proxy-small
        connection = self.connection
        context = connection.context
        if self.is_unfolded or not head.is_plain or connection.read_all or context.draining:
            self._unfolded()
            ProxyCall.response_whole(self, head, body)
            return
        target: Target = self.target  # type: ignore[assignment]
        front, status, size = connection.front, head.status, len(body)
        target.slots[target.active_slot] -= 1  # what `release` does, written out
        tallies = front.tallies
        tallies[front.requests_tally] += 1
        tallies[front.class_tallies[status // 100]] += 1
        tallies[front.sent_tally] += size
        connection.exchange = None
        if size <= JOINED_BYTES:
            answer = b"".join((front.starts[status], head.fields, LENGTH_LINES[size], b"\r\n", body))
            connection.transport.write(answer)
        else:
            start = b"".join((front.starts[status], head.fields, b"Content-Length: %d\r\n\r\n" % size))
            connection.transport.writelines((start, body))
        if self.started:
            context.access_log.request(
                client_ip=connection.client_ip, request=self.request, scheme=connection.scheme, status=status,
                received=0, sent=size, duration_s=monotonic() - self.started, upstream=target.uri, request_id="",
                user="",
            )  # fmt: skip
        if connection.buffer or connection.is_write_paused or not connection.is_reading:
            connection.exchange_ended()
        else:  # what it would do, written out
            connection.state = IDLE
            connection.deadline = context.sweeper.now + front.idle_s

    def response_interim(self, head: ResponseHead) -> None:
        """1xx."""
        self._unfolded()
        ProxyCall.response_interim(self, head)

    def response_start(self, head: ResponseHead) -> None:
        """The answer's head."""
        self._unfolded()
        ProxyCall.response_start(self, head)

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        """101, though nobody asked."""
        self._unfolded()
        ProxyCall.response_switch(self, head, early)

    def response_lost(self, error: UpstreamError) -> None:
        """No answer, or not all of it."""
        self._unfolded()
        ProxyCall.response_lost(self, error)

    def _unfolded(self) -> None:
        if not self.is_unfolded:
            self.unfold()
