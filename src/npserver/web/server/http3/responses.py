"""The responses of one HTTP/3 connection: messages to frames, frames to the queue of their priorities (RFC 9114 §4.1).

The half of `web.server.http3.session` that exchanges write to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.web.server.http3 import frames
from npserver.web.server.http3.frames import frame, varint
from npserver.web.server.http3.priority import priority_field
from npserver.web.server.http3.sections import headers_frame
from npserver.web.server.http3.send_queue import SendQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.listen.quic.connection import QuicConnection


class Responses:
    """The responses of one connection."""

    # queue  their bytes, in the order of their priorities

    __slots__ = ("_quic", "queue")

    def __init__(self, quic: QuicConnection) -> None:
        self._quic = quic
        self.queue = SendQueue(quic.quic)

    def inform(self, stream_id: int, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Send an interim response."""
        self.queue.send(stream_id, headers_frame(tuple(fields)))

    def respond(self, stream_id: int, fields: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole response."""
        data = self._head(stream_id, fields)
        if body:
            data = b"".join((data, varint(frames.DATA), varint(len(body)), body))
        self.queue.send(stream_id, data, has_ended=True)

    def start(self, stream_id: int, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the head of a response; its body follows."""
        self.queue.send(stream_id, self._head(stream_id, fields))

    def write(self, stream_id: int, data: bytes) -> None:
        """Send a piece of a body as soon as the client's window allows."""
        self.queue.send(stream_id, frame(frames.DATA, data))

    def finish(self, stream_id: int, trailers: Sequence[tuple[bytes, bytes]]) -> None:
        """End a response."""
        self.queue.send(stream_id, headers_frame(tuple(trailers)) if trailers else b"", has_ended=True)

    def unsent(self, stream_id: int) -> int:
        """Return the bytes of a response that are not sent yet."""
        return self.queue.unsent(stream_id)

    @property
    def all_unsent(self) -> int:
        """Bytes of all responses that are not sent yet."""
        return self.queue.all_unsent

    def progress(self, stream_id: int) -> int:
        """Return how many bytes were sent on the connection, if this response waits for others; 0 if it does not."""
        return self.queue.progress(stream_id)

    def _head(self, stream_id: int, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
        priority = priority_field(fields)
        if priority is not None:
            self.queue.override(stream_id, priority)
        return headers_frame(tuple(fields))
