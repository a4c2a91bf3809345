"""A stream to a target as the transport of a tunnel: a WebSocket over HTTP/2 (RFC 8441 §5).

Made by `upstream.http2.stream` when the target has agreed to the tunnel with a 2xx response; from then on it is the
sink of the stream, and a relay is its protocol. The target gets new window only while the relay reads.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from npserver.http.extended_connect import accept_value
from npserver.http.response_parser import ResponseHead, read_response_head
from npserver.net.tunnel_transport import TunnelTransport

if TYPE_CHECKING:
    from npserver.errors import UpstreamError

LINGER_S = 1.0  # for the target to end its side after ours; then the stream is reset


def switched_head(head: ResponseHead, key: bytes) -> ResponseHead:
    """Return the 101 of HTTP/1.1 that means the same as a 2xx response to an extended CONNECT.

    `key`: the client's Sec-WebSocket-Key, which is not sent over HTTP/2; empty if it has sent none.
    """
    lines = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    if key:
        lines += b"Sec-WebSocket-Accept: %b\r\n" % accept_value(key)
    return read_response_head(b"%b%b\r\n" % (lines, head.fields))


class TunnelStream(Protocol):
    """The stream of a tunnel: `upstream.http2.stream.Http2Stream`."""

    def write(self, data: bytes) -> None:
        """Send data as soon as the target's windows allow."""

    def end(self, data: bytes = b"", trailers: bytes = b"") -> None:
        """End our side."""

    def unsent(self) -> int:
        """Return how many bytes wait for the target."""

    def pause_reading(self) -> None:
        """Give the target no new window."""

    def resume_reading(self) -> None:
        """Let the target send again."""

    def abandon(self) -> None:
        """Reset the stream."""


class UpstreamTunnel(TunnelTransport):
    """The transport of a tunnel."""

    # _is_ended  the target has ended its side

    __slots__ = ("_is_ended", "_stream")

    def __init__(self, loop: asyncio.AbstractEventLoop, stream: TunnelStream) -> None:
        super().__init__(loop)
        self._stream = stream
        self._is_ended = False

    def __repr__(self) -> str:
        state = "lost" if self._is_lost else "closing" if self._is_closing else "open"
        return f"<UpstreamTunnel {self._stream!r} {state}>"

    # ── called by the stream, as its sink ──

    def response_interim(self, head: ResponseHead) -> None:
        """Ignore a 1xx response, which cannot come any more."""

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """Ignore a response, which has come already."""

    def response_start(self, head: ResponseHead) -> None:
        """Ignore a response, which has come already."""

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        """Ignore a response, which has come already."""

    def response_data(self, data: bytes) -> None:
        """Called with data from the target; what comes after `close` is dropped."""
        if self._is_closing:
            return
        if self._is_reading and not self._held and self._protocol is not None:
            self._protocol.data_received(data)
        else:
            self._held.append(data)

    def response_end(self, trailers: bytes) -> None:
        """Called when the target has ended its side, which ends the tunnel."""
        self._is_ended = True
        self._deliver()

    def response_lost(self, error: UpstreamError) -> None:
        """Called when the stream was reset, or its connection lost."""
        self._held.clear()
        self._lose(ConnectionResetError(str(error)))

    def request_pause(self) -> None:
        """Called when too much waits for the target."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def request_resume(self) -> None:
        """Called when the target has taken enough of it."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    # ── called by the protocol ──

    def pause_reading(self) -> None:
        """Hold what the target sends; it can send as much as its window allows."""
        self._is_reading = False
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        """Pass on what the target sends."""
        if not self._is_reading and not self.is_closing():
            self._is_reading = True
            self._stream.resume_reading()
            self._loop.call_soon(self._deliver)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Ignore the limits: `buffer_size` of the rule is the stream's own."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait for the target."""
        return 0 if self._is_lost else self._stream.unsent()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send data as soon as the target's windows allow."""
        if data and not self.is_closing() and not self._is_ended:
            self._stream.write(bytes(data))

    def write_eof(self) -> None:
        """End our side; what waits is sent before."""
        if not self._is_lost and not self._is_ended:
            self._stream.end()

    def close(self) -> None:
        """Send what waits, end our side, and close once the target has ended its own, or after `LINGER_S`."""
        if not self.is_closing():
            self._is_closing = True
            self._held.clear()
            if self._is_ended:
                self._lose(None)
                return
            self._stream.end()
            self._stream.resume_reading()
            self._loop.call_later(LINGER_S, self.abort)

    def abort(self) -> None:
        """Reset the stream."""
        if not self._is_lost:
            self._is_closing = True
            self._stream.abandon()
            self._lose(None)

    # ── private ──

    def _deliver(self) -> None:
        protocol = self._protocol
        if protocol is not None and self._is_reading and self._held and not self.is_closing():
            data = b"".join(self._held)
            self._held.clear()
            protocol.data_received(data)
        if self._is_ended and not self._is_lost and (self._is_closing or (self._is_reading and not self._held)):
            if protocol is not None and not self._is_closing:
                protocol.eof_received()
            self._lose(None)
