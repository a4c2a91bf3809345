"""One client connection over HTTP/2 (RFC 9113): bytes in, many exchanges at once, bytes out.

Made by `web.server.front.HttpFront` for connections that have agreed on `h2` in the TLS handshake, and by
`web.server.http1.connection` for those without TLS whose client begins with HTTP/2. It owns the
transport and the session (`web.server.http2.session`); each stream's exchange (`web.server.http2.exchange`) owns
everything about its request. What handlers write waits in the session until the client's windows and the transport take
it: the connection pulls it from there."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, cast

from npserver.errors import BadRequest
from npserver.http.http2_allowance import UPDATE_BYTES, UPDATES_PER_PIECE, UPDATES_PER_REQUEST, Allowance
from npserver.http.refused_request import refused_http2_request
from npserver.http.request import Fields
from npserver.runtime.deadlines import NEVER
from npserver.web.server.client_connection import LINGER_S
from npserver.web.server.http2.exchange import Http2Exchange
from npserver.web.server.http2.session import ENHANCE_YOUR_CALM, NO_ERROR, Http2Session, SessionError
from npserver.web.server.stream_connection import StreamConnection

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.runtime.front import Live
    from npserver.web.exchange import Route
    from npserver.web.server import roles
    from npserver.web.server.client_connection import ClientConnection
    from npserver.web.server.roles import FrontRole

log = logging.getLogger("npserver.http")

PIECE_BYTES = 64 << 10  # written to the transport at once
TURN_BYTES = 1 << 20  # sent before the event loop serves other connections
FED_BYTES = 16 << 10  # given to the session at once
TURN_EVENTS = 1000  # then the event loop serves other connections


class Http2Connection(StreamConnection):
    """A client's connection."""

    # _refused     streams answered without an exchange, of which the client owes the rest of the request
    # _updates     allowance for WINDOW_UPDATE frames
    # _unfed       bytes that wait for this connection's next turn

    __slots__ = ("_is_feeding", "_is_flush_due", "_is_greeted", "_refused", "_unfed", "_updates")

    FLOOD_CODE = ENHANCE_YOUR_CALM

    session: Http2Session

    def __init__(self, listener: Live) -> None:
        super().__init__(listener, cast("FrontRole", listener.front))
        limits = self.front.limits
        self.session = Http2Session(self, limits, self.front.head_limits)
        self._refused: set[int] = set()
        self._updates = Allowance(limits.max_window_updates, self.context.sweeper.now)
        self._unfed = b""
        self._is_greeted = False  # its SETTINGS have come
        self._is_feeding = False  # flushed at the end of it
        self._is_flush_due = False

    # ── the connection's life ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when a client has connected and its TLS handshake is complete."""
        limit = self.admit(transport)
        self._greet()
        if limit:
            log.info("refusing connection from %s: %s exceeded", self.client_ip, limit)
            self.end(ENHANCE_YOUR_CALM)

    def begin(self, before: ClientConnection, data: bytes) -> None:
        """Take the place of an HTTP/1.1 connection whose client began with `data`, which is HTTP/2 (§3.3)."""
        self.follow(before)
        self._greet()
        self.data_received(data)

    def _greet(self) -> None:
        # Until its first request the client is timed by `timeouts.header`, as within a head.
        self.deadline = self.context.loop.time() + self.front.timeouts.header
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio when the connection is closed."""
        self.is_ended = True
        self._unfed = b""
        self._close_streams()
        self.session.close()
        self._all_unread.set(self, 0, self.front.limits.max_unread)
        self.release()

    def shut_down(self) -> None:
        """Close after the present streams, or at once if there are none (§6.8)."""
        if self.is_leaving or self.is_ended:
            return
        self.is_leaving = True
        if self.streams:
            self.session.notify_shutdown()
            self.flush_soon()
        else:
            self.end(NO_ERROR)

    def end(self, code: int) -> None:
        """Send GOAWAY and end our side; for a while, read and discard what the client still sends.

        Closing at once would reset the connection, and GOAWAY would be lost.
        """
        if self.is_ended:
            return
        self.is_ended = True
        self.transport.write(self.session.terminate(code))
        self._close_streams()
        self.unsent = self.transport.get_write_buffer_size()
        self.deadline = self.context.loop.time() + LINGER_S
        self.transport.write_eof()

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper when `deadline` has passed: close."""
        if not self.is_ended and not self.is_write_paused:
            self.end(NO_ERROR)
            return
        unsent = self.transport.get_write_buffer_size()
        if 0 < unsent < self.unsent:
            self.unsent = unsent
            self.deadline = now + self.front.timeouts.write
            return
        if unsent:
            log.info("closing connection from %s: client read nothing for %g s (timeouts.write)", self.client_ip,
                     self.front.timeouts.write)  # fmt: skip
        self.transport.abort()

    def eof_received(self) -> bool:
        """Called by asyncio when the client has ended its side: it opens no more windows, so nothing more can be
        sent."""
        if not self.is_ended:
            self.is_ended = True
            self.unsent = self.transport.get_write_buffer_size()
            self.deadline = self.context.loop.time() + LINGER_S
            self._close_streams()
        return False

    def _close_streams(self) -> None:
        self._refused.clear()
        super()._close_streams()

    # ── reading ──

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with bytes from the client."""
        if self._unfed:
            self._unfed += data
            return
        feed, events = self.session.feed, 0
        self._is_feeding = True
        try:
            while data and not self.is_ended:
                piece, data = data[:FED_BYTES], data[FED_BYTES:]
                events += feed(piece)
                if events > TURN_EVENTS:
                    break
        except SessionError as error:
            log.debug("closing connection from %s: %s (RFC 9113 §5.4.1)", self.client_ip, error)
            if error.code == ENHANCE_YOUR_CALM:
                self._tell_of_flood()
            self.end(error.code)
            return
        finally:
            self._is_feeding = False
        if self.is_ended:
            return
        if not events and not self.streams:  # part of a frame
            self._keep_time(min(self.deadline, self.context.loop.time() + self.front.timeouts.header))
        self.flush()
        if data:
            self._unfed = data
            self.transport.pause_reading()
            self.context.loop.call_soon(self._feed_rest)

    def _feed_rest(self) -> None:
        """Continue with the bytes that were left when the turn was over."""
        data, self._unfed = self._unfed, b""
        if not self.is_ended:
            self.transport.resume_reading()
            self.data_received(data)

    def _keep_time(self, deadline: float) -> None:
        """Set the deadline, unless the connection waits for the client to read."""
        if not self.is_write_paused and not self.is_ended:
            self.deadline = deadline

    # ── called by the session ──

    def stream_opened(self, stream_id: int, fields: Fields, has_body: bool) -> None:
        """A request has begun: make its exchange."""
        if self.is_ended:
            return
        front = self.front
        if front is not self.listener.front:
            front = self.front = cast("FrontRole", self.listener.front)  # a reload has put a new one in place
        self.requests += 1
        self._updates.earned += UPDATES_PER_REQUEST
        self._keep_time(NEVER)
        try:
            request, route = front.find_http2(fields, has_body)
        except BadRequest as error:
            self._refuse(stream_id, fields, error, has_body=has_body)
            return
        direct = route.direct
        if direct is None or not request.is_plain or not direct.forward_stream(self, stream_id, request, route):
            self._begin(stream_id, request, route, has_body=has_body)
        if self.requests >= front.max_requests and not self.listener.is_draining:
            self.shut_down()

    def exchange_for(self, stream_id: int, request: Request, route: Route, started: float) -> Http2Exchange:
        """Make the exchange of a stream; it takes the place of a call that stood in for it (`Route.direct`)."""
        exchange = self.streams[stream_id] = Http2Exchange(
            self, self.context, request, route, self.client_ip, started, session=self.session, stream_id=stream_id
        )
        return exchange

    def _begin(self, stream_id: int, request: Request, route: Route, *, has_body: bool) -> None:
        started = monotonic() if self.context.access_log.enabled or self.front.is_timed else 0.0
        exchange = self.exchange_for(stream_id, request, route, started)
        if exchange.find_client() and (not has_body or exchange.expect_body()):
            exchange.begin()

    def stream_data(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """A piece of a request's body has come."""
        exchange = self.streams.get(stream_id)
        if exchange is not None:
            exchange.feed(data, has_ended=has_ended)
        else:
            self.session.acknowledge(stream_id, len(data))

    def stream_closed(self, stream_id: int) -> None:
        """A stream is closed; one without our response was reset by the client (CVE-2023-44487, CVE-2025-8671)."""
        exchange = self.streams.pop(stream_id, None)
        if exchange is None:
            self._refused.discard(stream_id)
            is_cut = True
        else:
            self._sending.discard(exchange)
            is_cut = exchange.closed()
        if not self.streams:
            self._keep_time(self.context.sweeper.now + self.front.idle_s)
        if is_cut and not self._resets.spend(self.context.sweeper.now):
            self._refuse_flood("limits.max_resets")

    def control_frame(self) -> None:
        """A frame without a request has come: SETTINGS, PING and the like."""
        if not self._controls.spend(self.context.sweeper.now):
            self._refuse_flood("limits.max_control_frames")
        elif not self._is_greeted:
            self._is_greeted = True
            if not self.requests:
                self._keep_time(self.context.sweeper.now + self.front.idle_s)  # its SETTINGS: the client speaks HTTP/2

    def window_updated(self) -> None:
        """The client has opened a window; more often than what it has got explains is a flood."""
        if not self._updates.spend(self.context.sweeper.now):
            self._refuse_flood("limits.max_window_updates")

    def shutdown_noticed(self) -> None:
        """The client knows of the shutdown: streams that it still opens are refused."""
        if self.is_leaving:
            self.session.go_away()

    def _refuse(self, stream_id: int, received: Fields, error: BadRequest, *, has_body: bool) -> None:
        """Answer a request that is refused, without an exchange."""
        self._respond_refused(stream_id, error, lambda: refused_http2_request(received))
        if has_body:
            self._refused.add(stream_id)

    def _end_unread(self) -> None:
        self.is_ended = True
        self._close_streams()
        self.transport.abort()

    # ── writing ──

    def sending(self, exchange: roles.StreamRole) -> None:
        """The session has something to send for this exchange."""
        self._updates.earned += UPDATES_PER_PIECE
        self._sending.add(exchange)
        self.flush_soon()

    def cut(self, stream_id: int, code: int, *, is_whole: bool = False) -> None:
        """Reset a stream. `is_whole`: no more of the request's body is to come."""
        self.session.reset(stream_id, code)
        self.flush_soon()
        if code == NO_ERROR and not is_whole:
            self._upload_cut()

    def flush_soon(self) -> None:
        """Send in the next turn of the event loop, together with what is written until then."""
        if not self._is_flush_due and not self._is_feeding:
            self._is_flush_due = True
            self.context.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send as much as the client's windows and the transport accept."""
        self._is_flush_due = False
        if self.is_ended:
            return
        session, sent = self.session, 0
        try:
            while not self.is_write_paused:
                data = session.take(PIECE_BYTES)
                if data:
                    self.transport.write(data)
                    sent += len(data)
                if len(data) < PIECE_BYTES:
                    break
                if sent >= TURN_BYTES:
                    self.flush_soon()
                    break
            session.tell()
        except SessionError as error:
            log.error("closing %s: %s", self.client_ip, error)
            self.end(error.code)
            return
        if sent:
            self._updates.earned += sent // UPDATE_BYTES
        if self._sending or self.unread:
            self._all_unread.set(self, session.all_unsent, self.front.limits.max_unread)
        if self._sending or self._refused:
            self._look(is_drained=not self._is_flush_due and not self.is_write_paused)
        # A draining process or listener ends it after the present streams: some clients give them up if GOAWAY comes
        # before.
        if session.is_over or (
            not self.streams
            and (self.is_leaving or (self.requests and (self.context.draining or self.listener.is_draining)))
        ):
            self.end(NO_ERROR)

    def _look(self, *, is_drained: bool) -> None:
        """Something was sent: resume the exchanges that waited for it."""
        for exchange in list(self._sending):
            if exchange.look(is_drained=is_drained):
                self._sending.discard(exchange)
        if is_drained:
            refused, self._refused = self._refused, set()
            for stream_id in refused:
                self.cut(stream_id, NO_ERROR)

    def pause_writing(self) -> None:
        """Called by asyncio when the write buffer passes its high-water mark; the session holds what is written."""
        self.is_write_paused = True
        self.unsent = self.transport.get_write_buffer_size()
        self.deadline = self.context.loop.time() + self.front.timeouts.write

    def resume_writing(self) -> None:
        """Called by asyncio when the write buffer has drained below its low-water mark."""
        self.is_write_paused = False
        if not self.is_ended:
            self.deadline = NEVER if self.streams else self.context.sweeper.now + self.front.idle_s
            self.flush()
