"""One stream of an HTTP/2 connection as the transport of a tunnel (RFC 8441 §5, RFC 9113 §8.5).

Made by `web.server.http2.exchange` for a request that asks for a tunnel. It holds what the client sends until the
handler has agreed to the tunnel; then a relay is its protocol. The client gets new window only for what has been passed
on, so it cannot send more than its window ahead. END_STREAM is the end of one side, RST_STREAM a reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.net.tunnel_transport import TunnelTransport
from npserver.web.server.http2.session import CANCEL, NO_ERROR

if TYPE_CHECKING:
    from npserver.web.server.roles import Http2ExchangeRole

HIGH_BYTES = 64 << 10  # in the session; then the protocol pauses writing


class StreamTransport(TunnelTransport):
    """A stream of a client's connection."""

    # is_open         a protocol uses it: the request has been answered with the tunnel
    # has_eof         the client has ended its side
    # _is_eof_told    the protocol knows that the client has ended its side
    # _has_ended      our side has ended

    __slots__ = (
        "_exchange", "_has_ended", "_high_bytes", "_is_eof_told", "_is_write_paused", "has_eof", "is_open",
    )  # fmt: skip

    def __init__(self, exchange: Http2ExchangeRole) -> None:
        super().__init__(exchange.connection.context.loop)
        self.is_open = False
        self.has_eof = False
        self._exchange = exchange
        self._high_bytes = HIGH_BYTES
        self._is_eof_told = False
        self._is_write_paused = False
        self._has_ended = False

    def __repr__(self) -> str:
        state = "lost" if self._is_lost else "closing" if self._is_closing else "open" if self.is_open else "asked for"
        return f"<StreamTransport {self._exchange.stream_id} {state}>"

    # ── called by the exchange ──

    def open(self) -> bytes:
        """The tunnel has been agreed on. Return what the client has sent ahead."""
        self.is_open = True
        return self._take_held()

    def feed(self, data: bytes, *, has_ended: bool) -> None:
        """The client has sent data, or ended its side."""
        self.has_eof = self.has_eof or has_ended
        if data:
            if self._is_reading and not self._held and self._protocol is not None:
                self._protocol.data_received(data)
                self._acknowledge(len(data))
            else:
                self._held.append(data)
        if self.has_eof:
            self._deliver()

    def look(self, *, is_drained: bool) -> bool:
        """See what the client has taken. Return whether there is nothing left to take."""
        unsent = self.get_write_buffer_size()
        if self._is_write_paused and unsent <= self._high_bytes // 4:
            self._is_write_paused = False
            if self._protocol is not None:
                self._protocol.resume_writing()
        if unsent or not is_drained:
            return False
        if self._is_closing and not self._is_lost:
            if not self.has_eof:
                self._exchange.connection.cut(self._exchange.stream_id, NO_ERROR, is_whole=True)
            self._lose(None)
        return True

    def stream_closed(self) -> bool:
        """The stream is closed. Return whether the client reset it."""
        is_orderly = self.has_eof and self._has_ended
        is_cut = not (is_orderly or self._is_closing)
        if is_orderly and self._held and self._protocol is not None and not self._is_lost:
            self._protocol.data_received(b"".join(self._held))
        self._take_held()
        self._lose(None if is_orderly else ConnectionResetError("reset by the client"))
        return is_cut

    def drop(self) -> None:
        """The request was answered without a tunnel: forget what the client sends."""
        self._take_held()

    # ── called by the protocol ──

    def pause_reading(self) -> None:
        """Hold what the client sends; it can send as much as its window allows."""
        self._is_reading = False

    def resume_reading(self) -> None:
        """Pass on what the client sends."""
        if self._is_reading or self.is_closing():
            return
        self._is_reading = True
        if self._held or self.has_eof:
            self._loop.call_soon(self._deliver)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Pause the protocol when `high` bytes wait for the client; it goes on at a quarter of them."""
        self._high_bytes = HIGH_BYTES if high is None else high

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait for the client."""
        return 0 if self._is_lost else self._exchange.session.unsent(self._exchange.stream_id)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send data as soon as the client's windows allow."""
        if self._has_ended or self._is_lost or not data:
            return
        exchange = self._exchange
        exchange.session.write(exchange.stream_id, bytes(data))
        exchange.connection.sending(exchange)
        if not self._is_write_paused and self.get_write_buffer_size() > self._high_bytes:
            self._is_write_paused = True
            if self._protocol is not None:
                self._protocol.pause_writing()

    def write_eof(self) -> None:
        """End our side; what waits is sent before."""
        if not (self._has_ended or self._is_lost):
            self._has_ended = True
            exchange = self._exchange
            exchange.session.finish(exchange.stream_id, ())
            exchange.connection.sending(exchange)

    def close(self) -> None:
        """Send what waits, then close the stream."""
        if not self.is_closing():
            self._is_closing = True
            self._is_reading = False
            self._take_held()
            self.write_eof()
            self._exchange.connection.sending(self._exchange)

    def abort(self) -> None:
        """Reset the stream."""
        if not self._is_lost:
            self._is_closing = True
            self._exchange.connection.cut(self._exchange.stream_id, CANCEL, is_whole=True)
            self._lose(None)

    # ── private ──

    def _deliver(self) -> None:
        protocol = self._protocol
        if protocol is None or not self._is_reading or self.is_closing():
            return
        if self._held:
            protocol.data_received(self._take_held())
        if self.has_eof and self._is_reading and not self._held and not self._is_eof_told:
            self._is_eof_told = True
            if not protocol.eof_received():
                self.close()

    def _take_held(self) -> bytes:
        """Return what was held; the client gets new window for it."""
        data = b"".join(self._held)
        self._held.clear()
        self._acknowledge(len(data))
        return data

    def _acknowledge(self, amount: int) -> None:
        if amount:
            self._exchange.session.acknowledge(self._exchange.stream_id, amount)
            self._exchange.connection.flush_soon()
