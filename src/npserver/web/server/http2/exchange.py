"""One request and its response over HTTP/2 (RFC 9113 §8): implements `web.exchange.Exchange`.

Made by `web.server.http2.connection` for each stream, and kept until both sides are done with it: a response that is
answered may still wait in the session for the client to take it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from npserver.errors import BadRequest
from npserver.http.http2_fields import field_list
from npserver.runtime.deadlines import NEVER
from npserver.web.exchange import ResponseStart
from npserver.web.server.client_connection import LINGER_S
from npserver.web.server.exchange_base import ExchangeBase
from npserver.web.server.file_source import LARGE_PIECE_BYTES, FileSource
from npserver.web.server.http1.answer import MAX_COMPOSED
from npserver.web.server.http2.request_body import ANSWERED, Http2Body
from npserver.web.server.http2.response_head import compose_head
from npserver.web.server.http2.session import CANCEL, INTERNAL_ERROR, NO_ERROR
from npserver.web.server.http2.stream_transport import StreamTransport
from npserver.web.server.roles import StreamSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.http.request import Fields, Request
    from npserver.web.exchange import Exchange, Prepared
    from npserver.web.server.roles import Http2ConnectionRole  # noqa: F401 - named in a string

log = logging.getLogger("npserver.http")

HIGH_BYTES = 128 << 10  # of one response in the session; then its source is paused
LOW_BYTES = 32 << 10  # then its source resumes; with many responses on a connection, it is also where each is paused
LEAST_BYTES = 16 << 10  # then its source resumes whatever others hold: it must not run out where others may go instead
ALL_HIGH_BYTES = 1 << 20  # of all responses of a connection in the session


class Http2Exchange(ExchangeBase["Http2ConnectionRole"], eq=False, kw_only=True):
    """One request and its response."""

    # is_gone          answered, or the client is gone
    # deadline         when the client must have sent or read more; checked by the deadline sweeper
    # is_paused        the source has been paused
    # tunnel           the stream, of a request for a WebSocket
    # taken            bytes of the body that had left the session at the last check
    # _progress        what the session said of others at the last check, if this response was waiting for them
    # _left            bytes still to be written of a response of known length

    body: Http2Body | None = None
    tunnel: StreamTransport | None = None
    session: StreamSession
    stream_id: int
    is_gone: bool = False
    is_paused: bool = False
    taken: int = 0
    _progress: int = 0
    deadline: float = NEVER
    _body_deadline: float = NEVER
    _write_deadline: float = NEVER
    _is_bodyless: bool = False
    _may_be_silent: bool = False
    _left: int | None = None

    # ── the connection's calls ──

    def expect_body(self) -> bool:
        """Expect a body. Return whether it may come: one whose length is over the limit is refused unread."""
        if self.request.is_connect:
            self.tunnel = StreamTransport(self)
            return True
        self.body = Http2Body(self)
        try:
            self.body.check_length()
        except BadRequest as error:
            self.fail(error.status, str(error), error.decided_by)
            return False
        return True

    def begin(self) -> None:
        """Answer from memory if that is possible, else pass the request to the handler."""
        prepare = self.route.prepared
        if (
            prepare is None or not self.request.is_plain
            or self.connection.misdirected_by is not None  # the client's certificate may decide
            or not self._answer_prepared(prepare)
        ):  # fmt: skip
            self.run()

    def answered(self, status: int, sent: int) -> None:
        """Take over a response that was answered, counted and logged without an exchange, and waits for the client.

        `sent`: bytes of its body.
        """
        self.is_gone = True
        self.status = status
        self.sent = sent

    def feed(self, data: bytes, *, has_ended: bool, trailers: bytes = b"") -> None:
        """A piece of the body has come, or its end."""
        if self.body is None:
            if self.tunnel is not None:
                self.tunnel.feed(data, has_ended=has_ended)
            return
        try:
            self.body.feed(data, has_ended=has_ended, trailers=trailers)
        except BadRequest as error:
            self.refuse_body(error)
        else:
            self.keep_body_time()

    def closed(self) -> bool:
        """The stream is closed. Return whether it was reset before its response was complete."""
        if self.tunnel is not None and self.tunnel.is_open:
            return self.tunnel.stream_closed()
        is_cut = not self.is_gone
        self._end("client gone")
        if self.tunnel is not None:
            self.tunnel.drop()
            self.tunnel = None
        if self.body is not None:
            self.body.lose(ANSWERED)
            self.body = None
        if self.deadline is not NEVER:
            self._body_deadline = self._write_deadline = NEVER
            self._set_deadline()
        return is_cut

    def look(self, *, is_drained: bool) -> bool:
        """Check how much the client has read. Return whether there is nothing left to read.

        `is_drained`: the transport has got all that the client's windows allow.
        """
        if self.tunnel is not None and self.tunnel.is_open:
            return self.tunnel.look(is_drained=is_drained)
        unsent = self.session.unsent(self.stream_id)
        if not unsent and is_drained and not self.is_paused:
            self._write_deadline = NEVER
            self._set_deadline()
            if self.is_gone and self.body is not None and not self.body.has_ended:
                # Answered before the request's end (§8.1); that may be only an empty frame after a whole body. What
                # is under way already is waited for: curl takes the reset for an error before it has sent all.
                if self.body.is_nearly_there and not self.body.done:
                    self._body_deadline = self.context.loop.time() + LINGER_S
                    self._set_deadline()
                else:
                    self.connection.cut(self.stream_id, NO_ERROR, is_whole=self.body.done)
            elif self.tunnel is not None and not self.tunnel.has_eof:
                self.connection.cut(self.stream_id, NO_ERROR, is_whole=True)
            return True
        taken, progress = self.sent - unsent, self.session.progress(self.stream_id)
        if taken > self.taken or progress > self._progress or self._write_deadline is NEVER:
            self.taken, self._progress = taken, progress
            self._write_deadline = self.context.loop.time() + self.connection.front.timeouts.write
            self._set_deadline()
        if (
            self.is_paused
            and unsent <= LOW_BYTES
            and (unsent <= LEAST_BYTES or self.session.all_unsent < ALL_HIGH_BYTES)
        ):
            self.is_paused = False
            if self.source is not None:
                self.source.resume()
        return False

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper: the client neither sends the body nor reads the response."""
        if self._body_deadline <= now:
            self._body_deadline = NEVER
            if self.is_gone:
                self.connection.cut(self.stream_id, NO_ERROR)
            else:
                self.refuse_body(BadRequest("request body stalled", 408, "timeouts.body"))
        if self._write_deadline <= now:
            log.info("resetting a stream of %s: client read nothing for %g s (timeouts.write)", self.client_ip,
                     self.connection.front.timeouts.write)  # fmt: skip
            self._write_deadline = NEVER
            self._end("client reads nothing")
            self.connection.cut(self.stream_id, CANCEL)
        self._set_deadline()

    def keep_body_time(self) -> None:
        """Start, renew or stop the timeout of a client that owes the rest of a body."""
        is_awaited = not self.is_gone and self.body is not None and self.body.is_awaited and not self._may_be_silent
        timeouts = self.connection.front.timeouts
        self._body_deadline = self.context.loop.time() + timeouts.body if is_awaited else NEVER
        self._set_deadline()

    def allow_silence(self) -> None:
        """Let the client pause within its body for as long as it likes: the handler times it."""
        self._may_be_silent = True
        self.keep_body_time()

    # ── the response ──

    def respond(self, status: int, fields: bytes = b"", body: bytes = b"") -> None:
        """Answer whole."""
        if self.is_gone or self.status:
            return
        if self.tunnel is not None and status < 300:
            self._refuse_tunnel(status)
            return
        if self.route.responses and not self._is_filtered:
            self._respond_filtered(status, fields, body)
            return
        head = self._compose(status, fields, len(body))
        if self._is_bodyless:
            body = b""
        self.sent = len(body)
        self.session.respond(self.stream_id, head, body)
        self._answered()

    def _send_file(self, status: int, fields: bytes, file: int, offset: int, length: int) -> None:
        self.source = source = FileSource(cast("Exchange", self), file, offset, length, piece_bytes=LARGE_PIECE_BYTES)
        self._send_start(status, fields, length)
        if self._is_bodyless:
            source.cancel()
            self.finish()
        else:
            source.copy()

    def _send_interim(self, status: int, fields: bytes) -> None:
        self.session.inform(self.stream_id, ((b":status", b"%d" % status), *field_list(fields)))
        self.connection.flush_soon()

    def _send_start(self, status: int, fields: bytes, length: int | None) -> None:
        if self.tunnel is not None and status < 300:
            self._refuse_tunnel(status)
            return
        self.session.start(self.stream_id, self._compose(status, fields, length))
        self._left = length
        self._sending()

    def _send_data(self, data: bytes) -> None:
        if self.is_gone or self._is_bodyless:
            return
        self.sent += len(data)
        if self._left is not None:
            if len(data) > self._left:
                self.abort("response longer than its length")
                return
            self._left -= len(data)
        self.session.write(self.stream_id, data)
        self._sending()

    def _send_end(self, trailers: bytes) -> None:
        if self.is_gone:
            self.source = None
            return
        if self._left and not self._is_bodyless:
            self.abort("response shorter than its length")
            return
        self.session.finish(self.stream_id, field_list(trailers) if not self._is_bodyless else ())
        self._answered()

    def abort(self, reason: str, key: str = "", *, level: int = logging.DEBUG) -> None:
        """Reset the stream, so that the client sees a truncated response."""
        if self.is_gone:
            return
        self._log_abort(reason, key, level)
        self._end(reason)
        self.connection.cut(self.stream_id, INTERNAL_ERROR)

    def switch(self, fields: bytes) -> tuple[asyncio.Transport, bytes]:
        """Answer the request for a WebSocket with 200, and hand the stream over (RFC 8441 §5)."""
        tunnel = self.tunnel
        if tunnel is None:
            raise RuntimeError("an HTTP/2 connection is not handed over")
        self.source = None
        if self.route.responses:
            fields = self._response_filters().start(ResponseStart(101, fields, None, has_body=False)).fields
        early = tunnel.open()
        head = self._compose(200, fields, None)
        self.session.start(self.stream_id, tuple([field for field in head if field[0] != b"sec-websocket-accept"]))
        self.connection.sending(self)
        return tunnel, early

    def switched_closed(self, received: int, sent: int, reason: str) -> None:
        """The tunnel has ended: log the request."""
        self.sent = sent
        self.is_gone = True
        self.tunnel = None
        self._finished(self.status, received)

    # ── private ──

    def _refuse_tunnel(self, status: int) -> None:
        """Answer a request for a WebSocket that has got a page: a client would take that for the tunnel."""
        source = self.source
        reason = f"a WebSocket was asked for, and answered with {status}"
        if self.upstream:
            self.fail(502, f"upstream {self.upstream}: {reason}")
        else:
            self.fail(400, reason, "RFC 8441 §5")
        self.source = source
        self.context.loop.call_soon(self._cancel_source)

    def _cancel_source(self) -> None:
        """Stop the source of a response that is not sent, unless it has ended."""
        source, self.source = self.source, None
        if source is not None:
            source.cancel()

    def _answer_prepared(self, prepare: Callable[[Request], Prepared | None]) -> bool:
        """Send the answer that the route keeps in memory. Return False if there is none, or a gate refuses it."""
        request, front = self.request, self.connection.front
        prepared = prepare(request)
        if prepared is None:
            return False
        for gate in self.route.gates:
            if gate(self.client_ip, request) is not None:
                return False
        body = prepared.body
        head = front.composed_heads.get(prepared)
        if head is None:
            head = self._compose(prepared.status, prepared.fields, len(body))
            if len(front.composed_heads) < MAX_COMPOSED:
                front.composed_heads[prepared] = head
        self.status = prepared.status
        self.sent = len(body)
        self.session.respond(self.stream_id, head, body)
        self._answered()
        return True

    def _compose(self, status: int, fields: bytes, length: int | None) -> Fields:
        """Return the head of the response."""
        # hot: h2-small, h2-proxy
        self.status = status
        self._is_bodyless = self.request.method == "HEAD" or status == 204 or status == 304
        if self.route.change_fields is not None:
            fields = self.route.change_fields(fields)
        return compose_head(self.connection.front, status, fields, length)

    def _sending(self) -> None:
        """A piece is in the session: pause the source if that is enough for now."""
        self.connection.sending(self)
        if self.source is None or self.is_paused:
            return
        unsent = self.session.unsent(self.stream_id)
        if unsent >= HIGH_BYTES or (unsent >= LOW_BYTES and self.session.all_unsent >= ALL_HIGH_BYTES):
            self.is_paused = True
            self.source.pause()

    def _answered(self) -> None:
        """The response is complete: log it."""
        self.is_gone = True
        self.is_paused = False
        self.source = None
        self._finished(self.status)
        if self.body is not None and not self.body.done:
            self.body.lose(ANSWERED)
            self.keep_body_time()
        self.connection.sending(self)

    def _end(self, reason: str) -> None:
        """The exchange ends before its response is complete."""
        if self.is_gone:
            return
        self.is_gone = True
        source, self.source = self.source, None
        if self.body is not None:
            self.body.lose(reason)
        if source is not None:
            source.cancel()
        self._cancel_filters()
        self._finished(self.status or 499)

    def _set_deadline(self) -> None:
        self.deadline = min(self._body_deadline, self._write_deadline)
        watched = self.context.sweeper.watched
        if self.deadline is NEVER:
            watched.discard(self)
        else:
            watched.add(self)
