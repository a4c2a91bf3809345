"""206 responses to Range requests (RFC 9110 §15.3.7): one part by itself, several as multipart/byteranges.

Called by `web.handlers.static.handler` with the representation and the ranges of it to send.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from npserver.http.ranges import ByteRange, multipart_heads
from npserver.web.file_state import is_overwritten

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.static.cache import Representation

_BLOCK_BYTES = 128 << 10  # read and written at once
_TURN_BLOCKS = 16  # written before the event loop runs other callbacks


def respond_parts(exchange: Exchange, representation: Representation, parts: list[ByteRange], body: bytes) -> None:
    """Respond with parts of a representation in memory."""
    size = len(body)
    if len(parts) == 1:
        part = parts[0]
        fields = b"%bContent-Range: %b\r\n" % (representation.fields, part.content_range(size))
        exchange.respond(206, fields, body[part.offset : part.offset + part.length])
        return
    fields, heads, tail = _multipart(representation, parts, size)
    pieces = [head + body[part.offset : part.offset + part.length] for head, part in zip(heads, parts, strict=True)]
    exchange.respond(206, fields, b"".join(pieces) + tail)


def send_parts(
    exchange: Exchange, representation: Representation, parts: list[ByteRange], file: int, size: int
) -> None:
    """Respond with parts of an open file of `size` bytes. The response closes the file."""
    if len(parts) == 1:
        part = parts[0]
        fields = b"%bContent-Range: %b\r\n" % (representation.fields, part.content_range(size))
        exchange.send_file(206, fields, file, part.offset, part.length)
        return
    fields, heads, tail = _multipart(representation, parts, size)
    length = sum([len(head) + part.length for head, part in zip(heads, parts, strict=True)]) + len(tail)
    source = PartsSource(exchange, file, list(zip(heads, parts, strict=True)), tail)
    exchange.start(206, fields, length, source)
    source.produce()


def _multipart(representation: Representation, parts: list[ByteRange], size: int) -> tuple[bytes, list[bytes], bytes]:
    """Return the fields of a multipart response, the text before each part, and the text after the last."""
    boundary = os.urandom(16).hex().encode()  # random, so that no file can contain it
    fields = b"Content-Type: multipart/byteranges; boundary=%b\r\n%b" % (boundary, representation.untyped_fields)
    return fields, *multipart_heads(parts, size, representation.content_type.encode("latin-1"), boundary)


class PartsSource:
    """The body of a multipart response, read from an open file. It owns the file."""

    __slots__ = ("_exchange", "_file", "_is_paused", "_parts", "_status", "_tail")

    def __init__(self, exchange: Exchange, file: int, parts: list[tuple[bytes, ByteRange]], tail: bytes) -> None:
        self._exchange = exchange
        self._file = file
        self._status = os.fstat(file)
        self._parts = parts[::-1]  # in reverse: the next one is last; its head is empty once sent
        self._tail = tail
        self._is_paused = False

    def pause(self) -> None:
        """Called when the buffer towards the client is full."""
        self._is_paused = True

    def resume(self) -> None:
        """Called when the buffer has room again."""
        self._is_paused = False
        self.produce()

    def cancel(self) -> None:
        """Called when the client has disconnected."""
        self._close()

    def produce(self) -> None:
        """Write until the buffer is full, `_TURN_BLOCKS` blocks are written, or all is written."""
        turn = 0
        while self._file >= 0 and not self._is_paused and self._parts:
            if turn == _TURN_BLOCKS:
                self._exchange.context.loop.call_soon(self.produce)
                return
            turn += 1
            head, part = self._parts.pop()
            try:
                data = os.pread(self._file, min(part.length, _BLOCK_BYTES), part.offset)
            except OSError as error:
                self._fail(f"cannot read the file: {error.strerror}")
                return
            if not data or is_overwritten(self._file, self._status):
                self._fail("file became shorter or was overwritten while being sent")
                return
            if len(data) < part.length:
                self._parts.append((b"", ByteRange(part.offset + len(data), part.length - len(data))))
            self._exchange.write(head + data)
        if self._file >= 0 and not self._parts:
            self._close()
            self._exchange.write(self._tail)
            self._exchange.finish()

    def _fail(self, reason: str) -> None:
        self._close()
        self._exchange.abort(reason)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
