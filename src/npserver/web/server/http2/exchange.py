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
from npserver.web.server.exchange_base import ExchangeBase
from npserver.web.server.file_source import FileSource
from npserver.web.server.http2.request_body import Http2Body
from npserver.web.server.http2.session import CANCEL, INTERNAL_ERROR, NO_ERROR, Http2Session

if TYPE_CHECKING:
    from npserver.http.request import Fields
    from npserver.web.exchange import Exchange
    from npserver.web.server.roles import Http2ConnectionRole  # noqa: F401 - named in a string

log = logging.getLogger("npserver.http")

HIGH_BYTES = 128 << 10  # of one response in the session; then its source is paused
LOW_BYTES = 32 << 10  # then its source resumes; with many responses on a connection, it is also where each is paused
ALL_HIGH_BYTES = 1 << 20  # of all responses of a connection in the session


class Http2Exchange(ExchangeBase["Http2ConnectionRole"], eq=False, kw_only=True):
    """One request and its response."""

    # is_gone          answered, or the client is gone
    # deadline         when the client must have sent or read more; checked by the deadline sweeper
    # is_paused        the source has been paused
    # taken            bytes of the body that had left the session at the last check
    # _left            bytes still to be written of a response of known length

    body: Http2Body | None = None
    session: Http2Session
    stream_id: int
    is_gone: bool = False
    is_paused: bool = False
    taken: int = 0
    deadline: float = NEVER
    _body_deadline: float = NEVER
    _write_deadline: float = NEVER
    _is_bodyless: bool = False
    _left: int | None = None

    # ── the connection's calls ──

    def expect_body(self) -> bool:
        """Expect a body. Return whether it may come: one whose length is over the limit is refused unread."""
        self.body = Http2Body(self)
        try:
            self.body.check_length()
        except BadRequest as error:
            self.fail(error.status, str(error), error.decided_by)
            return False
        return True

    def feed(self, data: bytes, *, has_ended: bool, trailers: bytes = b"") -> None:
        """A piece of the body has come, or its end."""
        if self.body is None:
            return
        try:
            self.body.feed(data, has_ended=has_ended, trailers=trailers)
        except BadRequest as error:
            self.refuse_body(error)
        else:
            self.keep_body_time()

    def closed(self) -> bool:
        """The stream is closed. Return whether it was reset before its response was complete."""
        is_cut = not self.is_gone
        self._end("client gone")
        if self.body is not None:
            self.body.lose("answered")
            self.body = None
        self._body_deadline = self._write_deadline = NEVER
        self._set_deadline()
        return is_cut

    def look(self, *, is_drained: bool) -> bool:
        """Check how much the client has read. Return whether there is nothing left to read.

        `is_drained`: the transport has got all that the client's windows allow.
        """
        unsent = self.session.unsent(self.stream_id)
        if not unsent and is_drained and not self.is_paused:
            self._write_deadline = NEVER
            self._set_deadline()
            if self.is_gone and self.body is not None and not self.body.has_ended:
                # Answered before the request's end (§8.1); that may be only an empty frame after a whole body.
                self.connection.cut(self.stream_id, NO_ERROR, is_whole=self.body.done)
            return True
        taken = self.sent - unsent
        if taken > self.taken or self._write_deadline is NEVER:
            self.taken = taken
            self._write_deadline = self.context.loop.time() + self.connection.front.timeouts.write
            self._set_deadline()
        if self.is_paused and unsent <= LOW_BYTES and (not unsent or self.session.all_unsent < ALL_HIGH_BYTES):
            self.is_paused = False
            if self.source is not None:
                self.source.resume()
        return False

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper: the client neither sends the body nor reads the response."""
        if self._body_deadline <= now:
            self._body_deadline = NEVER
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
        is_awaited = not self.is_gone and self.body is not None and self.body.is_awaited
        timeouts = self.connection.front.timeouts
        self._body_deadline = self.context.loop.time() + timeouts.body if is_awaited else NEVER
        self._set_deadline()

    # ── the response ──

    def respond(self, status: int, fields: bytes = b"", body: bytes = b"") -> None:
        """Answer whole."""
        if self.is_gone or self.status:
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
        self.source = source = FileSource(cast("Exchange", self), file, offset, length)
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
        """HTTP/2 has no Upgrade (§8.6)."""
        raise RuntimeError("an HTTP/2 connection is not handed over")

    def switched_closed(self, received: int, sent: int, reason: str) -> None:
        """See `switch`."""
        raise RuntimeError("an HTTP/2 connection is not handed over")

    # ── private ──

    def _compose(self, status: int, fields: bytes, length: int | None) -> Fields:
        """Compose the head of a response (§8.3.2)."""
        self.status = status
        self._is_bodyless = self.request.method == "HEAD" or status == 204 or status == 304
        if self.route.change_fields is not None:
            fields = self.route.change_fields(fields)
        head = ((b":status", b"%d" % status), *field_list(self.connection.front.common_fields), *field_list(fields))
        if length is None or status == 204 or status == 304:
            return head
        return *head, (b"content-length", b"%d" % length)

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
            self.body.lose("answered")
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
