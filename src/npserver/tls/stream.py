"""TLS over an asyncio transport: the protocol of the plain transport, and the transport of the protocol above it.

Used for clients by `tls.accept`, and for upstreams by `net.dialer`. It receives the first bytes before TLS begins, so
that a listener can read the ClientHello, respond to plain HTTP, and begin TLS after a PROXY protocol header. Unlike
asyncio's own TLS it supports half-closed connections (RFC 8446 §6.1), and tells a closed stream from a truncated one:
`get_extra_info("truncated")`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from npserver.runtime.protocols import fill
from npserver.runtime.transports import write_pieces

RECORD_BYTES = 1 << 14  # of plaintext, the most that one read returns (RFC 8446 §5.1)
CHUNK_BYTES = 4 * RECORD_BYTES  # encrypted at a time: still in the processor's cache when it is copied


class TlsStream(asyncio.Transport, asyncio.Protocol):
    """One side of a TLS connection. Subclasses start the handshake and are told when it ends."""

    __slots__ = (
        "_above",
        "_failure",
        "_feed",
        "_has_ended",
        "_has_sent_end",
        "_incoming",
        "_is_closing",
        "_is_open",
        "_outgoing",
        "_raw",
        "_read",
        "_tls",
        "_truncated",
    )

    def __init__(self) -> None:
        # connection
        self._raw: asyncio.Transport = _NO_TRANSPORT
        self._tls: ssl.SSLObject | None = None
        self._read: Callable[[int], bytes] = _no_read
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._is_open = False  # the handshake is complete, and the protocol above connected
        self._is_closing = False
        self._has_ended = False  # the peer has sent close_notify or end of file
        self._has_sent_end = False
        self._truncated = False
        self._failure: Exception | None = None
        # the protocol above
        self._above: asyncio.Protocol = _NO_PROTOCOL
        self._feed: Callable[[bytes], None] = _NO_PROTOCOL.data_received

    def __repr__(self) -> str:
        state = "closing" if self._is_closing else "open" if self._is_open else "handshake"
        return f"<{type(self).__name__} {state}>"

    # ── for subclasses ──

    def _secured(self) -> asyncio.Protocol:
        """Called when the handshake is complete. Return the protocol to connect."""
        raise NotImplementedError

    def _lost(self, error: Exception | None) -> None:
        """Called when the connection ended before the handshake was complete."""

    def _begin(self, tls: ssl.SSLObject) -> None:
        self._tls = tls
        self._read = tls.read

    def _receive_handshake(self, data: bytes) -> None:
        """Called with data received before the handshake is complete."""
        self._shake(data)

    def _shake(self, data: bytes = b"") -> None:
        """Continue the handshake."""
        tls = cast("ssl.SSLObject", self._tls)
        self._incoming.write(data)
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except (ssl.SSLError, ssl.CertificateError) as error:
            self._fail(error)
            return
        self._flush()
        self._is_open = True
        self.set_protocol(self._secured())
        self._above.connection_made(self)
        if self._incoming.pending and not self._is_closing:
            self._take()

    def _fail(self, error: Exception) -> None:
        """Close the connection after sending the TLS alert."""
        self._failure = error.with_traceback(None)  # its frames refer to this stream: no cycle may be left
        self._is_closing = True
        self._flush()
        self._raw.close()

    # ── the plain transport's protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio for a new connection."""
        self._raw = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # hot: tls-small
        """Called by asyncio with received data: decrypt it, or continue the handshake."""
        if self._is_closing:
            return
        if self._is_open:
            self._incoming.write(data)
            self._take()
        else:
            self._receive_handshake(data)

    def _take(self) -> None:  # hot: tls-small
        piece = data = self._decrypt()
        if piece and self._incoming.pending:
            pieces = [piece]
            while self._incoming.pending and (piece := self._decrypt()):
                pieces.append(piece)
            data = b"".join(pieces)
        if self._outgoing.pending:
            self._flush()  # a response of TLS itself, such as to a key update
        if data:
            self._feed(data)
        if piece == b"" and not self._has_ended:
            self._end()

    def _decrypt(self) -> bytes | None:
        """Return the content of the next record; None if there is no complete one, b"" if the peer has ended.

        Calling it without a complete record costs an exception: callers check `_incoming.pending` first.
        """
        try:
            return self._read(RECORD_BYTES)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:  # raised instead of returning b"" once our own close_notify is sent
            return b""
        except ssl.SSLError as error:
            self._fail(error)
            return None

    def _end(self) -> None:
        """Tell the protocol above that the peer has ended its side."""
        self._has_ended = True
        if not self._is_closing and not self._above.eof_received():
            self.close()

    def eof_received(self) -> bool:
        """Called by asyncio at the end of the plain stream: after close_notify, during the handshake, or too early."""
        if not self._is_open:
            return False
        if not self._has_ended:
            self._truncated = True
            self._end()
        return True  # the transport stays open until `close`

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio when the connection is closed."""
        above, self._above, self._feed = self._above, _NO_PROTOCOL, _NO_PROTOCOL.data_received
        self._is_closing = True
        if self._is_open:
            above.connection_lost(self._failure or exc)
        else:
            self._lost(self._failure or exc)

    def pause_writing(self) -> None:
        """Called by asyncio when the write buffer passes its high-water mark."""
        self._above.pause_writing()

    def resume_writing(self) -> None:
        """Called by asyncio when the write buffer has drained below its low-water mark."""
        self._above.resume_writing()

    # ── the transport of the protocol above ──

    def write(self, data: bytes | bytearray | memoryview) -> None:  # hot: tls-small
        """Encrypt and send data."""
        if self._is_closing or self._has_sent_end or not data:
            return
        try:
            if len(data) <= CHUNK_BYTES:
                cast("ssl.SSLObject", self._tls).write(data)
                self._raw.write(self._outgoing.read())
            else:
                self._write_large(memoryview(data))
        except ssl.SSLError as error:
            self._fail(error)

    def _write_large(self, data: memoryview) -> None:
        write, read = cast("ssl.SSLObject", self._tls).write, self._outgoing.read
        sealed = []
        while data:
            size = write(data[:CHUNK_BYTES])
            sealed.append(read())
            data = data[size:]
        write_pieces(self._raw, sealed)

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    def can_write_eof(self) -> bool:
        """Return True: TLS can be closed in one direction."""
        return True

    def write_eof(self) -> None:
        """Send close_notify; data can still be received (RFC 8446 §6.1)."""
        if self._is_open and not self._has_sent_end and not self._is_closing:
            self._send_end()

    def _send_end(self) -> None:
        self._has_sent_end = True
        with suppress(ssl.SSLError):  # raised until the peer's close_notify comes, which is not waited for
            cast("ssl.SSLObject", self._tls).unwrap()
        self._flush()

    def close(self) -> None:
        """Send buffered data and close_notify, then close without waiting for the peer's (RFC 8446 §6.1)."""
        if self._is_closing:
            return
        if self._is_open and not self._has_sent_end:
            self._send_end()
        self._is_closing = True
        self._raw.close()

    def abort(self) -> None:
        """Close immediately, dropping buffered data."""
        self._is_closing = True
        self._raw.abort()

    def is_closing(self) -> bool:
        """Return whether the connection is closing or closed."""
        return self._is_closing

    def pause_reading(self) -> None:
        """Pause receiving."""
        if not self._is_closing:
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Resume receiving."""
        if not self._is_closing:
            self._raw.resume_reading()

    def is_reading(self) -> bool:
        """Return whether the protocol above receives data."""
        return not self._is_closing and self._raw.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the high- and low-water marks of the write buffer, in bytes."""
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low- and high-water marks of the write buffer, in bytes."""
        return self._raw.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes in the write buffer."""
        return self._raw.get_write_buffer_size()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Replace the protocol above."""
        self._above = cast("asyncio.Protocol", protocol)
        if isinstance(protocol, asyncio.BufferedProtocol):
            self._feed = lambda data: fill(protocol, data)
        else:
            self._feed = self._above.data_received

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol above."""
        return self._above

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what asyncio's TLS transports do, and `truncated`: whether the stream ended without close_notify."""
        tls = self._tls
        if name == "ssl_object":
            return tls
        if name == "truncated":
            return self._truncated
        if tls is not None:
            if name == "sslcontext":
                return tls.context
            if name == "peercert":
                return tls.getpeercert()
            if name == "cipher":
                return tls.cipher()
        return self._raw.get_extra_info(name, default)


