"""The HTTP/1.1 client for upstreams (RFC 9112): a connection that sends one request at a time and reads its response.

Used by `web.handlers.proxy.call` and `upstream.health_checks`. They drive it with `begin`, `write` and `end`, or with
`send_request`; it reports the response to the request's `ResponseSink`. It creates no tasks, futures or timers: the
deadline sweeper enforces its timeouts.
A connection returns to its pool if request and response are complete, no data follows the response, and both sides keep
the connection alive. It returns before the sink is notified, so that the next request can use it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, ClassVar, cast

from npserver.errors import BadResponse, Phase, UpstreamError, reason_of
from npserver.http.chunked import ChunkedDecoder
from npserver.http.request import BY_LENGTH, CHUNKED, NO_BODY, UNTIL_CLOSE
from npserver.http.response_parser import MAX_HEAD_BYTES, ResponseHead, check_partial_response_head, read_response_head
from npserver.net.unread import read_unread
from npserver.runtime.deadlines import NEVER, PERIOD_S
from npserver.upstream.connection_state import AWAITING_HEAD, CLOSED, IDLE, READING_BODY, SWITCHED

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.upstream.pool import TargetRole
    from npserver.upstream.response_sink import ClientSettings, ResponseSink

log = logging.getLogger("npserver.upstream")

MAX_INTERIM = 32  # 1xx responses before the final one


class HttpClient(asyncio.Protocol):
    """A connection to a target."""

    # The connection
    # state, deadline    its state, and when the timeout of that state ends; checked by the sweeper
    # requests           the number of requests so far, the current one included
    # is_private         whether it belongs to one client, and is never put into the pool
    # The request
    # is_request_done    whether all of it has been written
    # The response
    # is_answered        whether its first data has arrived
    # _buffer, _scanned  an incomplete head, and how much of it has been searched for the end
    # _head, _framing    the head of the response whose body is being read
    # _remaining         the bytes of that body to come, if it has a Content-Length

    __slots__ = (
        "_buffer", "_context", "_decoder", "_framing", "_head", "_interim", "_is_head_request", "_is_reading",
        "_remaining", "_scanned", "_sink", "_sweeper", "_time", "deadline", "is_answered", "is_private",
        "is_request_done", "is_write_paused", "requests", "settings", "state", "target", "transport", "write",
    )  # fmt: skip
    frames_bodies: ClassVar[bool] = True  # in chunks: that is for the owner

    def __init__(self, context: Context, target: TargetRole, settings: ClientSettings) -> None:
        self._context = context
        self._time = context.loop.time
        self._sweeper = context.sweeper
        self.target = target
        self.settings = settings
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set by `connection_made`
        self.state = IDLE
        self.deadline = NEVER
        self.requests = 0
        self.is_private = False
        self.is_request_done = True
        self.is_answered = False
        self.is_write_paused = self._is_head_request = False
        self._is_reading = True
        self._sink: ResponseSink | None = None
        self._head: ResponseHead | None = None
        self._framing = NO_BODY
        self._remaining = 0
        self._decoder: ChunkedDecoder | None = None
        self._buffer = b""
        self._scanned = self._interim = 0

    def __repr__(self) -> str:
        return f"<HttpClient {self.target.uri} {self.state.value} requests={self.requests}>"

    # ── called by the owner ──

    def begin(self, sink: ResponseSink, settings: ClientSettings, *, is_head: bool, has_body: bool) -> None:
        """Begin a request: `write` of its head follows, and of its body, if any, with `end`. `is_head`: by HEAD."""
        self._sink = sink
        self.settings = settings
        self.state = AWAITING_HEAD
        self.requests += 1
        self.is_answered = False
        self._is_head_request = is_head
        self._interim = 0
        if has_body:
            self.is_request_done = False
            self.deadline = NEVER
        else:
            self.is_request_done = True
            self.deadline = self._sweeper.now + settings.response_timeout_s + PERIOD_S

    def send_request(self, sink: ResponseSink, settings: ClientSettings, head: bytes) -> None:
        """Send a request that has no body and whose method is not HEAD: `begin` and `write` in one call."""
        # hot: proxy-small
        self._sink, self.settings, self.state = sink, settings, AWAITING_HEAD  # what `begin` does, written out
        self.requests += 1
        self.is_answered = self._is_head_request = False
        self._interim = 0
        self.is_request_done = True
        self.deadline = self._sweeper.now + settings.response_timeout_s + PERIOD_S
        write = self.write
        write(head)

    def end(self, data: bytes = b"", trailers: bytes = b"") -> None:
        """Complete the request's body, with this last data, which has the trailers in it."""
        if data:
            self.write(data)
        self.is_request_done = True
        if self.state is AWAITING_HEAD and not self.is_write_paused:
            self.deadline = self._time() + self.settings.response_timeout_s

    def pause_reading(self) -> None:
        """Stop reading the response until `resume_reading`."""
        if self._is_reading and self._sink is not None:
            self._is_reading = False
            self.deadline = NEVER
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Resume reading the response."""
        if not self._is_reading and self.state is READING_BODY:
            self._is_reading = True
            self.deadline = self._time() + self.settings.read_timeout_s
            self.transport.resume_reading()

    def abandon(self) -> None:
        """Close the connection at once. The sink is not notified."""
        self._sink = None
        if self.state is not CLOSED:
            self._mark_closed()
            self.transport.abort()

    # ── called by the loop ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the connection is open and any TLS handshake is complete."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(self.settings.buffer_size)
        self.write = self.transport.write
        self._sweeper.watched.add(self)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with data from the upstream."""
        # hot: proxy-small
        state = self.state
        if state is AWAITING_HEAD:
            target = self.target
            if (
                len(data) == target.cached_size and data.startswith(target.cached_head) and self.is_request_done
                and not (self._buffer or self.is_write_paused or self._is_head_request)
            ):  # fmt: skip
                sink = self._sink
                self.return_to_pool()
                sink.response_whole(target.cached_response, data[len(target.cached_head) :])  # type: ignore[union-attr]
                return
            if self._buffer:
                data = self._buffer + data
                self._buffer = b""
            try:
                self._read_head(data)
            except BadResponse as error:
                self.is_answered = True
                self._fail(str(error), Phase.RECEIVE)
        elif state is READING_BODY:
            self.deadline = self._time() + self.settings.read_timeout_s
            try:
                self._read_body(data)
            except BadResponse as error:
                self._fail(str(error), Phase.RECEIVE)
        elif state is IDLE:
            log.debug("closing %r: data received without a request", self)
            self.close()

    def eof_received(self) -> bool:
        """Called by asyncio when the upstream has closed its side, which ends a response without a length."""
        is_cut = self.transport.get_extra_info("truncated", False)  # TLS without close_notify: data may be missing
        if self.state is READING_BODY and self._framing is UNTIL_CLOSE and not is_cut:
            self._finish(b"", is_clean=False)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio when the connection is closed."""
        if error is not None and self._sink is not None:
            self._read_received(error)
        if self.state is CLOSED or self.state is SWITCHED:
            return
        phase = Phase.RECEIVE if self.is_request_done else Phase.SEND
        when = "within the response" if self.is_answered or self.state is READING_BODY else "without a response"
        cause = f" ({reason_of(error)})" if error is not None else ""
        self._fail(f"connection closed {when}{cause}", phase)

    def pause_writing(self) -> None:
        """Called by asyncio when the write buffer passes its high-water mark."""
        self.is_write_paused = True
        if self._sink is not None:
            if self.state is AWAITING_HEAD:
                self.deadline = self._time() + self.settings.send_timeout_s
            self._sink.request_pause()

    def resume_writing(self) -> None:
        """Called by asyncio when the write buffer has drained below its low-water mark."""
        self.is_write_paused = False
        if self._sink is not None:
            if self.state is AWAITING_HEAD:
                is_waiting = self.is_request_done
                self.deadline = self._time() + self.settings.response_timeout_s if is_waiting else NEVER
            self._sink.request_resume()

    def expire(self, now: float) -> None:
        """Called by the sweeper when the deadline has passed."""
        settings = self.settings
        if self._sink is None:
            self.close()
        elif self.state is READING_BODY:
            self._fail(f"no data received for {settings.read_timeout_s:g} s", Phase.RECEIVE, settings.read_key)
        elif self.is_write_paused:
            self._fail(f"no data accepted for {settings.send_timeout_s:g} s", Phase.SEND, settings.send_key)
        else:
            self._fail(f"no response for {settings.response_timeout_s:g} s", Phase.RECEIVE, settings.response_key)

    # ── the response ──

    def _read_head(self, data: bytes) -> None:
        # hot: proxy-large
        end = data.find(b"\r\n\r\n", self._scanned)
        if end < 0 or end > MAX_HEAD_BYTES:
            self._keep_partial_head(data)
            return
        size = end + 4
        head = read_response_head(data[:size])
        if head.binds_connection:
            self.is_private = True
        elif head.framing is BY_LENGTH and head.status >= 200:
            self.target.cache_head(data[:size], head)
        self._scanned = 0
        sink = self._sink
        assert sink is not None
        if head.status < 200:
            self._read_interim(head, data[size:])
            return
        if len(data) == size + (0 if self._is_head_request else head.body_bytes):
            if head.keep_alive and self.is_request_done and not self.is_write_paused:
                self.return_to_pool()
            else:
                self.close()
            sink.response_whole(head, data[size:])
            return
        self._begin_body(head, data[size:])

    def _begin_body(self, head: ResponseHead, body: bytes) -> None:
        sink = self._sink
        assert sink is not None
        self._head = head
        framing = self._framing = NO_BODY if self._is_head_request else head.framing
        self.state = READING_BODY
        self._remaining = head.length or 0
        self._decoder = ChunkedDecoder(BadResponse) if framing is CHUNKED else None
        if framing is NO_BODY:
            self._finish(b"", is_clean=False)  # data after the head belongs to no message
            return
        self.deadline = self._time() + self.settings.read_timeout_s
        if self._decoder is not None and body:
            body = self._decoder.feed(body)
            if self._decoder.done and not self._decoder.trailers:
                self._detach(is_clean=not self._decoder.rest)
                sink.response_whole(head, body)
                return
        sink.response_start(head)
        if self._sink is sink and self.state is READING_BODY:
            if self._decoder is not None:
                self._pass_decoded(body)
            elif body:
                self._read_body(body)

    def _keep_partial_head(self, data: bytes) -> None:
        check_partial_response_head(data, self._scanned)
        self.is_answered = True
        self._buffer = data
        self._scanned = max(len(data) - 3, 0)

    def _read_interim(self, head: ResponseHead, rest: bytes) -> None:
        sink = self._sink
        assert sink is not None
        self.is_answered = True
        if head.status == 101:
            self._sink = None
            self.state = SWITCHED
            self.deadline = NEVER
            self._sweeper.watched.discard(self)
            sink.response_switch(head, rest)
            return
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise BadResponse(f"more than {MAX_INTERIM} interim responses")
        sink.response_interim(head)
        if rest and self._sink is sink:
            self._read_head(rest)

    def _read_body(self, data: bytes) -> None:
        # hot: proxy-large
        sink = self._sink
        assert sink is not None
        decoder = self._decoder
        if decoder is not None:
            self._pass_decoded(decoder.feed(data))
            return
        if self._framing is UNTIL_CLOSE:
            sink.response_data(data)
            return
        left = self._remaining = self._remaining - len(data)
        if left > 0:
            sink.response_data(data)
            return
        sink.response_data(data[:left] if left else data)
        if self._sink is sink:
            self._finish(b"", is_clean=not left)

    def _pass_decoded(self, data: bytes) -> None:
        sink, decoder = self._sink, self._decoder
        assert sink is not None
        assert decoder is not None
        if data:
            sink.response_data(data)
        if decoder.done and self._sink is sink:
            self._finish(decoder.trailers, is_clean=not decoder.rest)

    def _finish(self, trailers: bytes, *, is_clean: bool) -> None:
        """Complete the response. `is_clean`: no data followed it."""
        sink, head = self._sink, self._head
        assert sink is not None
        assert head is not None
        self._detach(is_clean=is_clean)
        if self._framing is NO_BODY:
            sink.response_whole(head, b"")
        else:
            sink.response_end(trailers)

    # ── the end of a request ──

    def _detach(self, *, is_clean: bool) -> None:
        head, self._head, self._decoder = self._head, None, None
        if is_clean and head is not None and head.keep_alive and self.is_request_done and not self.is_write_paused:
            self.return_to_pool()
        else:
            self.close()

    def return_to_pool(self) -> None:
        """Return the connection, unused or after a complete response, to the pool; close it if the pool is full."""
        # hot: proxy-small
        settings, idle = self.settings, self.target.pool.idle
        self._sink = None
        self.state = IDLE
        if not self._is_reading:
            self._is_reading = True
            self.transport.resume_reading()
        if self._context.draining or len(idle) >= settings.pool_size:
            self.close()
            return
        if not self.is_private:  # else the sink keeps it
            idle.append(self)
        self.deadline = self._sweeper.now + settings.pool_idle_s + PERIOD_S

    def close(self) -> None:
        """Close the connection once all data is sent. The sink, if there is one, is not notified."""
        self._mark_closed()
        self.transport.close()

    def _mark_closed(self) -> None:
        if self.state is IDLE:
            self.target.pool.remove(self)
        self.state = CLOSED
        self.deadline = NEVER
        self._sink = None
        self._buffer = b""
        self._sweeper.watched.discard(self)

    def _fail(self, reason: str, phase: Phase, timeout_key: str = "") -> None:
        sink = self._sink
        self._mark_closed()
        self.transport.abort()
        if sink is not None:
            uri, reused, timeout = self.target.uri, self.requests > 1, bool(timeout_key)
            error = UpstreamError(f"{uri}: {reason}", uri, phase, reused=reused, timeout=timeout, key=timeout_key)
            sink.response_lost(error)

    def _read_received(self, error: Exception) -> None:
        """Process the data that the upstream had sent before writing to it failed: it may be a whole response."""
        data, is_ended = read_unread(self.transport, error)
        if data:
            self.data_received(data)
        if is_ended and self._sink is not None:
            self.eof_received()
