"""One request and its response over HTTP/1.1: implements `web.exchange.Exchange`.

Made by `web.server.http1.connection` for each request; gives the connection back when the response is written and the
request's body is read or known not to come.
"""

from __future__ import annotations

import asyncio
import logging

from npserver.errors import BadRequest
from npserver.http.request import NO_BODY
from npserver.web.exchange import ResponseStart
from npserver.web.server.http1.request_body import Http1Body
from npserver.web.server.http1.response import Http1Response


class Http1Exchange(Http1Response, eq=False):
    """One request and its response."""

    # ── the connection's calls ──

    def break_off(self) -> None:
        """End after an error of ours: 500 if nothing is sent yet, else close."""
        self.keep = False
        super().break_off()

    def admit(self, rest: bytes) -> bool:
        """Find out who is asking, and expect a body. Return whether the exchange is to go on.

        `rest`: what has come after the head.
        """
        connection, request = self.connection, self.request
        if not self.find_client():
            return False
        if request.framing is NO_BODY:
            if rest:
                connection.hold(rest)
            return True
        self.body = Http1Body(self)
        try:
            self.body.check_length()  # one that says it is too long is refused unread
        except BadRequest as error:
            self.refuse_body(error)
            return False
        if rest:
            self.feed(rest)
        if connection.read_all and not self.is_gone and not self.body.done:
            self._refuse_cut_body()
        return not self.is_gone

    def feed(self, data: bytes) -> None:
        """Take bytes of the body, perhaps with what follows it."""
        body = self.body
        assert body is not None
        try:
            body.feed(data)
        except BadRequest as error:
            self.refuse_body(error)
            return
        if body.is_discarded and body.done:
            self._leave()

    def refuse_body(self, error: BadRequest) -> None:
        """Answer a body that is faulty, too long or stalled, if that is still possible, and close."""
        self.keep = False
        if self.body is not None and self.body.is_discarded:  # the request is answered, counted and logged
            self.body = None
            self.connection.drop_exchange()
            self.connection.linger()
            return
        super().refuse_body(error)

    def eof_received(self) -> None:
        """The client has ended its side: an incomplete body is an error."""
        if self.body is not None and not self.body.done:
            self._refuse_cut_body()
        elif self.route.aborts_on_close:
            self.connection.transport.abort()

    def _refuse_cut_body(self) -> None:
        self.refuse_body(BadRequest("client closed within the request body", rfc="RFC 9112 §8"))

    def connection_lost(self) -> None:
        """The client is gone: cancel everything, and log the request, if that has not been done."""
        if self.body is not None and self.body.is_discarded:
            return
        if self.body is not None:
            self.body.lose("client gone")
        if self._file is not None:
            self._file.cancel()
        source, self.source = self.source, None
        if source is not None:
            source.cancel()
        self._cancel_filters()
        self._finished(499 if not self.status else self.status)
        self.body = None

    def pause_writing(self) -> None:
        """The transport's buffer is full: pause the source of the response."""
        if self.source is not None:
            self.source.pause()

    def resume_writing(self) -> None:
        """The transport's buffer has room again: continue."""
        if self._file is not None:
            self._file.resume()
        if self.source is not None:
            self.source.resume()
        if self.body is not None:
            self.body.keep_time()

    # ── the ends of an exchange ──

    def abort(self, reason: str, key: str = "", *, level: int = logging.DEBUG) -> None:
        """Close so that the client sees a truncated answer."""
        connection = self.connection
        if connection.exchange is not self:
            return
        self._log_abort(reason, key, level)
        self.source = None
        connection.drop_exchange()
        if self.body is not None:
            self.body.lose(reason)
        if self._file is not None:
            self._file.cancel()
        self._cancel_filters()
        self._finished(self.status or 499)
        self.body = None
        if self.status and not self._is_chunked and self._left is None:
            connection.transport.abort()  # a response that ends by closing: only a reset tells that it is incomplete
            return
        if self._head:
            connection.transport.write(self._head)
            self._head = b""
        connection.close()

    def switch(self, fields: bytes) -> tuple[asyncio.Transport, bytes]:
        """Answer 101 and hand the connection over."""
        connection = self.connection
        self.status = 101
        self.source = None
        transport = connection.transport
        if self.route.responses:
            fields = self._response_filters().start(ResponseStart(101, fields, None, has_body=False)).fields
        if self.route.change_fields is not None:
            fields = self.route.change_fields(fields)
        transport.write(b"%b%bConnection: Upgrade\r\n\r\n" % (connection.front.starts[101], fields))
        return transport, connection.hand_over()

    def switched_closed(self, received: int, sent: int, reason: str) -> None:
        """The tunnel has ended: log the request."""
        self.sent = sent
        self._finished(101, received)
        self.body = None
        self.connection.drop_exchange()
        self.connection.release()

    def _answered(self) -> None:
        """The response is written: end the exchange, or discard the rest of the request first."""
        self.source = None
        connection, body = self.connection, self.body
        self._finished(self.status)
        if body is None and self.keep:
            connection.exchange_ended()
        elif body is None or body.done:
            self._leave()
        elif not self.keep:
            self.body = None
            body.lose("answered")
            connection.drop_exchange()
            connection.linger()
        else:
            body.discard()

    def _leave(self) -> None:
        """End the exchange: request and response are complete."""
        connection, self.body = self.connection, None
        if not self.keep:
            connection.drop_exchange()
            connection.leave(self.request)
        else:
            connection.exchange_ended()
