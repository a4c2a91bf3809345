"""The FastCGI client for upstreams: a connection that carries one request at a time, as `upstream.http1` does.

Made by `web.handlers.fastcgi.call`. It differs from `HttpClient` in how requests and responses are framed: a request is
the records of `upstream.fastcgi_records.write_head` and its body in STDIN; a response is a CGI head and a body in
STDOUT, beside error output in STDERR, until END_REQUEST.

A response that is complete by its length or its status is reported at once, though the script may still work. The
connection is used again only after END_REQUEST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from npserver.errors import BadResponse, Phase, UpstreamError
from npserver.http.cgi_response import find_head_end, read_cgi_head
from npserver.http.request import BY_LENGTH, NO_BODY
from npserver.upstream.connection_state import AWAITING_HEAD, CLOSED, IDLE, READING_BODY
from npserver.upstream.fastcgi_records import (
    END_OF_STDIN,
    END_REQUEST,
    STDERR,
    STDOUT,
    RecordReader,
    refusal_of,
    write_stdin,
)
from npserver.upstream.http1 import HttpClient
from npserver.upstream.response_sink import ClientSettings, ResponseSink

if TYPE_CHECKING:
    import asyncio

    from npserver.http.response_parser import ResponseHead
    from npserver.runtime.context import Context
    from npserver.upstream.pool import TargetRole


class FastcgiSink(ResponseSink, Protocol):
    """The receiver of one response and of its error output."""

    def error_output(self, data: bytes, offset: int) -> None:
        """Called with error output of the script, which has written `offset` bytes of it before.

        It may come after the end of the response.
        """


class FastcgiClient(HttpClient):
    """A connection to a FastCGI server."""

    # _records      reads the response
    # _reporter     the sink of the request until END_REQUEST, for its error output
    # _error_bytes  of that error output so far
    # _kept_until   loop time after which it is not kept for another request

    __slots__ = ("_error_bytes", "_kept_until", "_records", "_reporter")

    def __init__(
        self, context: Context, target: TargetRole, settings: ClientSettings, max_age_s: float = float("inf")
    ) -> None:
        """Create it. `max_age_s`: how long it may be kept, as PHP gives it a process meanwhile."""
        HttpClient.__init__(self, context, target, settings)
        self._kept_until = context.loop.time() + max_age_s
        self._records = RecordReader()
        self._reporter: FastcgiSink | None = None
        self._error_bytes = 0

    # ── called by the owner ──

    def begin(self, sink: ResponseSink, settings: ClientSettings, *, is_head: bool, has_body: bool) -> None:
        """Begin a request: `send_head` follows, and `write` of its body, if any, with `end`."""
        self._reporter = cast("FastcgiSink", sink)
        self._error_bytes = 0
        HttpClient.begin(self, sink, settings, is_head=is_head, has_body=has_body)

    def send_head(self, head: bytes) -> None:
        """Send the head of the request, and the end of its body if it has none."""
        self.transport.write(head + END_OF_STDIN if self.is_request_done else head)

    def send_request(self, sink: ResponseSink, settings: ClientSettings, head: bytes) -> None:
        """Send a request that has no body and whose method is not HEAD."""
        self.begin(sink, settings, is_head=False, has_body=False)
        self.send_head(head)

    def write(self, data: bytes) -> None:  # type: ignore[override]  # there it is the transport's
        """Send the next data of the request's body."""
        if data:
            self.transport.write(write_stdin(data))

    def end(self, data: bytes = b"", trailers: bytes = b"") -> None:
        """Complete the request's body, with this last data."""
        self.transport.write(write_stdin(data) + END_OF_STDIN)
        HttpClient.end(self)

    # ── called by the loop ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the connection is open."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(self.settings.buffer_size)
        self._sweeper.watched.add(self)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with data from the upstream."""
        if self.state is IDLE:
            self.close()
        elif self.state is not CLOSED:
            try:
                self._take(self._records.feed(data))
                if self._records.fault:
                    raise BadResponse(self._records.fault)
            except BadResponse as error:
                self.is_answered = True
                self._fail(str(error), Phase.RECEIVE)

    def eof_received(self) -> bool:
        """Called by asyncio when the upstream has closed its side: no response ends so."""
        return False

    # ── the response ──

    def _take(self, records: list[tuple[int, bytes]]) -> None:
        # hot: fastcgi
        if len(records) == 2 and records[0][0] == STDOUT and records[1][0] == END_REQUEST:
            self._end_request(records[1][1], records[0][1], is_clean=True)
            return
        end = next((number for number, (kind, _) in enumerate(records) if kind == END_REQUEST), None)
        output = b"".join([content for kind, content in records[:end] if kind == STDOUT])
        errors = b"".join([content for kind, content in records[:end] if kind == STDERR])
        if errors and self._reporter is not None:
            self._reporter.error_output(errors, self._error_bytes)
            self._error_bytes += len(errors)
        if end is not None:
            self._end_request(records[end][1], output, is_clean=end == len(records) - 1)
            return
        if output:
            self._take_output(output)

    def _take_output(self, output: bytes) -> None:
        """Process output that END_REQUEST does not follow at once."""
        if self.state is AWAITING_HEAD:
            self._take_head(output)
        elif self._sink is not None:
            self.deadline = self._time() + self.settings.read_timeout_s
            self._take_body(output)

    def _take_head(self, output: bytes) -> None:
        """Process output that is, or begins with, a part of the head."""
        self.is_answered = True
        output, scanned = self._buffer + output, self._scanned
        size = find_head_end(output, scanned)
        if not size:
            self._buffer, self._scanned = output, len(output)
            return
        self._buffer, self._scanned = b"", 0
        head, body = read_cgi_head(output[:size]), output[size:]
        sink = self._sink
        assert sink is not None
        framing = self._framing = NO_BODY if self._is_head_request else head.framing
        self._remaining = head.length or 0
        self.state = READING_BODY
        if framing is NO_BODY or (framing is BY_LENGTH and len(body) >= self._remaining):
            self._complete_early()
            sink.response_whole(head, b"" if framing is NO_BODY else body[: head.length])
            return
        self.deadline = self._time() + self.settings.read_timeout_s
        sink.response_start(head)
        if body and self._sink is sink:
            self._take_body(body)

    def _take_body(self, output: bytes) -> None:
        sink = self._sink
        assert sink is not None
        if self._framing is not BY_LENGTH:
            sink.response_data(output)
            return
        left = self._remaining = self._remaining - len(output)
        sink.response_data(output[:left] if left < 0 else output)  # what exceeds the length belongs to no message
        if left <= 0 and self._sink is sink:
            self._complete_early()
            sink.response_end(b"")

    def _complete_early(self) -> None:
        """The response is complete, but END_REQUEST has not come yet: wait for it without the sink."""
        self._sink = None
        if not self.is_request_done or self.is_write_paused:
            self.close()
            return
        self.deadline = self._time() + self.settings.read_timeout_s
        if not self._is_reading:
            self._is_reading = True
            self.transport.resume_reading()

    def _end_request(self, content: bytes, output: bytes, *, is_clean: bool) -> None:
        """Process END_REQUEST and the output just before it. `is_clean`: no record follows it."""
        sink, state = self._sink, self.state
        try:
            refusal = refusal_of(content)
        except BadResponse:
            if output:  # it may be the whole response to HEAD
                self._take_output(output)
            raise
        if refusal:
            if output:
                self._take_output(output)
            self._refused(refusal)
        elif sink is None:
            self._release(is_clean=is_clean)
        elif state is AWAITING_HEAD:
            output = self._buffer + output
            size = find_head_end(output, self._scanned)
            if not size:
                raise BadResponse("the head of the response is incomplete" if output else "the response is empty")
            head = read_cgi_head(output[:size])
            body = self._whole_body(head, output[size:])
            self._buffer, self._scanned = b"", 0
            self._release(is_clean=is_clean)
            sink.response_whole(head, body)
        else:
            if output:
                self._take_body(output)
            if self._sink is sink:
                if self._framing is BY_LENGTH:
                    raise BadResponse(f"the response ends {self._remaining} bytes before its Content-Length")
                self._release(is_clean=is_clean)
                sink.response_end(b"")
            elif self._sink is None and self.state is READING_BODY:
                self._release(is_clean=is_clean)

    def _refused(self, reason: str) -> None:
        """Fail: the server says that it has not processed the request."""
        sink, uri = self._sink, self.target.uri
        self._mark_closed()
        self.transport.abort()
        if sink is not None:
            text = f"{uri}: the FastCGI server refuses the request: {reason}"
            error = UpstreamError(text, uri, Phase.SEND, reused=self.requests > 1)
            error.unprocessed = not self.is_answered
            sink.response_lost(error)

    def _whole_body(self, head: ResponseHead, body: bytes) -> bytes:
        if self._is_head_request or head.framing is NO_BODY:
            return b""
        if head.length is not None and len(body) < head.length:
            raise BadResponse(f"the response ends {head.length - len(body)} bytes before its Content-Length")
        return body[: head.length]

    def _release(self, *, is_clean: bool) -> None:
        """Return the connection to the pool if request and response are complete, else close it."""
        self._reporter = None
        is_clean = is_clean and self._records.is_between_records
        is_young = self._sweeper.now < self._kept_until
        if is_clean and self.is_request_done and not self.is_write_paused and is_young:
            self.return_to_pool()
            if self.state is IDLE:
                self.deadline = min(self.deadline, self._kept_until)
        else:
            self.close()

    def _mark_closed(self) -> None:
        self._reporter = None
        HttpClient._mark_closed(self)