class TlsClient(TlsStream):
    """The client side, towards an upstream. The result of the future `finished` is the stream after its handshake."""

    __slots__ = ("_context", "_factory", "_finished", "_preface", "_server_name")

    def __init__(
        self,
        context: ssl.SSLContext,
        server_name: str,
        factory: Callable[[], asyncio.Protocol],
        finished: asyncio.Future[asyncio.Transport],
        preface: bytes = b"",
    ) -> None:
        super().__init__()
        self._context = context
        self._server_name = server_name
        self._factory: Callable[[], asyncio.Protocol] | None = factory  # until the handshake has ended
        self._finished: asyncio.Future[asyncio.Transport] | None = finished  # until the handshake has ended
        self._preface = preface  # sent before TLS begins

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio for a new connection: send the ClientHello."""
        super().connection_made(transport)
        if self._preface:
            self._raw.write(self._preface)
        name = self._server_name.removesuffix(".") or None
        self._begin(self._context.wrap_bio(self._incoming, self._outgoing, server_hostname=name))
        self._shake()

    def _secured(self) -> asyncio.Protocol:
        finished, factory = self._finished, self._factory
        self._finished = self._factory = None  # they may refer to this stream: no cycle may be left
        if finished is not None and not finished.done():
            finished.set_result(self)
        assert factory is not None
        return factory()

    def _lost(self, error: Exception | None) -> None:
        finished = self._finished
        self._finished = self._factory = None
        if finished is not None and not finished.done():
            finished.set_exception(error or ConnectionResetError("closed during the TLS handshake"))


def _no_read(size: int) -> bytes:
    """Stand in for `ssl.SSLObject.read` before TLS begins."""
    raise ssl.SSLWantReadError


class _Nothing(asyncio.Protocol):
    """Stands in for the protocol above before it is connected and after `connection_lost`."""


_NO_PROTOCOL = _Nothing()
_NO_TRANSPORT = asyncio.Transport()
