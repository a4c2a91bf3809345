"""A connected stream socket as a transport (`asyncio.Transport`), driven by `net.poller`: what forwards relay between.

What is written is sent at once, and only what the kernel does not take waits here. What has come is read until there is
no more, as edges are told once. Two streams can be joined: then what comes in small pieces goes from one socket to the
other without either protocol.
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

HIGH_BYTES = 64 << 10  # unsent, and the protocol is asked to pause
READ_BYTES = 16 << 10  # asked of the first read
SMALL_BYTES = READ_BYTES  # what is shorter goes from socket to socket where two streams are joined
BULK_BYTES = 64 << 10  # and once that came full
READS = 16  # before other connections get their turn
BUFFERS = 64  # sent by one call

_USUAL = 0x5  # EPOLLIN and EPOLLOUT: bytes have come, and nothing else
_DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)
_NOTHING: list[bytes] = []


class SocketStream(asyncio.Transport):
    """One connection. Made by whoever has the socket; `start` gives it to its protocol."""

    # reading
    # _is_reading   the protocol wants what comes
    # _is_flowing   and gets it: the peer has not ended, nothing is closing
    # _is_unread    something has come that was not read
    # _joined       who gets it instead of the protocol, as long as it is small
    # writing
    # _is_direct    a write goes straight to the kernel: nothing waits, nothing is closing
    # _is_ending    our end is to follow what waits

    __slots__ = (
        "_error", "_feed", "_has_ended", "_high", "_is_closing", "_is_direct", "_is_ending", "_is_flowing", "_is_lost",
        "_is_paused", "_is_reading", "_is_unread", "_joined", "_low", "_number", "_outbox", "_peer", "_poller",
        "_protocol", "_read_bytes", "_sock", "_unsent", "passed_bytes",
    )  # fmt: skip

    def __init__(self, poller: Poller, sock: socket.SocketType, peer: object = None) -> None:
        """`sock` is owned from here on. `peer`: its address, where known."""
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
        self.passed_bytes = 0  # to the one joined
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
        """Give the connection to `protocol`. `events`: what is known to have come, of a socket that is watched already;
        it belongs to this stream from now on."""
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
            except OSError as error:  # too many are watched (epoll_ctl(2) ENOSPC)
                self._lose(error)
        else:
            self._poller.hand_over(self._number, self._ready)
            self._ready(events)

    # ── reading ──

    def pause_reading(self) -> None:
        """Give the protocol no more for now."""
        self._is_reading = self._is_flowing = False

    def resume_reading(self) -> None:
        """Go on."""
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            self._is_flowing = not self._has_ended
            if self._is_unread:
                self._poller.soon(self._read_on)

    def is_reading(self) -> bool:
        """Whether the protocol is given what comes."""
        return self._is_reading

    def join(self, other: SocketStream | None) -> None:
        """Send `other` what comes, as long as that is small and `other` takes it; the protocol gets the rest. None ends
        that. `passed_bytes` counts."""
        self._joined = other

    def _ready(self, events: int) -> None:
        """Something has come, or more can be sent."""
        # hot: tcp-messages, tcp-connect
        try:
            if events == _USUAL and self._is_flowing and self._is_direct:
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
        if len(data) == self._read_bytes:  # there may be more
            self._read_bytes = BULK_BYTES
            self._is_unread = True
            self._poller.soon(self._read_on)
        self._feed(data)  # type: ignore[misc]

    def _read(self, events: int) -> None:
        """Read until there is no more, but not without end."""
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
                return  # that was all; an end that comes later is told of by itself
            if not self._is_flowing:
                self._is_unread = True
                return
        self._is_unread = True
        self._poller.later(self._read_on)

    def _read_on(self) -> None:
        """Read what was left."""
        if self._is_unread and self._is_flowing:
            self._is_unread = False
            try:
                self._read(ENDED)
            except Exception as error:
                self._fault(error)

    def _end(self) -> None:
        """The peer has sent all."""
        self._has_ended = True
        self._is_flowing = False
        if not self._protocol.eof_received():  # type: ignore[union-attr]
            self.close()

    # ── writing ──

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; what the kernel does not take now follows later."""
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
        """Send no more, but go on reading."""
        if self._is_closing or self._is_ending:
            return
        self._is_ending = True
        self._is_direct = False
        if not self._unsent:
            self._shut()

    def can_write_eof(self) -> bool:
        """A stream socket can be ended in one direction."""
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set how much may wait before the protocol is asked to pause, and how little before it goes on."""
        self._high = HIGH_BYTES if high is None else high
        self._low = self._high >> 2 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The same limits, the lower one first."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """How many bytes wait."""
        return self._unsent

    def _keep(self, data: bytes) -> None:
        """Send it once the kernel takes more, behind what waits already."""
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
        """Send what waits, as far as the kernel takes it."""
        while self._unsent:
            try:
                sent = self._sock.sendmsg(self._outbox[:BUFFERS], (), _DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                self._lose(error)
                return
            self._skip(sent)
        if self._is_paused and self._unsent <= self._low:
            self._is_paused = False
            self._protocol.resume_writing()  # type: ignore[union-attr]
        if self._unsent or self._is_lost:
            return
        if self._is_closing:
            self._lose(None)
        elif self._is_ending:
            self._shut()
        else:
            self._is_direct = True

    def _skip(self, sent: int) -> None:
        """Forget the first bytes of what waits."""
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
        """Read no more; close once all is sent."""
        if self._is_closing:
            return
        self._is_closing = True
        self._is_direct = self._is_reading = self._is_flowing = False
        if not self._unsent:
            self._lose(None)

    def abort(self) -> None:
        """Close at once; what waits is lost."""
        self._lose(None)

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self._is_closing

    def _fault(self, error: Exception) -> None:
        """The protocol has failed: that must not end anything else."""
        log.error("error in serving a connection", exc_info=error)
        self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        """Nothing more is sent or read; the protocol is told soon."""
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

    # ── what it is ──

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give what comes to another from now on."""
        self._protocol = protocol  # type: ignore[assignment]
        self._feed = protocol.data_received  # type: ignore[attr-defined]

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is given what comes."""
        return self._protocol  # type: ignore[return-value]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername`, `sockname` and `socket`, as the loops' transports have them."""
        if name == "socket":
            return self._sock
        try:
            if name == "peername":
                if self._peer is None:
                    self._peer = self._sock.getpeername()
                return self._peer
            if name == "sockname":
                return self._sock.getsockname()
        except OSError:  # it is gone
            pass
        return default
