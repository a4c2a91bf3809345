"""The response side of an HTTP/1.1 exchange: whole answers, files and streams, and how they are framed (RFC 9112 §6).

`web.server.http1.exchange.Http1Exchange` adds the request side and decides what happens once the response is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.http.chunked import LAST_CHUNK, chunk
from npserver.runtime.transports import write_pieces
from npserver.web.server.exchange_base import ExchangeBase
from npserver.web.server.http1.answer import CLOSE_LINE, KEEP_LINE, STATUS_LINES, whole_answer
from npserver.web.server.http1.request_body import Http1Body
from npserver.web.server.http1.sendfile import FileSender

if TYPE_CHECKING:
    from npserver.web.server.roles import Http1ConnectionRole  # noqa: F401 - named in a string


class Http1Response(ExchangeBase["Http1ConnectionRole"], eq=False):
    """The response side of an exchange."""

    # keep           the connection serves further requests after this one
    # _head          of a started response, until its first piece
    # _left          bytes still to be written of a response of known length
    # _is_bodyless   HEAD, 204 or 304: nothing follows the head

    keep: bool = True
    body: Http1Body | None = None
    _head: bytes = b""
    _left: int | None = None
    _is_chunked: bool = False
    _is_bodyless: bool = False
    _file: FileSender | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the exchange is over: the client is gone, or it has been answered."""
        return self.connection.exchange is not self

    @property
    def unsent_bytes(self) -> int:
        """The rest of a file that is sent beside the transport."""
        return self._file.left if self._file is not None else 0

    def respond(self, status: int, fields: bytes = b"", body: bytes = b"") -> None:
        """Answer whole."""
        # hot: proxy-small
        connection, request, route = self.connection, self.request, self.route
        if connection.exchange is not self or self.status:
            return
        if route.responses and not self._is_filtered:
            self._respond_filtered(status, fields, body)
            return
        if status == 204 or status == 304 or not (request.is_plain or request.method != "HEAD"):
            is_measured = request.method == "HEAD" and status != 204 and status != 304
            connection.transport.write(self._compose(status, fields, len(body) if is_measured else None))
            self._answered()
            return
        self.status = status
        self.sent = size = len(body)
        if route.change_fields is not None:
            fields = route.change_fields(fields)
        front = connection.front
        is_simple = self.keep and request.is_plain and request.keep_alive and not (
            connection.read_all or self.context.draining or self.started or connection.requests >= front.max_requests
        )  # fmt: skip
        if not is_simple:
            self._decide_keep()
        answer = whole_answer(front, request, status, fields, body, is_last=not self.keep)
        if type(answer) is bytes:
            connection.transport.write(answer)
        else:
            write_pieces(connection.transport, answer)  # type: ignore[arg-type]
        if not is_simple:
            self._answered()
            return
        self.source = None
        front.count(status, size)
        connection.exchange_ended()

    def _send_file(self, status: int, fields: bytes, file: int, offset: int, length: int) -> None:
        head = self._compose(status, fields, length)
        self._file = FileSender(self.connection, file, offset, length)
        if self._is_bodyless:
            self._file.cancel()
            self._file = None
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

    def _send_interim(self, status: int, fields: bytes) -> None:
        if self.request.minor_version:
            self.connection.transport.write(STATUS_LINES[status] + fields + b"\r\n")

    def _send_start(self, status: int, fields: bytes, length: int | None) -> None:
        """The head goes out with the first piece, or by itself if none follows at once."""
        self._head = self._compose(status, fields, length)
        self.context.loop.call_soon(self._flush_head)
        if self.connection.is_write_paused and self.source is not None:
            self.source.pause()

    def _send_data(self, data: bytes) -> None:
        # hot: proxy-large
        if self.connection.exchange is not self or self._is_bodyless:
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

    def _send_end(self, trailers: bytes) -> None:
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
        self._answered()

    def _flush_head(self) -> None:
        if self._head and self.connection.exchange is self:
            head, self._head = self._head, b""
            self.connection.transport.write(head)

    # ── composing ──

    def _compose(self, status: int, fields: bytes, length: int | None) -> bytes:
        """Compose the head of a response that is not sent in one piece, with its framing (RFC 9112 §6)."""
        self.status = status
        self._left = length
        self._is_chunked = False
        self._is_bodyless = self.request.method == "HEAD" or status == 204 or status == 304
        if self.route.change_fields is not None:
            fields = self.route.change_fields(fields)
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
        self._decide_keep()
        end = CLOSE_LINE if not self.keep else b"\r\n" if self.request.minor_version else KEEP_LINE
        return b"".join((self.connection.front.starts[status], fields, framing, end))

    def _decide_keep(self) -> None:
        """Decide whether the connection serves further requests after this one (RFC 9112 §9.3)."""
        connection, request, body = self.connection, self.request, self.body
        if (
            not request.keep_alive
            or (connection.read_all and not connection.buffer)
            or self.context.draining
            or connection.requests >= connection.front.max_requests
            or (body is not None and not body.done and (body.is_continue_due or body.is_long))
        ):
            self.keep = False

    def _answered(self) -> None:
        """The response is written."""
        raise NotImplementedError
