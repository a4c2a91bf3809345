"""What an exchange is whatever version of HTTP carries it: request, route, who asks, error pages, log and counters.

The base of `web.server.http1.response` (HTTP/1.1) and `web.server.http2.exchange`, which add how a response is written.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Protocol, cast

from npserver.http.forwarded import client_address
from npserver.web import error_pages

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.runtime.context import Context
    from npserver.web.exchange import BodySink, Exchange, Source
    from npserver.web.route import Route
    from npserver.web.server.client_connection import Downstream

log = logging.getLogger("npserver.http")


class Body(Protocol):
    """What is still to come of a request's body, and who takes it."""

    received: int  # bytes

    def deliver_to(self, sink: BodySink) -> None:
        """From now on the body goes to `sink`; a client that asked whether to send it is told so."""

    def pause(self) -> None:
        """Give the sink no more for now."""

    def resume(self) -> None:
        """Go on."""


class ExchangeBase:
    """One request and its response."""

    # body    what is still to come of the request's, None if there is none
    # status  0 until answered
    # sent    bytes of the body
    # started when, by the monotonic clock; 0 if nothing is logged

    __slots__ = (
        "_request_id", "_source", "body", "client_ip", "connection", "context", "request", "route", "sent", "started",
        "status", "upstream", "user",
    )  # fmt: skip

    request: Request
    route: Route

    def __init__(self, connection: Downstream, request: Request, route: Route) -> None:
        # hot: static-small
        self.connection = connection
        self.context: Context = connection.context
        self.request = request
        self.route = route
        self.client_ip = connection.client_ip
        self.status = 0
        self.sent = 0
        self.upstream = ""
        self.user = ""
        self.body: Body | None = None
        self._source: Source | None = None
        self._request_id = ""
        self.started = time.monotonic() if self.context.access_log.enabled else 0.0
        trusted = connection.front.trusted
        if trusted is not None and connection.client_ip in trusted:
            self.client_ip = client_address(connection.client_ip, request.fields, trusted)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request.method} {self.request.path} {self.status or 'unanswered'}>"

    @property
    def client_port(self) -> int:
        """The connection's source port."""
        return self.connection.client_port

    @property
    def peer_ip(self) -> str:
        """Who the connection is from."""
        return self.connection.client_ip

    @property
    def scheme(self) -> str:
        """What the client speaks to us: "http" or "https"."""
        return self.connection.scheme

    @property
    def local(self) -> tuple[str, int]:
        """The address and port the client reached."""
        return self.connection.local

    @property
    def connection_id(self) -> int:
        """The same for all exchanges of a connection."""
        return self.connection.id

    @property
    def request_id(self) -> str:
        """32 random hexadecimal digits."""
        if not self._request_id:
            self._request_id = os.urandom(16).hex()
        return self._request_id

    @property
    def tls(self) -> object | None:
        """The connection's `ssl.SSLObject`."""
        found: object | None = self.connection.transport.get_extra_info("ssl_object")
        return found

    # ── for the server ──

    def run(self) -> None:
        """Let the guards, then the handler, have it."""
        # hot: static-small
        route = self.route
        try:
            for guard in route.guards:
                if not guard(self):  # type: ignore[arg-type]  # whole in each of its kinds
                    return
            route.handler.handle(self)  # type: ignore[arg-type]
        except Exception:
            log.exception("error in %s", route.name)
            self.break_off()

    def break_off(self) -> None:
        """Our own fault: 500 if nothing is sent yet, else close."""
        if self.status:
            self.abort("internal error")
        else:
            self.fail(500, "internal error")

    def _rewrite(self, fields: bytes) -> bytes:
        assert self.route.rewrite_fields is not None
        return self.route.rewrite_fields(cast("Exchange", self), fields)

    def _log(self, status: int, received: int = 0) -> None:
        front = self.connection.front
        tallies = front.tallies
        tallies[front.requests_tally] += 1
        tallies[front.class_tallies[status // 100]] += 1
        tallies[front.sent_tally] += self.sent
        received = received or (self.body.received if self.body is not None else 0)
        tallies[front.received_tally] += received
        if self.started:
            self.context.access_log.request(
                client_ip=self.client_ip, request=self.request, scheme=self.connection.scheme, status=status,
                received=received, sent=self.sent, duration_s=time.monotonic() - self.started,
                upstream=self.upstream, request_id=self._request_id, user=self.user,
            )  # fmt: skip

    # ── for handlers ──

    def watch(self, source: Source) -> None:
        """Have `source.cancel` called if the client goes before `start`."""
        self._source = source

    def receive(self, sink: BodySink) -> None:
        """Start giving the body to `sink`."""
        if self.body is None:
            sink.body_end(b"")
        else:
            self.body.deliver_to(sink)

    def pause_receiving(self) -> None:
        """Give the sink no more for now."""
        if self.body is not None:
            self.body.pause()

    def resume_receiving(self) -> None:
        """Go on."""
        if self.body is not None:
            self.body.resume()

    def fail(self, status: int, reason: str = "", key: str = "", fields: bytes = b"") -> None:
        """Answer with an error page; the reason goes to the log."""
        if reason:
            level = logging.WARNING if status >= 500 else logging.INFO if key else logging.DEBUG
            log.log(level, "%d for %s %s from %s: %s%s", status, self.request.method, self.request.path, self.client_ip,
                    reason, f" ({key})" if key else "")  # fmt: skip
        page = self.route.error_pages.get(status)
        if page is None:
            page = error_pages.render(status, self.request.fields.get(b"accept", b""), self._request_id)
        self.respond(status, fields + page[0], page[1])

    def respond(self, status: int, fields: bytes = b"", body: bytes = b"") -> None:
        """Answer whole."""
        raise NotImplementedError

    def abort(self, reason: str) -> None:
        """End so that the client sees a truncated answer."""
        raise NotImplementedError
