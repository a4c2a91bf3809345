"""Fast path of plain requests through the proxy: no exchange while the upstream answers in one read.

Most requests have no body, find an idle connection to their target, and are answered whole in one read. A `DirectCall`
stands in for the exchange with the client's connection, and receives the upstream's answer. With anything else - an
answer in pieces, a target that fails, a client that goes - it falls back to an ordinary `ProxyCall` with an exchange.
Begun by `web.handlers.proxy.handler`. Without it a small proxied answer costs 8 % more (docs/performance.md).
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, ClassVar, cast

from npserver.errors import UpstreamError
from npserver.observe.request_record import RequestRecord
from npserver.web.handlers.proxy.call import ProxyCall
from npserver.web.server.http1.answer import whole_answer

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.http.response_parser import ResponseHead
    from npserver.web.exchange import Exchange, Route
    from npserver.web.server.roles import DirectConnectionRole, Http1ExchangeRole

NO_EXCHANGE = cast("Exchange", None)  # until it has fallen back


class DirectCall(ProxyCall, eq=False, kw_only=True):
    """A plain request's way to an upstream and back."""

    # started          when, by the monotonic clock; 0 if nothing is logged
    # has_fallen_back  it has an exchange, and is an ordinary call

    connection: DirectConnectionRole
    request: Request
    route: Route
    started: float
    has_fallen_back: bool = False

    body: ClassVar[None] = None
    unsent_bytes: ClassVar[int] = 0

    def fall_back(self) -> Http1ExchangeRole:
        """Become an ordinary call."""
        self.has_fallen_back = True
        exchange = self.connection.exchange_for(self.request, self.route, self.started, instead_of=self)
        self.exchange = cast("Exchange", exchange)
        if self.target is not None:
            self.exchange.upstream = self.target.uri
        self.exchange.source = self
        return exchange

    # ── called by the client's connection, as for an exchange ──

    def connection_lost(self) -> None:
        """The client is gone."""
        self.fall_back().connection_lost()

    def eof_received(self) -> None:
        """The client has ended its side."""
        self.fall_back().eof_received()

    def pause_writing(self) -> None:
        """The transport's buffer is full of earlier answers; there is nothing of this one yet."""

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""

    # ── the answer: upstream to client ──

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """Write the answer, if it has come whole and is to be passed on as it is."""
        # hot: proxy-small
        connection = self.connection
        context = connection.context
        if self.has_fallen_back or not head.is_plain or connection.read_all or context.draining:
            self._ordinary()
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
            connection.transport.writelines(answer)
        if self.started:
            duration_s, uri = monotonic() - self.started, target.uri  # type: ignore[union-attr]
            scheme, size = connection.scheme, len(body)
            front.finished(RequestRecord(connection.client_ip, self.request, scheme, status, 0, size, duration_s, uri))
        else:
            front.count(status, len(body))
        connection.exchange_ended()

    def response_interim(self, head: ResponseHead) -> None:
        """Fall back: 1xx."""
        self._ordinary()
        ProxyCall.response_interim(self, head)

    def response_start(self, head: ResponseHead) -> None:
        """Fall back: the answer comes in pieces."""
        self._ordinary()
        ProxyCall.response_start(self, head)

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        """Fall back: 101, though nobody asked."""
        self._ordinary()
        ProxyCall.response_switch(self, head, early)

    def response_lost(self, error: UpstreamError) -> None:
        """Fall back: no answer, or not all of it."""
        self._ordinary()
        ProxyCall.response_lost(self, error)

    def _ordinary(self) -> None:
        if not self.has_fallen_back:
            self.fall_back()
