"""Fast path for plain proxied requests: skips the exchange while the upstream answers in one read.

Most requests have no body, find an idle connection to their target, and are answered in one read. For these a
`DirectCall` takes the place of the exchange in the client's connection. In any other case (a response in pieces, a
failing target, a client that disconnects) it falls back to an ordinary `ProxyCall` with an exchange. Started by
`web.handlers.proxy.handler`. Without it a small proxied response costs 8 % more (docs/performance.md).
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, ClassVar, cast

from npserver.errors import UpstreamError
from npserver.observe.request_record import RequestRecord
from npserver.runtime.transports import write_pieces
from npserver.web.handlers.proxy.call import ProxyCall
from npserver.web.server.http1.answer import whole_answer

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.http.response_parser import ResponseHead
    from npserver.web.exchange import Exchange, Route
    from npserver.web.server.roles import DirectConnectionRole, Http1ExchangeRole

NO_EXCHANGE = cast("Exchange", None)  # until it has fallen back


class DirectCall(ProxyCall, eq=False, kw_only=True):
    """A plain request to an upstream, without an exchange until it falls back."""

    # started          time of the request, by the monotonic clock; 0 if there is no access log
    # has_fallen_back  whether it has an exchange and acts as an ordinary `ProxyCall`

    connection: DirectConnectionRole
    request: Request
    route: Route
    started: float
    has_fallen_back: bool = False

    body: ClassVar[None] = None
    unsent_bytes: ClassVar[int] = 0

    def fall_back(self) -> Http1ExchangeRole:
        """Create the exchange and continue as an ordinary `ProxyCall`."""
        self.has_fallen_back = True
        exchange = self.connection.exchange_for(self.request, self.route, self.started, instead_of=self)
        self.exchange = cast("Exchange", exchange)
        if self.target is not None:
            self.exchange.upstream = self.target.uri
        self.exchange.source = self
        return exchange

    # ── called by the client's connection, as for an exchange ──

    def connection_lost(self) -> None:
        """Called when the client has disconnected."""
        self.fall_back().connection_lost()

    def eof_received(self) -> None:
        """Called when the client has closed its side of the connection."""
        self.fall_back().eof_received()

    def pause_writing(self) -> None:
        """Ignore a full write buffer: it holds earlier responses, and nothing of this one."""

    def resume_writing(self) -> None:
        """Ignore that the write buffer has room again."""

    # ── the response: upstream to client ──

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """Write a complete response that needs no changes; otherwise fall back."""
        # hot: proxy-small
        connection = self.connection
        context = connection.context
        if self.has_fallen_back or not head.is_plain or connection.read_all or context.draining:
            self._ensure_exchange()
            ProxyCall.response_whole(self, head, body)
            return
        target, route = self.target, self.route
        front, status, fields = connection.front, head.status, head.fields
        target.slots[target.active_slot] -= 1  # type: ignore[union-attr]  # what `release` does, written out
        if route.change_fields is not None:
            fields = route.change_fields(fields)
        answer = whole_answer(front, self.request, status, fields, body, is_last=False)
        if isinstance(answer, bytes):
            connection.transport.write(answer)
        else:
            write_pieces(connection.transport, answer)
        if self.started:
            duration_s, uri = monotonic() - self.started, target.uri  # type: ignore[union-attr]
            scheme, size = connection.scheme, len(body)
            front.finished(RequestRecord(connection.client_ip, self.request, scheme, status, 0, size, duration_s, uri))
        else:
            front.count(status, len(body))
        connection.exchange_ended()

    def response_interim(self, head: ResponseHead) -> None:
        """Fall back for a 1xx response."""
        self._ensure_exchange()
        ProxyCall.response_interim(self, head)

    def response_start(self, head: ResponseHead) -> None:
        """Fall back for a response that arrives in pieces."""
        self._ensure_exchange()
        ProxyCall.response_start(self, head)

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        """Fall back for a 101 response, which the request did not ask for."""
        self._ensure_exchange()
        ProxyCall.response_switch(self, head, early)

    def response_lost(self, error: UpstreamError) -> None:
        """Fall back when the connection failed before the response was complete."""
        self._ensure_exchange()
        ProxyCall.response_lost(self, error)

    def _ensure_exchange(self) -> None:
        if not self.has_fallen_back:
            self.fall_back()
