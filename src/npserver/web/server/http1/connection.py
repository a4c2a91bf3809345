"""One client connection over HTTP/1.1 (RFC 9112): bytes in, exchanges one after the other, bytes out.

Made by `web.server.front.HttpFront` for each accepted connection. It owns the transport, what has been read and not
used yet, and the deadline; the exchange in progress (`web.server.http1.exchange`) owns everything about its request.
Pipelined requests wait in the buffer until their turn, so answers keep their order (§9.3.2).
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, cast

from npserver.errors import BadRequest
from npserver.http.request import NO_BODY, Request
from npserver.http.request_parser import check_partial_head, first_fault
from npserver.runtime.deadlines import NEVER
from npserver.runtime.transports import write_pieces
from npserver.web.server.client_connection import LINGER_S, ClientConnection
from npserver.web.server.http1.answer import prepared_answer, refusal
from npserver.web.server.http1.exchange import Http1Exchange
from npserver.web.server.http1.prior_knowledge import PREFACE_HEAD, speaks_http2
from npserver.web.server.http1.state import BODY, CLOSED, CLOSING, HANDLER, HEAD, IDLE, SWITCHED, WRITING

if TYPE_CHECKING:
    from npserver.runtime.front import Live
    from npserver.web.exchange import Route
    from npserver.web.server.roles import FrontRole

log = logging.getLogger("npserver.http")

MAX_PIPELINED_BYTES = 64 << 10  # of pipelined requests read during an exchange; then reading pauses
_END_OF_HEAD = b"\r\n\r\n"
MAX_TURN = 64  # pipelined requests answered before the event loop serves other connections


class Http1Connection(ClientConnection):
    """A client's connection."""

    # buffer, scanned  bytes read and not used yet; how many of them are known to hold no end of a head
    # state            what the connection waits for; `deadline` is when that times out

    __slots__ = ("_is_serving", "buffer", "exchange", "is_reading", "scanned", "state")

    def __init__(self, listener: Live) -> None:
        super().__init__(listener)
        self.buffer = b""
        self.scanned = 0
        self.exchange: Http1Exchange | None = None  # or the call that stands in for it, see `exchange_for`
        self.state = IDLE
        self.is_reading = True
        self._is_serving = False  # inside `_serve`, which continues by itself

    def __repr__(self) -> str:
        return f"<Http1Connection {self.id} {self.client_ip} {self.state.value} requests={self.requests}>"

    # ── the connection's life ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when a client has connected and its TLS handshake is complete."""
        limit = self.admit(transport)
        self.deadline = self.context.sweeper.now + self.front.idle_s
        if limit:
            self._refuse(BadRequest("too many connections", 503, limit), b"", b"Retry-After: 5\r\n")

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio when the connection is closed."""
        self.state = CLOSED
        self.deadline = NEVER
        self.buffer = b""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.connection_lost()
        self.release()

    def shut_down(self) -> None:
        """Close after the exchange in progress, or at once if there is none."""
        if self.exchange is None and self.state is not SWITCHED and not self.buffer:
            self.close()

    def close(self) -> None:
        """Close when everything written is sent, or after `timeouts.write`."""
        if self.state is not CLOSED:
            self.state = CLOSING
            self.unsent = self.unsent_bytes
            self.deadline = self.context.loop.time() + self.front.timeouts.write
            self.transport.close()

    def linger(self) -> None:
        """End our side; for a while, read and discard what the client still sends.

        Closing at once would reset the connection, and with it the last answer (RFC 9112 §9.6).
        """
        self.buffer = b""
        if self.read_all or self.state is CLOSED:
            self.close()
            return
        self.state = CLOSING
        self.unsent = self.unsent_bytes
        self.deadline = self.context.loop.time() + LINGER_S
        self.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper: answer 408 where a request is incomplete, and close."""
        wait = self.front.timeouts.write
        unsent = self.unsent_bytes
        if unsent and (self.state is WRITING or self.state is CLOSING):
            if unsent < self.unsent:
                self.unsent = unsent
                self.deadline = now + wait
                return
            log.info("closing connection from %s: client read nothing for %g s (timeouts.write)", self.client_ip, wait)
            self.transport.abort()
        elif self.state is HEAD:
            self._refuse(BadRequest("request head not complete in time", 408, "timeouts.header"), self.buffer)
        elif self.state is BODY and self.exchange is not None:
            self.exchange.refuse_body(BadRequest("request body stalled", 408, "timeouts.body"))
        elif self.state is CLOSING:
            self.transport.abort()
        else:
            self.close()

    # ── reading ──

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with bytes from the client."""
        # hot: static-small
        front = self.front
        if self.state is IDLE and front is self.listener.front and not self.buffer:
            found = front.heads.get(data)
            if found is None:
                if data[-4:] != _END_OF_HEAD or data[0] == 13:
                    self._serve(data)  # part of a head, or an empty line first
                    return
                try:
                    found = front.find(data)
                except BadRequest:
                    self._serve(data)  # more than one head, as an empty line is no field; or it is refused there
                    return
            request, route = found
            if request.is_plain:
                if route.prepared is not None:
                    if self._answer_prepared(request, route, b""):
                        return
                elif route.direct is not None and route.direct.forward(self, request, route):
                    return
            self._begin(request, route, b"")
        elif self.exchange is None:
            if self.state is CLOSING:
                return
            if self.is_write_paused:
                self.hold(data)  # answers wait already
                return
            if self.buffer:
                data = self.buffer + data
                self.buffer = b""
            self._serve(data)
        elif self.exchange.body is not None and not self.exchange.body.done:
            self.exchange.feed(data)
        else:
            self.hold(data)

    def hold(self, data: bytes) -> None:
        """Keep pipelined bytes until the exchange in progress is over."""
        self.buffer += data
        if len(self.buffer) > MAX_PIPELINED_BYTES:
            self.pause_reading()

    def eof_received(self) -> bool:
        """Called by asyncio when the client has ended its side; its requests are still answered."""
        self.read_all = True
        if self.exchange is not None:
            self.exchange.eof_received()
        elif not self.buffer or self.state is HEAD:
            return False  # nothing is left to answer
        return self.state is not CLOSED

    def pause_reading(self) -> None:
        """Stop reading from the client."""
        if self.is_reading:
            self.is_reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the client again."""
        if not self.is_reading and self.state is not CLOSED and not self.transport.is_closing():
            self.is_reading = True
            self.transport.resume_reading()

    def _serve(self, data: bytes) -> None:
        """Serve the requests in `data` one after the other, as long as each is answered at once."""
        self._is_serving = True
        try:
            self._serve_all(data)
        finally:
            self._is_serving = False

    def _serve_all(self, data: bytes) -> None:
        front = self.front
        if front is not self.listener.front:
            front = self.front = cast("FrontRole", self.listener.front)  # a reload has put a new one in place
        turns = 0
        while data:
            found = front.heads.get(data)
            if found is not None:
                rest = b""
                self.scanned = 0
            else:
                end = data.find(_END_OF_HEAD, self.scanned)
                if data.startswith(b"\r\n"):  # empty lines before a request (RFC 9112 §2.2)
                    self.scanned = 0
                    data = data[2:]
                    continue
                if end < 0:
                    self._await_head(data)
                    return
                self.scanned = 0
                rest = data[end + 4 :]
                head = data[: end + 4] if rest else data
                try:
                    found = front.find(head)
                except BadRequest as error:
                    if head != PREFACE_HEAD or not speaks_http2(self, data):
                        self._refuse(first_fault(head, front.head_limits, error), head)
                    return
            request, route = found
            if route.prepared is not None and request.is_plain and self._answer_prepared(request, route, rest):
                if self.state is CLOSING or self.state is CLOSED:
                    return
                data = rest
            else:
                if route.direct is not None and request.is_plain and route.direct.forward(self, request, route):
                    self.hold(rest)
                else:
                    self._begin(request, route, rest)
                if self.exchange is not None or self.state is CLOSING or self.state is CLOSED:
                    return
                data = self.buffer
                self.buffer = b""
            turns += 1
            if data and (turns >= MAX_TURN or self.is_write_paused):
                self.buffer = data
                if not self.is_write_paused:
                    self.context.loop.call_soon(self.serve_buffered)
                return

    def serve_buffered(self) -> None:
        """Serve the bytes that were held meanwhile."""
        if self.exchange is None and self.state is not CLOSING and self.state is not CLOSED:
            self.resume_reading()
            data, self.buffer = self.buffer, b""
            if data:
                self._serve(data)
            elif self.read_all:
                self.close()

    def _await_head(self, data: bytes) -> None:
        """Wait for the rest of a head; refuse bytes that cannot be part of one."""
        try:
            check_partial_head(data, self.scanned, self.front.head_limits)
        except BadRequest as error:
            self._refuse(error, data)
            return
        if self.state is not HEAD:
            self.state = HEAD
            self.deadline = self.context.loop.time() + self.front.timeouts.header
        self.buffer = data
        self.scanned = max(len(data) - 3, 0)
        if self.read_all:
            self.close()

    def leave(self, request: Request) -> None:
        """Close after the last answer: at once if the client knows that it is the last."""
        if request.keep_alive and not self.read_all:
            self.linger()  # it may have sent more before it reads that we close
        else:
            self.close()

    def _answer_prepared(self, request: Request, route: Route, rest: bytes) -> bool:
        """Answer a plain request from memory; `rest` follows it. Return False if it takes an exchange."""
        # hot: static-small
        if self.misdirected_by is not None:
            return False
        front, context = self.front, self.context
        requests = self.requests + 1
        is_end = not request.keep_alive or (self.read_all and not rest)
        is_last = is_end or context.draining or requests >= front.max_requests
        answer = prepared_answer(front, request, route, self.client_ip, self.scheme, is_last=is_last)
        if answer is None:
            return False
        self.requests = requests
        self.state = IDLE
        self.deadline = context.sweeper.now + front.idle_s
        if isinstance(answer, bytes):
            self.transport.write(answer)
        else:
            write_pieces(self.transport, answer)
        if is_last:
            self.leave(request)
        return True

    def _begin(self, request: Request, route: Route, rest: bytes) -> None:
        # hot: proxy-small
        self.requests += 1
        self.state = HANDLER
        self.deadline = NEVER
        context, front = self.context, self.front
        started = monotonic() if context.access_log.enabled or front.is_timed else 0.0
        exchange = self.exchange = Http1Exchange(self, context, request, route, self.client_ip, started)
        if (
            front.trusted is not None or self.misdirected_by is not None or request.framing is not NO_BODY or rest
        ) and not exchange.admit(rest):  # fmt: skip
            return
        exchange.run()

    def exchange_for(self, request: Request, route: Route, started: float, *, instead_of: object) -> Http1Exchange:
        """Return an exchange that takes the place of the call that stood in for it (`Route.direct`)."""
        exchange = Http1Exchange(self, self.context, request, route, self.client_ip, started)
        if cast("object", self.exchange) is instead_of:
            self.exchange = exchange
        return exchange

    def _refuse(self, error: BadRequest, data: bytes, fields: bytes = b"") -> None:
        """Answer bytes that are not a valid request, and close."""
        self.transport.write(refusal(self.front, self.client_ip, self.scheme, data, error, fields))
        self.linger()

    # ── writing ──

    def pause_writing(self) -> None:
        """Called by asyncio when the write buffer passes its high-water mark."""
        self.is_write_paused = True
        if self.exchange is not None:
            self.exchange.pause_writing()
        self.await_client()

    def await_client(self) -> None:
        """Start the timeout of a client that reads nothing."""
        if self.state is not CLOSING:
            self.state = WRITING
            self.unsent = self.unsent_bytes
            self.deadline = self.context.loop.time() + self.front.timeouts.write

    def resume_writing(self) -> None:
        """Called by asyncio when the write buffer has drained below its low-water mark."""
        self.is_write_paused = False
        if self.state is WRITING:
            self.state = HANDLER
            self.deadline = NEVER
        if self.exchange is not None:
            self.exchange.resume_writing()
        elif self.state is HANDLER:
            self.exchange_ended()

    def exchange_ended(self) -> None:
        """The exchange in progress is over and the connection is kept: serve the next request."""
        # hot: proxy-small
        self.exchange = None
        if self.is_write_paused:
            self.await_client()
            return
        self.state = IDLE
        self.deadline = self.context.sweeper.now + self.front.idle_s
        if not self._is_serving and (self.buffer or not self.is_reading or self.read_all):
            self.context.loop.call_soon(self.serve_buffered)

    def drop_exchange(self) -> None:
        """The exchange in progress is over."""
        self.exchange = None

    def await_body(self, is_awaited: bool) -> None:
        """Start, renew or stop the timeout of a client that owes the rest of a body."""
        if self.state is CLOSING or self.state is CLOSED:
            return
        if is_awaited:
            self.state = BODY
            self.deadline = self.context.loop.time() + self.front.timeouts.body
        else:
            self.state = HANDLER
            self.deadline = NEVER

    def hand_over(self) -> bytes:
        """Hand the transport, which is paused, to a tunnel. Return the bytes that came after the request."""
        self.pause_reading()
        self.state = SWITCHED
        self.deadline = NEVER
        self.context.sweeper.watched.discard(self)
        early, self.buffer = self.buffer, b""
        return early

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the client has not read yet, as far as known."""
        return self.transport.get_write_buffer_size() + (self.exchange.unsent_bytes if self.exchange is not None else 0)
