"""A transport (`asyncio.Transport`) over a stream socket, driven by `net.poller`. Forwards use it on Linux.

Data is sent immediately; only what the kernel does not accept is buffered. Data is read until there is no more, because
events are edge-triggered. Two streams can be joined: small pieces then pass from one socket to the other without the
protocols.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from npserver.net.poller import ENDED, READABLE, WRITABLE

if TYPE_CHECKING:
    from npserver.net.poller import Poller

log = logging.getLogger("npserver.server")

HIGH_BYTES = 64 << 10  # high-water mark of the write buffer
READ_BYTES = 16 << 10  # size of the first read
SMALL_BYTES = READ_BYTES  # shorter pieces pass between joined sockets
BULK_BYTES = 64 << 10  # size of further reads, once one was full
READS = 16  # before other connections get their turn
BUFFERS = 64  # sent per system call

_DATA = 0x5  # EPOLLIN and EPOLLOUT: data can be read, and the connection is open
_DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)
_NOTHING: list[bytes] = []


class SocketStream(asyncio.Transport):
    """One connection. `start` connects it to its protocol."""

    # reading
    # _is_reading   the protocol has not paused reading
    # _is_flowing   data is passed on: not paused, not closing, and the peer has not closed its side
    # _is_unread    there is data that was not read
    # _joined       the stream that gets small pieces instead of the protocol
    # writing
    # _is_direct    writes go directly to the kernel: nothing is buffered, nothing is closing
    # _is_ending    the write side is closed once the buffer is sent

    __slots__ = (
        "_error", "_feed", "_has_ended", "_high", "_is_closing", "_is_direct", "_is_ending", "_is_flowing", "_is_lost",
        "_is_paused", "_is_reading", "_is_unread", "_joined", "_low", "_number", "_outbox", "_peer", "_poller",
        "_protocol", "_read_bytes", "_sock", "_unsent", "passed_bytes",
    )  # fmt: skip

    def __init__(self, poller: Poller, sock: socket.SocketType, peer: object = None) -> None:
        """Create it for a socket, which it owns from here on. `peer`: its address, if known."""
        self._poller = poller
        self._sock = sock
        self._number = sock.fileno()
        self._peer = peer
        self._protocol: asyncio.Protocol | None = None
        self._feed: Callable[[bytes], object] | None = None
        self._error: Exception | None = None
        self._is_closing = self._is_lost = False
        # reading
        self._is_reading = self._is_flowing = True
        self._is_unread = self._has_ended = False
        self._read_bytes = READ_BYTES
        self._joined: SocketStream | None = None
        self.passed_bytes = 0  # to the joined stream
        # writing
        self._is_direct = True
        self._is_ending = self._is_paused = False
        self._outbox = _NOTHING
        self._unsent = 0
        self._high = HIGH_BYTES
        self._low = HIGH_BYTES >> 2

    def __repr__(self) -> str:
        state = "lost" if self._is_lost else "closing" if self._is_closing else "open"
        return f"<SocketStream {state} reading={self._is_reading} unsent={self._unsent}>"

    def start(self, protocol: asyncio.Protocol, events: int = -1) -> None:
        """Connect it to `protocol`. `events`: the present events of a socket that the poller watches already; or -1."""
        self._protocol = protocol
        self._feed = protocol.data_received
        try:
            protocol.connection_made(self)
        except Exception as error:
            self._fault(error)
        if self._is_lost:
            return
        if events < 0:
            try:
                self._poller.watch(self._number, self._ready)
            except OSError as error:  # too many watched descriptors (epoll_ctl(2), ENOSPC)
                self._lose(error)
        else:
            self._poller.rewatch(self._number, self._ready)
            self._ready(events)

    # ── reading ──

    def pause_reading(self) -> None:
        """Pause receiving."""
        self._is_reading = self._is_flowing = False

    def resume_reading(self) -> None:
        """Resume receiving."""
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            self._is_flowing = not self._has_ended
            if self._is_unread:
                self._poller.soon(self._read_on)

    def is_reading(self) -> bool:
        """Return whether the protocol receives data."""
        return self._is_reading

    def join(self, other: SocketStream | None) -> None:
        """Pass small pieces directly to `other` while it has nothing buffered; the protocol gets all else.

        None ends it. `passed_bytes` counts.
        """
        self._joined = other

    def _ready(self, events: int) -> None:
        """Called by the poller with events."""
        # hot: tcp-messages, tcp-connect
        try:
            if events == _DATA and self._is_flowing and self._is_direct:
                try:
                    data = self._sock.recv(self._read_bytes, _DONTWAIT)
                except BlockingIOError:
                    return
                except OSError as error:
                    self._lose(error)
                    return
                joined = self._joined
                if joined is None or not joined._is_direct or not 0 < len(data) < SMALL_BYTES:
                    self._take(data)
                    return
                self.passed_bytes += len(data)
                try:  # `write`, written out
                    sent = joined._sock.send(data, _DONTWAIT)
                except BlockingIOError:
                    sent = 0
                except OSError as error:
                    joined._lose(error)
                    return
                if sent < len(data):
                    joined._keep(data[sent:])
                return
            if self._unsent and events & WRITABLE:
                self._flush()
            if not self._is_flowing:
                self._is_unread = True
            elif events & READABLE:
                self._read(events)
        except Exception as error:
            self._fault(error)

    def _take(self, data: bytes) -> None:
        # hot: tcp-connect
        if not data:
            self._end()
            return
        if len(data) == self._read_bytes:  # there may be more data
            self._read_bytes = BULK_BYTES
            self._is_unread = True
            self._poller.soon(self._read_on)
        self._feed(data)  # type: ignore[misc]

    def _read(self, events: int) -> None:
        """Read until there is no more data, at most `READS` times."""
        # hot: tcp-connect
        sock, size = self._sock, self._read_bytes
        for _ in range(READS):
            try:
                data = sock.recv(size, _DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(error)
                return
            if not data:
                self._end()
                return
            self._feed(data)  # type: ignore[misc]
            if len(data) == size:
                size = self._read_bytes = BULK_BYTES
            elif not events & ENDED:
                return  # no more data; a later end of file is an event of its own
            if not self._is_flowing:
                self._is_unread = True
                return
        self._is_unread = True
        self._poller.later(self._read_on)

    def _read_on(self) -> None:
        """Read the data that is left."""
        if self._is_unread and self._is_flowing:
            self._is_unread = False
            try:
                self._read(ENDED)
            except Exception as error:
                self._fault(error)

    def _end(self) -> None:
        """Tell the protocol that the peer has closed its side."""
        self._has_ended = True
        self._is_flowing = False
        if not self._protocol.eof_received():  # type: ignore[union-attr]
            self.close()

    # ── writing ──

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send data; what the kernel does not accept is buffered."""
        # hot: tcp-connect
        if not self._is_direct:
            self._keep(bytes(data))
            return
        try:
            sent = self._sock.send(data, _DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lose(error)
            return
        if sent < len(data):
            self._keep(bytes(data[sent:]))

    def write_eof(self) -> None:
        """Close the write side once the buffer is sent."""
        if self._is_closing or self._is_ending:
            return
        self._is_ending = True
        self._is_direct = False
        if not self._unsent:
            self._shut()

    def can_write_eof(self) -> bool:
        """Return True: a stream socket can be closed in one direction."""
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the high- and low-water marks of the write buffer, in bytes."""
        self._high = HIGH_BYTES if high is None else high
        self._low = self._high >> 2 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low- and high-water marks of the write buffer, in bytes."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes in the write buffer."""
        return self._unsent

    def _keep(self, data: bytes) -> None:
        """Append data to the write buffer."""
        if self._is_closing or self._is_ending:
            return
        self._is_direct = False
        if self._unsent:
            self._outbox.append(data)
        else:
            self._outbox = [data]
        self._unsent += len(data)
        if self._unsent > self._high and not self._is_paused:
            self._is_paused = True
            self._protocol.pause_writing()  # type: ignore[union-attr]

    def _flush(self) -> None:
        """Send the write buffer as far as the kernel accepts it."""
        is_full = False  # the kernel's buffer: the poller reports when it has room again, and only then
        while self._unsent:
            try:
                sent = self._sock.sendmsg(self._outbox[:BUFFERS], (), _DONTWAIT)
            except BlockingIOError:
                is_full = True
                break
            except OSError as error:
                self._lose(error)
                return
            self._skip(sent)
        if self._is_paused and self._unsent <= self._low:
            self._is_paused = False
            self._protocol.resume_writing()  # type: ignore[union-attr]
        if self._is_lost:
            return
        if self._unsent:
            if not is_full:  # written by the protocol just now
                self._poller.later(self._flush_on)
        elif self._is_closing:
            self._lose(None)
        elif self._is_ending:
            self._shut()
        else:
            self._is_direct = True

    def _flush_on(self) -> None:
        """Send what the protocol wrote when the write buffer had drained."""
        if self._unsent and not self._is_lost:
            try:
                self._flush()
            except Exception as error:
                self._fault(error)

    def _skip(self, sent: int) -> None:
        """Remove the bytes sent from the write buffer."""
        self._unsent -= sent
        outbox, whole = self._outbox, 0
        while whole < len(outbox) and sent >= len(outbox[whole]):
            sent -= len(outbox[whole])
            whole += 1
        del outbox[:whole]
        if sent:
            outbox[0] = outbox[0][sent:]

    def _shut(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._lose(error)

    # ── the end ──

    def close(self) -> None:
        """Stop reading, and close once the buffer is sent."""
        if self._is_closing:
            return
        self._is_closing = True
        self._is_direct = self._is_reading = self._is_flowing = False
        if not self._unsent:
            self._lose(None)

    def abort(self) -> None:
        """Close immediately, dropping the buffer."""
        self._lose(None)

    def is_closing(self) -> bool:
        """Return whether it is closing or closed."""
        return self._is_closing

    def _fault(self, error: Exception) -> None:
        """Log an exception of the protocol, and close."""
        log.error("error while serving a connection", exc_info=error)
        self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        """Stop all reading and writing; `connection_lost` is called soon."""
        if self._is_lost:
            return
        self._is_lost = self._is_closing = self._has_ended = True
        self._is_direct = self._is_reading = self._is_flowing = False
        self._error = error
        self._outbox = _NOTHING
        self._unsent = 0
        self._joined = None
        self._poller.forget(self._number)
        self._poller.soon(self._tell_lost)

    def _tell_lost(self) -> None:
        protocol, self._protocol, self._feed = self._protocol, None, None
        try:
            protocol.connection_lost(self._error)  # type: ignore[union-attr]
        finally:
            self._error = None
            self._sock.close()

    # ── attributes ──

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Replace the protocol."""
        self._protocol = protocol  # type: ignore[assignment]
        self._feed = protocol.data_received  # type: ignore[attr-defined]

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol  # type: ignore[return-value]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return `peername`, `sockname` or `socket`, as asyncio's transports do."""
        if name == "socket":
            return self._sock
        try:
            if name == "peername":
                if self._peer is None:
                    self._peer = self._sock.getpeername()
                return self._peer
            if name == "sockname":
                return self._sock.getsockname()
        except OSError:  # already closed
            pass
        return default
