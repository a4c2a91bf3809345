"""The response's half of an exchange: whole answers, files, streams, error pages, and how they are framed.

`web.server.http1.exchange.HttpExchange` adds the request's half and decides what happens once the response is written.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, cast

from npserver.http.chunked import LAST_CHUNK, chunk
from npserver.http.forwarded import client_address
from npserver.http.memo import Memo
from npserver.http.request import NO_BODY, Request
from npserver.web import error_pages
from npserver.web.server.exchange_base import ExchangeBase
from npserver.web.server.http1.request_body import RequestBody
from npserver.web.server.http1.sendfile import FileSender

if TYPE_CHECKING:
    from npserver.web.exchange import Source
    from npserver.web.route import Route
    from npserver.web.server.http1.connection import HttpConnection
    from npserver.web.server.http1.exchange import HttpExchange

log = logging.getLogger("npserver.http")

JOINED_BYTES = 4096  # a longer body goes out beside its head: copying it would cost more than another buffer


class _StatusLines(dict[int, bytes]):
    """Status lines by code, each made when first asked for."""

    def __missing__(self, status: int) -> bytes:
        line = self[status] = f"HTTP/1.1 {status} {error_pages.phrase(status)}\r\n".encode()
        return line


STATUS_LINES = _StatusLines()
LENGTH_LINES: Memo[int, bytes] = Memo(lambda size: b"Content-Length: %d\r\n" % size, JOINED_BYTES + 1)


class ResponseHalf(ExchangeBase):
    """What a handler answers with."""

    # keep    the connection serves further requests after this one
    # _head   of a started response, until its first piece
    # _left   bytes still to be written of a response of known length

    __slots__ = ("_file", "_head", "_is_bodyless", "_is_chunked", "_left", "keep")

    connection: HttpConnection
    body: RequestBody | None

    def __init__(self, connection: HttpConnection, request: Request, route: Route) -> None:
        # hot: static-small: what the base does is written out
        self.connection = connection
        self.context = connection.context
        self.request = request
        self.route = route
        self.client_ip = connection.client_ip
        self.status = 0
        self.sent = 0
        self.keep = True
        self.upstream = ""
        self.user = ""
        self.body = None if request.framing is NO_BODY else RequestBody(cast("HttpExchange", self))
        self._head = b""
        self._left: int | None = None
        self._is_chunked = False
        self._is_bodyless = False
        self._source = None
        self._file: FileSender | None = None
        self._request_id = ""
        self.started = time.monotonic() if self.context.access_log.enabled else 0.0
        trusted = connection.front.trusted
        if trusted is not None and connection.client_ip in trusted:
            self.client_ip = client_address(connection.client_ip, request.fields, trusted)

    @property
    def is_gone(self) -> bool:
        """Whether the exchange is over: the client is gone, or it has been answered."""
        return self.connection.exchange is not self

    @property
    def unsent_bytes(self) -> int:
        """What is left of a file being sent beside the transport."""
        return self._file.left if self._file is not None else 0

    def respond(self, status: int, fields: bytes = b"", body: bytes = b"") -> None:
        """Answer whole."""
        # hot: static-small
        connection = self.connection
        if connection.exchange is not self or self.status:
            return
        request = self.request
        if status == 204 or status == 304 or request.method == "HEAD":
            self._head_only(status, fields, None if status == 204 or status == 304 else len(body))
            return
        self.status = status
        size = self.sent = len(body)
        if self.route.rewrite_fields is not None:
            fields = self._rewrite(fields)
        start = connection.front.starts[status]
        if size <= JOINED_BYTES:
            connection.transport.write(b"".join((start, fields, LENGTH_LINES[size], self._connection_line(), body)))
        else:
            head = b"".join((start, fields, b"Content-Length: %d\r\n" % size, self._connection_line()))
            connection.transport.writelines((head, body))
        self._answered()

    def _head_only(self, status: int, fields: bytes, length: int | None) -> None:
        self.connection.transport.write(self._compose(status, fields, length))
        self._answered()

    def send_file(self, status: int, fields: bytes, file: int, offset: int, length: int) -> None:
        """Answer with a part of an open file."""
        head = b"" if self.is_gone or self.status else self._compose(status, fields, length)
        self._file = FileSender(self.connection, file, offset, length)
        if not head or self._is_bodyless:
            self._file.cancel()
            self._file = None
            if head:
                self.connection.transport.write(head)
                self._answered()
            return
        self._file.start(head, self._file_sent)

    def _file_sent(self, sent: int, error: str) -> None:
        self._file = None
        self.sent = sent
        if error:
            self.abort(error)
        else:
            self._answered()

    def inform(self, status: int, fields: bytes) -> None:
        """Send an interim response."""
        if self.request.minor_version and not self.status and not self.is_gone:
            self.connection.transport.write(STATUS_LINES[status] + fields + b"\r\n")

    def start(self, status: int, fields: bytes, length: int | None, source: Source | None) -> None:
        """Begin a streamed response. Its head goes out with the first piece, or by itself if none follows at once."""
        self._source = source
        if self.is_gone or self.status:
            return
        self._head = self._compose(status, fields, length)
        self._left = length
        self.context.loop.call_soon(self._flush_head)
        if self.connection.is_write_paused and source is not None:
            source.pause()

    def write(self, data: bytes) -> None:
        """Send a piece."""
        if not data or self.connection.exchange is not self or self._is_bodyless:
            return
        size = len(data)
        self.sent += size
        if self._is_chunked:
            data = chunk(data)
        elif self._left is not None:
            if size > self._left:
                self.abort("response longer than its length")
                return
            self._left -= size
        if self._head:
            data = self._head + data
            self._head = b""
        self.connection.transport.write(data)

    def finish(self, trailers: bytes = b"") -> None:
        """The response is complete."""
        if self.connection.exchange is not self:
            return
        if self._left and not self._is_bodyless:
            self.abort("response shorter than its length")
            return
        ending = self._head
        if self._is_chunked and not self._is_bodyless:
            ending += LAST_CHUNK + trailers + b"\r\n"
        self._head = b""
        if ending:
            self.connection.transport.write(ending)
        self._source = None
        self._answered()

    def _flush_head(self) -> None:
        if self._head and self.connection.exchange is self:
            head, self._head = self._head, b""
            self.connection.transport.write(head)

    # ── composing ──

    def _compose(self, status: int, fields: bytes, length: int | None) -> bytes:
        """The head of a response that is not sent in one piece, with its framing (RFC 9112 §6)."""
        self.status = status
        self._left = length
        self._is_chunked = False
        self._is_bodyless = self.request.method == "HEAD" or status == 204 or status == 304
        if self.route.rewrite_fields is not None:
            fields = self._rewrite(fields)
        if length is not None:
            framing = b"" if status == 204 else b"Content-Length: %d\r\n" % length
        elif self._is_bodyless:
            framing = b""
        elif self.request.minor_version:
            framing = b"Transfer-Encoding: chunked\r\n"
            self._is_chunked = True
        else:
            framing = b""
            self.keep = False
        return b"".join(
            (STATUS_LINES[status], self.connection.front.common_fields, fields, framing, self._connection_line())
        )

    def _connection_line(self) -> bytes:
        """The Connection field, if one is needed, and the end of the head; decides whether the connection is kept."""
        # hot: static-small
        connection, request, body = self.connection, self.request, self.body
        if (
            not self.keep
            or not request.keep_alive
            or (connection.read_all and not connection.buffer)
            or self.context.draining
            or connection.requests >= connection.front.max_requests
            or (body is not None and not body.done and (body.is_continue_due or body.is_long))
        ):
            self.keep = False
            return b"Connection: close\r\n\r\n"
        return b"\r\n" if request.minor_version else b"Connection: keep-alive\r\n\r\n"

    def abort(self, reason: str) -> None:
        """Close so that the client sees a truncated answer."""
        raise NotImplementedError

    def _answered(self) -> None:
        """The response is written."""
        raise NotImplementedError
