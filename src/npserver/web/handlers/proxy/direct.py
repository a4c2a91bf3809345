"""Fast path for plain proxied requests: skips the exchange while the upstream answers in one read.

Most requests have no body, find an idle connection to their target, and are answered in one read. For these a
`DirectCall` takes the place of the exchange in an HTTP/1.1 connection of the client, and a `DirectStream` in an HTTP/2
connection. In any other case (a response in pieces, a failing target, a client that disconnects) it falls back to an
ordinary `ProxyCall` with an exchange. Started by `web.handlers.proxy.handler`. Without it a small proxied response
costs 8 % more over HTTP/1.1, and 12 % more over HTTP/2 (docs/performance.md).
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, ClassVar, cast

from npserver.errors import UpstreamError
from npserver.observe.request_record import RequestRecord
from npserver.runtime.transports import write_pieces
from npserver.web.handlers.proxy.call import ProxyCall
from npserver.web.server.http1.answer import whole_answer
from npserver.web.server.http2.response_head import compose_head

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.http.response_parser import ResponseHead
    from npserver.upstream.target import Target
    from npserver.web.exchange import Exchange, Route
    from npserver.web.server.roles import DirectConnectionRole, DirectStreamsRole, Http1ExchangeRole

NO_EXCHANGE = cast("Exchange", None)  # until it has fallen back


class _Direct(ProxyCall, eq=False, kw_only=True):
    """A plain request to an upstream, without an exchange until it falls back."""

    # started          time of the request, by the monotonic clock; 0 without access log and `metrics.times`
    # sent_at          the same for an attempt after the first; 0: there was none
    # has_fallen_back  whether it has an exchange and acts as an ordinary `ProxyCall`

    request: Request
    route: Route
    started: float
    sent_at: float = 0.0
    has_fallen_back: bool = False

    def use(self, target: Target, *, fresh: bool = False) -> None:
        """Send the request to `target`, once it has fallen back."""
        self.sent_at = monotonic() if self.started else 0.0
        ProxyCall.use(self, target, fresh=fresh)

    def fall_back(self) -> None:
        """Create the exchange and continue as an ordinary `ProxyCall`."""
        self.has_fallen_back = True
        self.exchange = exchange = self._make_exchange()
        if self.target is not None:
            exchange.upstream = self.target.uri
        exchange.source = self

    def response_interim(self, head: ResponseHead) -> None:
        """Fall back for a 1xx response."""
        self._ensure_exchange()
        ProxyCall.response_interim(self, head)

    def response_start(self, head: ResponseHead) -> None:
        """Fall back for a response that arrives in pieces."""
        self._ensure_exchange()
        self._time_response()
        ProxyCall.response_start(self, head)

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        """Fall back for a 101 response, which the request did not ask for."""
        self._ensure_exchange()
        ProxyCall.response_switch(self, head, early)

    def response_lost(self, error: UpstreamError) -> None:
        """Fall back when the connection failed before the response was complete."""
        self._ensure_exchange()
        ProxyCall.response_lost(self, error)

    def _time_response(self) -> None:
        """Count the time of a response for the metrics, if they ask for it."""
        times, target = self.proxy.times, self.target
        if times is not None and target is not None and target.times is not None:
            times.observe_with(target.times, monotonic() - (self.sent_at or self.started))

    def _ensure_exchange(self) -> None:
        if not self.has_fallen_back:
            self.fall_back()

    def _make_exchange(self) -> Exchange:
        raise NotImplementedError


class DirectCall(_Direct, eq=False, kw_only=True):
    """A plain request over HTTP/1.1."""

    connection: DirectConnectionRole

    body: ClassVar[None] = None
    unsent_bytes: ClassVar[int] = 0

    # ── called by the client's connection, as for an exchange ──

    def connection_lost(self) -> None:
        """Called when the client has disconnected."""
        self.fall_back()
        cast("Http1ExchangeRole", self.exchange).connection_lost()

    def eof_received(self) -> None:
        """Called when the client has closed its side of the connection."""
        self.fall_back()
        cast("Http1ExchangeRole", self.exchange).eof_received()

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
            self._time_response()
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
            if route.times is not None:
                route.times.count(self.request.host, status, duration_s)
            times = self.proxy.times
            if times is not None:
                times.observe_with(target.times, duration_s)  # type: ignore[arg-type, union-attr]  # it has them, as the rule
            if route.is_logged:
                ip = connection.client_ip
                rule = route.rule_name or route.key
                front.finished(RequestRecord(ip, self.request, scheme, status, 0, size, duration_s, uri, "", "", rule))
            else:
                front.count(status, size)
        else:
            front.count(status, len(body))
        connection.exchange_ended()

    def _make_exchange(self) -> Exchange:
        connection = self.connection
        return cast("Exchange", connection.exchange_for(self.request, self.route, self.started, instead_of=self))


class DirectStream(_Direct, eq=False, kw_only=True):
    """A plain request over HTTP/2."""

    # answer  status and length of the body of the response that it has written; the client may not have read it yet

    connection: DirectStreamsRole
    stream_id: int
    answer: tuple[int, int] | None = None

    # ── called by the client's connection, as for an exchange ──

    @property
    def is_gone(self) -> bool:
        """Whether it has been answered."""
        return self.answer is not None

    def feed(self, data: bytes, *, has_ended: bool, trailers: bytes = b"") -> None:
        """Ignore data: the request has no body, and the session lets none come."""

    def look(self, *, is_drained: bool) -> bool:
        """Return True. Let an exchange wait for a client that has not read all of the response."""
        connection, stream_id = self.connection, self.stream_id
        if not is_drained or connection.session.unsent(stream_id):
            exchange = connection.exchange_for(stream_id, self.request, self.route, self.started)
            assert self.answer is not None
            exchange.answered(*self.answer)
            connection.sending(exchange)
        return True

    def closed(self) -> bool:
        """The stream is closed. Return whether it was reset before its response was complete."""
        if self.answer is not None:
            return False
        uri = self.target.uri if self.target is not None else ""
        self.cancel()
        self._finished(499, 0, uri)
        return True

    # ── the response: upstream to client ──

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """Write a complete response that needs no changes; otherwise fall back."""
        # hot: h2-proxy
        if self.has_fallen_back or not head.is_plain:
            self._ensure_exchange()
            self._time_response()
            ProxyCall.response_whole(self, head, body)
            return
        connection, target, route = self.connection, self.target, self.route
        status, fields, size = head.status, head.fields, len(body)
        target.slots[target.active_slot] -= 1  # type: ignore[union-attr]  # what `release` does, written out
        self.client = None
        if route.change_fields is not None:
            fields = route.change_fields(fields)
        connection.session.respond(self.stream_id, compose_head(connection.front, status, fields, size), body)
        self.answer = status, size
        times = self.proxy.times
        if times is not None:
            times.observe_with(target.times, monotonic() - self.started)  # type: ignore[arg-type, union-attr]  # as the rule
        self._finished(status, size, target.uri)  # type: ignore[union-attr]
        connection.sending(self)

    def _finished(self, status: int, sent: int, uri: str) -> None:
        """Count the request, and log it."""
        connection, front = self.connection, self.connection.front
        if not self.started:
            front.count(status, sent)
            return
        client_ip, scheme, duration_s = connection.client_ip, connection.scheme, monotonic() - self.started
        if self.route.times is not None:
            self.route.times.count(self.request.host, status, duration_s)
        if not self.route.is_logged:
            front.count(status, sent)
            return
        rule = self.route.rule_name or self.route.key
        front.finished(RequestRecord(client_ip, self.request, scheme, status, 0, sent, duration_s, uri, "", "", rule))

    def _make_exchange(self) -> Exchange:
        connection = self.connection
        return cast("Exchange", connection.exchange_for(self.stream_id, self.request, self.route, self.started))
