"""Code shared by HTTP/1.1 and HTTP/2 exchanges: request, route, middleware, client address, error pages, the record.

The base of `web.server.http1.response` and `web.server.http2.exchange`, which add how a response is written.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Generic, cast

from npserver.errors import clip
from npserver.http.forwarded import client_address
from npserver.http.request import Request
from npserver.observe.request_record import Attempt, RequestRecord
from npserver.runtime.context import Context
from npserver.web import error_pages
from npserver.web.exchange import Exchange, ResponseSource, ResponseStart, Route
from npserver.web.grpc_status import code_of, failure_fields, is_grpc
from npserver.web.server.bytes_source import PIECE_BYTES, BytesSource
from npserver.web.server.exchange_peer import C, ExchangePeer
from npserver.web.server.file_source import FileSource
from npserver.web.server.refusals import decided_by, level_of, log_refusal
from npserver.web.server.response_filters import ResponseFilters

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from npserver.errors import BadRequest
    from npserver.observe.tracing.trace import Trace
    from npserver.web.exchange import BodySink
    from npserver.web.server.roles import BodyRole

log = logging.getLogger("npserver.http")


class ExchangeBase(ExchangePeer[C], Generic[C], eq=False):
    """One request and its response."""

    # body       the request's; None if there is none, and once the exchange is over
    # status     0 until answered
    # sent       bytes of the response's body
    # started    when, by the monotonic clock; 0 if nothing is logged, below 0 if only the end is watched
    # _stage     how many request sides of middleware have had the request
    # _watchers  called at the end
    # _filters   the response sides of middleware, while a response passes them
    # _is_filtered   a whole response has passed them
    # _failure   status of a failed call of gRPC, which is answered with 200: it is counted and logged with this one

    context: Context
    request: Request
    route: Route
    client_ip: str
    started: float = 0.0
    body: BodyRole | None = None
    status: int = 0
    sent: int = 0
    upstream: str = ""
    user: str = ""
    trace: Trace | None = None
    attempts: list[Attempt] | None = None
    cache_status: bytes = b""
    response_fields: bytes = b""
    source: ResponseSource | None = None
    _request_id: str = ""
    _stage: int = 0
    _watchers: tuple[Callable[[], None], ...] = ()
    _filters: ResponseFilters | None = None
    _is_filtered: bool = False
    _failure: int = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request.method} {self.request.path} {self.status or 'unanswered'}>"

    @property
    def _told_id(self) -> str:
        """The id, if the rule has used it or all requests have one (`logging.request_ids`); else empty."""
        return self.request_id if self.context.access_log.gives_ids else self._request_id

    @property
    def request_id(self) -> str:
        """32 random hexadecimal digits."""
        if not self._request_id:
            self._request_id = os.urandom(16).hex()
        return self._request_id

    @property
    def is_gone(self) -> bool:
        """Whether the exchange is over: the client is gone, or it has been answered."""
        raise NotImplementedError

    # ── for the server ──

    def run(self) -> None:
        """Pass the request through the gates and the middleware to the handler."""
        # hot: proxy-small
        route = self.route
        try:
            if not route.is_guarded:
                route.handler.handle(self)  # type: ignore[arg-type]  # an `Exchange` in each of its subclasses
                return
            for gate in route.gates:
                if (refusal := gate(self.client_ip, self.request)) is not None:
                    if refusal.answered is not None:
                        level = refusal.answered()
                    else:
                        level = min(level_of(refusal.status), logging.INFO)  # a 503 too: a rule keeps the client out
                    self.fail(refusal.status, refusal.reason, refusal.key, refusal.fields, level=level)
                    return
        except Exception:
            log.exception("error in %s", route.name)
            self.break_off()
            return
        self.proceed()

    def reroute(self, route: Route) -> None:
        """Let another route answer."""
        self.route = route
        self._stage = 0
        self.run()

    def proceed(self) -> None:
        """Let the next middleware have the request, or the handler after the last one."""
        route, stage = self.route, self._stage
        self._stage = stage + 1
        if self.is_gone or self.status:
            return  # the client left while a middleware waited
        try:
            if stage < len(route.requests):
                route.requests[stage](cast("Exchange", self))
            elif stage == len(route.requests):
                route.handler.handle(cast("Exchange", self))
            else:
                raise RuntimeError("proceed() was called twice by one middleware")
        except Exception:
            log.exception("error in %s", route.name)
            self.break_off()

    def break_off(self) -> None:
        """End after an error of ours: 500 if nothing is sent yet, else close."""
        if self.status:
            self.abort("internal error")
        else:
            self.fail(500, "internal error")

    def find_client(self) -> bool:
        """Find out who asks, by the fields of trusted proxies, and take the route of that address.

        Return whether the exchange is to go on: 421 is answered if the host asks for other client certificates than the
        connection has shown.
        """
        trusted = self.connection.front.trusted
        if trusted is not None and self.client_ip in trusted:
            self.client_ip = client_address(self.client_ip, self.request.fields, trusted)
        if self.route.by_address is not None:
            self.route = self.route.by_address(self.client_ip)
        return not self.refuse_misdirected()

    def refuse_misdirected(self) -> bool:
        """Answer 421 if the host asks for other client certificates than the connection has shown.

        Return whether it was answered.
        """
        connection, host = self.connection, self.request.host
        if connection.misdirected_by is None or not (key := connection.misdirected_by(host)):
            return False
        reason = f"{clip(host)} asks for other client certificates than the connection, RFC 9110 §15.5.20"
        self.fail(421, reason, key)
        return True

    def refuse_body(self, error: BadRequest) -> None:
        """Answer a body that is faulty, too long or stalled, if that is still possible."""
        if self.body is not None:
            self.body.lose(str(error))
        if self.is_gone:
            return
        source, self.source = self.source, None
        if source is not None:
            source.cancel()  # it may not have asked for the body yet
        if self.status:
            self.abort(str(error), error.decided_by, level=level_of(error.status))
        else:
            self.fail(error.status, str(error), error.decided_by)

    def watch_end(self, ended: Callable[[], None]) -> None:
        """Have `ended` called once when the exchange is over."""
        self._watchers += (ended,)
        self.started = self.started or -1.0  # the shortest way of a whole answer would not come by `_finished`

    def _finished(self, status: int, received: int = 0) -> None:
        """Count the request, and log it."""
        status = self._failure or status
        if self.body is not None:
            received = received or self.body.received
        front = self.connection.front
        if self.trace is not None:
            self.trace.status = status
            if self._failure:
                self.trace.grpc_code = code_of(status)
        if self._watchers:
            watchers, self._watchers = self._watchers, ()
            for ended in watchers:
                ended()
        if self.started <= 0:
            front.count(status, self.sent, received)
            return
        took_s = time.monotonic() - self.started
        if self.route.times is not None:
            self.route.times.count(self.request.host, status, took_s)
            if self.trace is not None and self.trace.is_sampled:
                self.route.times.add_exemplar(self.request.host, self.trace.trace_id, took_s)
        if not self.route.is_logged:
            front.count(status, self.sent, received)
            return
        front.finished(
            RequestRecord(
                self.client_ip, self.request, self.connection.scheme, status, received, self.sent,
                took_s, self.upstream, self._told_id, self.user, self.route.rule_name or self.route.key, self,
            )
        )  # fmt: skip

    # ── for handlers ──

    def receive(self, sink: BodySink) -> None:
        """Start giving the body to `sink`."""
        if self.body is not None:
            self.body.deliver_to(sink)
        elif self.is_gone:
            sink.body_lost("client gone")
        else:
            sink.body_end(b"")

    def pause_receiving(self) -> None:
        """Give the sink no more for now."""
        if self.body is not None:
            self.body.pause()

    def resume_receiving(self) -> None:
        """Continue to give the body to the sink."""
        if self.body is not None:
            self.body.resume()

    def fail(self, status: int, reason: str, key: str = "", fields: bytes = b"", *, level: int | None = None) -> None:
        """Answer with an error page, or as gRPC does; the reason and the config's key go to the log."""
        if self.is_gone or self.status:
            return
        level = level_of(status) if level is None else level
        log_refusal(status, lambda: self.request, self.client_ip, reason, decided_by(self.route, key), level)
        if self.request.is_http2 and is_grpc(self.request):
            self._failure = status
            self.respond(200, fields + failure_fields(status))
            return
        for failure in self.route.failures:
            page = failure(cast("Exchange", self), status)
            if page is not None:
                break
        else:
            page = error_pages.render(status, self.request.fields.get(b"accept", b""), self._told_id)
        self.respond(status, fields + page[0], page[1])

    def respond(self, status: int, fields: bytes = b"", body: bytes = b"") -> None:
        """Answer whole."""
        raise NotImplementedError

    def allow_silence(self) -> None:
        """Let the client pause within its body for as long as it likes: the handler times it."""

    def inform(self, status: int, fields: bytes) -> None:
        """Send an interim response before the real one."""
        if self.status or self.is_gone:
            return
        if self.route.responses:
            fields = self._response_filters().interim(status, fields)
        self._send_interim(status, fields)

    def start(self, status: int, fields: bytes, length: int | None, source: ResponseSource | None) -> None:
        """Begin a streamed response."""
        self.source = source
        if self.is_gone or self.status:
            return
        if self.route.responses:
            head = self._response_filters().start(self._response_start(status, fields, length))
            status, fields, length = head.status, head.fields, head.length
        self._send_start(status, fields, length)

    def send_file(self, status: int, fields: bytes, file: int, offset: int, length: int) -> None:
        """Answer with a part of an open file, which is closed in the end."""
        if self.is_gone or self.status:
            os.close(file)
            return
        if self.route.responses:
            filters = self._response_filters()
            head = filters.start(self._response_start(status, fields, length))
            if filters.wants_body:
                self._stream(head, FileSource(cast("Exchange", self), file, offset, length))
                return
            status, fields = head.status, head.fields
        self._send_file(status, fields, file, offset, length)

    def write(self, data: bytes) -> None:
        """Send a piece."""
        # hot: proxy-large
        if self._filters is not None:
            data = self._filters.data(data)
        if data:
            self._send_data(data)

    def flush(self) -> None:
        """Send what the response filters have kept."""
        if self._filters is not None and not self.is_gone and (data := self._filters.flush()):
            self._send_data(data)

    def finish(self, trailers: bytes = b"") -> None:
        """The response is complete."""
        if self._filters is not None:
            if self.is_gone:
                return
            data, trailers = self._filters.end(trailers)
            self._filters = None
            if data:
                self._send_data(data)
        self._send_end(trailers)

    def abort(self, reason: str, key: str = "", *, level: int = logging.DEBUG) -> None:
        """End so that the client sees a truncated answer."""
        raise NotImplementedError

    def _log_abort(self, reason: str, key: str, level: int) -> None:
        status = self.status or 499
        log_refusal(
            status, lambda: self.request, self.client_ip, reason, decided_by(self.route, key), level, is_cut=True
        )

    # ── response filters ──

    def _respond_filtered(self, status: int, fields: bytes, body: bytes) -> None:
        """Answer whole, through the filters."""
        filters = self._response_filters()
        head = filters.start(self._response_start(status, fields, len(body)))
        if len(body) > PIECE_BYTES and filters.is_paced:
            self._stream(head, BytesSource(cast("Exchange", self), body))
            return
        trailers = b""
        if filters.wants_body:
            body, trailers = filters.end_after(body)
        self._filters = None
        self._is_filtered = True
        if trailers or (head.length is None and not head.has_body):  # HEAD: the length that GET has is not known
            self._send_start(head.status, head.fields, None)
            self._send_data(body)
            self._send_end(trailers)
        else:
            self.respond(head.status, head.fields, body)

    def _stream(self, head: ResponseStart, source: FileSource | BytesSource) -> None:
        self.source = source
        self._send_start(head.status, head.fields, head.length)
        source.copy()

    def _response_start(self, status: int, fields: bytes, length: int | None) -> ResponseStart:
        return ResponseStart(status, fields, length, self.request.method != "HEAD" and status not in (204, 304))

    def _response_filters(self) -> ResponseFilters:
        if self._filters is None:
            self._filters = ResponseFilters(cast("Exchange", self))
        return self._filters

    def _cancel_filters(self) -> None:
        """The response ends before it is complete."""
        filters, self._filters = self._filters, None
        if filters is not None:
            filters.cancel()

    # ── how a version of HTTP writes it ──

    def _send_interim(self, status: int, fields: bytes) -> None:
        raise NotImplementedError

    def _send_start(self, status: int, fields: bytes, length: int | None) -> None:
        raise NotImplementedError

    def _send_data(self, data: bytes) -> None:
        raise NotImplementedError

    def _send_end(self, trailers: bytes) -> None:
        raise NotImplementedError

    def _send_file(self, status: int, fields: bytes, file: int, offset: int, length: int) -> None:
        raise NotImplementedError

    def switch(self, fields: bytes) -> tuple[asyncio.Transport, bytes]:
        """Answer 101 and hand the connection over."""
        raise NotImplementedError
