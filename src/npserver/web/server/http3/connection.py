"""One client connection over HTTP/3 (RFC 9114): streams in, many exchanges at once, streams out.

Made by `web.server.http3.front` for QUIC connections that have agreed on `h3` in the handshake. It is to
`web.server.http3.session` what `web.server.http2.connection` is to the session of HTTP/2, and has the same exchanges.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from npserver.errors import BadRequest
from npserver.http.refused_request import refused_http2_request
from npserver.web.server.client_connection import LINGER_S
from npserver.web.server.http2.session import CANCEL, INTERNAL_ERROR
from npserver.web.server.http2.session import NO_ERROR as HTTP2_NO_ERROR
from npserver.web.server.http3 import frames
from npserver.web.server.http3.client_streams import SessionError
from npserver.web.server.http3.exchange import Http3Exchange
from npserver.web.server.http3.session import Http3Session
from npserver.web.server.stream_connection import StreamConnection

if TYPE_CHECKING:
    from npserver.http.request import Fields, Request
    from npserver.listen.quic.connection import QuicConnection
    from npserver.runtime.front import Client, Live
    from npserver.web.server.roles import Http3FrontRole, StreamRole

log = logging.getLogger("npserver.http")

KEEP_ALIVE_S = 10.0  # between two PINGs while an answer is awaited: the client's idle timeout must not end it
#: Error codes that exchanges give, which are those of HTTP/2.
_CODES = {CANCEL: frames.REQUEST_CANCELLED, INTERNAL_ERROR: frames.INTERNAL_ERROR}
FREE_BYTES = 32 << 10  # of what a connection has sent out of order; more is counted as held
HELD_FOR_BYTE = 24  # that the library holds for a byte out of order, at the worst: of handshake messages


class Http3Connection(StreamConnection):
    """A client's connection."""

    # _answered      streams answered without an exchange
    # _is_lingering  all is sent; the client has not acknowledged it

    __slots__ = ("_answered", "_is_lingering", "quic")

    FLOOD_CODE = frames.EXCESSIVE_LOAD

    session: Http3Session

    def __init__(self, listener: Live, quic: QuicConnection) -> None:
        super().__init__(listener, cast("Http3FrontRole", listener.front).http)
        self.scheme = "https"
        self.quic = quic
        self._answered: set[int] = set()
        self._is_lingering = False

    # ── the connection's life ──

    def begin(self) -> None:
        """Send SETTINGS, or close a connection that is over a limit."""
        limit = self.admit(cast("Any", QuicInfo(self.quic)))
        self.session = Http3Session(self, self.quic, self.front.limits, self.front.head_limits)
        # Until its first request the client is timed by `timeouts.header`, as within a head.
        self.deadline = self.context.loop.time() + self.front.timeouts.header
        if limit:
            log.info("refusing connection from %s: %s exceeded", self.client_ip, limit)
            self.end(frames.EXCESSIVE_LOAD)
        elif self.context.draining:
            self.shut_down()

    def connection_lost(self, error: Exception | None = None) -> None:
        """Called when the connection is closed."""
        self.is_ended = True
        self._close_streams()
        self.session.close()
        self._all_unread.set(self, 0, self.front.limits.max_unread)
        self.release()

    def shut_down(self) -> None:
        """Close after the present streams, or at once if there are none (§5.2)."""
        if self.is_leaving or self.is_ended:
            return
        if not self.streams:
            self.end(frames.NO_ERROR)
        self.is_leaving = True
        if self.streams:
            self.session.go_away()
            self.flush_soon()

    def end(self, code: int, reason: str = "") -> None:
        """Close the connection, and end its streams."""
        if not self.is_ended:
            self.is_ended = True
            if code == frames.NO_ERROR and not self.is_leaving:  # requests under way may be sent again (§5.2)
                self.session.go_away()
                self.quic.flush()
            self.quic.close(code, reason)

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper when `deadline` has passed: close, or keep the connection alive."""
        if self.streams and not self.is_ended and not self._is_lingering:
            self.deadline = now + KEEP_ALIVE_S
            self.quic.quic.ping()
            self.flush_soon()
        else:
            self.end(frames.NO_ERROR)

    def peer_moved(self, client: Client) -> None:
        """The client's address is another one now, and validated: requests come from there."""
        self.client_ip, self.client_port = cast("tuple[str, int]", client[:2])
        self._local = None

    def _close_streams(self) -> None:
        self._answered.clear()
        super()._close_streams()

    # ── reading ──

    def stream_data(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """Called with bytes of a stream."""
        if self.is_ended:
            return
        try:
            self.session.feed(stream_id, data, has_ended)
        except SessionError as error:
            self._fail(error)

    def stream_reset(self, stream_id: int, code: int) -> None:
        """Called when the client sends no more on a stream."""
        try:
            self.session.stream_reset(stream_id)
        except SessionError as error:
            self._fail(error)

    def stop_sending(self, stream_id: int, code: int) -> None:
        """Called when the client reads no more of a stream."""
        try:
            self.session.stop_sending(stream_id)
        except SessionError as error:
            self._fail(error)

    def stream_finished(self, stream_id: int) -> None:
        """Called when both sides have all of a stream."""
        self.session.stream_finished(stream_id)

    def _fail(self, error: SessionError) -> None:
        log.debug("closing connection from %s: %s (RFC 9114 §8)", self.client_ip, error)
        if error.code == frames.EXCESSIVE_LOAD:
            self._tell_of_flood()
        self.end(error.code, str(error))

    # ── called by the session ──

    def is_refused(self, stream_id: int) -> bool:
        """Return whether a request that begins now is to be rejected: the client may send it elsewhere."""
        return self.is_leaving or self.is_ended

    def stream_opened(self, stream_id: int, fields: Fields, has_body: bool) -> None:
        """A request has begun: make its exchange."""
        if self.is_ended:
            return
        front = cast("Http3FrontRole", self.listener.front).http  # a reload puts a new one in place
        self.front = front
        self.requests += 1
        self.deadline = self.context.sweeper.now + KEEP_ALIVE_S
        try:
            request, route = front.find_http3(fields, has_body)
        except BadRequest as error:
            self._refuse(stream_id, fields, error, has_body=has_body)
            return
        context = self.context
        exchange = self.streams[stream_id] = Http3Exchange(
            self, context, request, route, self.client_ip,
            monotonic() if context.access_log.enabled or front.is_timed else 0.0,
            session=self.session, stream_id=stream_id,
        )  # fmt: skip
        if exchange.find_client() and (not has_body or exchange.expect_body()):
            exchange.begin()
        if self.requests >= front.max_requests or context.draining:
            self.shut_down()

    def stream_body(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """A piece of a request's body has come."""
        exchange = self.streams.get(stream_id)
        if exchange is None or exchange.is_gone:
            self.session.acknowledge(stream_id, len(data))  # nobody keeps it
        if exchange is not None:
            exchange.feed(data, has_ended=has_ended)

    def stream_closed(self, stream_id: int) -> None:
        """A stream is closed; one without our response was reset by the client (CVE-2023-44487)."""
        exchange = self.streams.pop(stream_id, None)
        if exchange is None:
            is_cut = stream_id not in self._answered
            self._answered.discard(stream_id)
        else:
            self._sending.discard(exchange)
            is_cut = exchange.closed()
        if not self.streams:
            self.deadline = self.context.sweeper.now + self.front.idle_s
            if self.is_leaving:
                self._is_lingering = False
                self.flush_soon()
        if is_cut and not self._resets.spend(self.context.sweeper.now):
            self._refuse_flood("limits.max_resets")

    def control_frame(self) -> None:
        """A frame without a request has come: SETTINGS, an empty DATA frame, one of unknown type."""
        if not self._controls.spend(self.context.sweeper.now):
            self._refuse_flood("limits.max_control_frames")

    def _refuse(self, stream_id: int, received: Fields, error: BadRequest, *, has_body: bool) -> None:
        """Answer a request that is refused, without an exchange."""
        self._respond_refused(stream_id, error, lambda: _refused_request(received))
        self._answered.add(stream_id)
        if has_body:
            self.session.stop(stream_id)

    def _end_unread(self) -> None:
        self.end(frames.EXCESSIVE_LOAD)

    # ── writing ──

    def sending(self, exchange: StreamRole) -> None:
        """The library has something to send for this exchange."""
        self._sending.add(exchange)
        self.quic.flush_soon()

    def cut(self, stream_id: int, code: int, *, is_whole: bool = False) -> None:
        """Reset a stream. `is_whole`: no more of the request's body is to come."""
        if code != HTTP2_NO_ERROR:
            self.session.reset(stream_id, _CODES[code])
        else:
            self.session.stop(stream_id)
            if not is_whole:
                self._upload_cut()
        self.quic.flush_soon()

    def flush_soon(self) -> None:
        """Send in the next turn of the event loop, together with what is written until then."""
        self.quic.flush_soon()

    def fill(self) -> int:
        """Give the library what is to be sent next. Return how many datagrams can be sent before the next call."""
        return self.session.queue.fill()

    def flushed(self, *, is_drained: bool) -> None:
        """Called when something was sent: resume the exchanges that waited for it."""
        if self.is_ended:
            return
        quic = self.quic
        held = self.session.all_unsent + quic.quic.unacknowledged if self._sending or self.unread else 0
        if (unexplained := quic.unexplained + quic.quic.excess) > FREE_BYTES:
            held += HELD_FOR_BYTE * (unexplained - FREE_BYTES)
        held += self.session.heads.size
        if held or self.unread:
            self._all_unread.set(self, held, self.front.limits.max_unread)
        if self._sending:
            for exchange in list(self._sending):
                if exchange.look(is_drained=is_drained):
                    self._sending.discard(exchange)
        if self.session.queue.end_turn():
            self.flush_soon()
        if self.is_leaving and not self._is_lingering and not self.is_ended:
            self._leave()

    def _leave(self) -> None:
        """Close once the client has all answers, or after a while if it does not say so."""
        if not self.streams:
            self.end(frames.NO_ERROR)
        elif not self._sending and all(exchange.is_gone for exchange in self.streams.values()):
            self._is_lingering = True
            self.deadline = self.context.loop.time() + LINGER_S


def _refused_request(fields: Fields) -> Request:
    request = refused_http2_request(fields)
    request.is_http2, request.is_http3 = False, True
    return request


class QuicInfo:
    """A QUIC connection in the place of the transport of other connections."""

    __slots__ = ("_quic",)

    def __init__(self, quic: QuicConnection) -> None:
        self._quic = quic

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return what is known of the connection, by the names of asyncio's transports."""
        quic = self._quic
        if name == "peername":
            return quic.paths.client[:2]
        if name == "sockname":
            return quic.local
        if name == "ssl_object":
            return self
        return default

    def abort(self) -> None:
        """Close at once."""
        self._quic.abort(frames.NO_ERROR)

    def is_closing(self) -> bool:
        """Whether nothing is sent any more."""
        return self._quic.is_closed

    # ── in the place of `ssl.SSLObject` ──

    @property
    def sni(self) -> str:
        """The server name that the client asked for."""
        return self._quic.server_name

    def version(self) -> str:
        """Return the version of TLS."""
        return "TLSv1.3"

    def cipher(self) -> tuple[str, str, int]:
        """Return the cipher suite, as `ssl.SSLObject.cipher` does."""
        name = self._quic.quic.cipher
        return f"TLS_{name}", "TLSv1.3", 128 if "128" in name else 256

    def getpeercert(self, binary_form: bool = False) -> None:
        """Return None: client certificates are not asked for over QUIC."""

    def selected_alpn_protocol(self) -> str:
        """Return the protocol."""
        return "h3"
