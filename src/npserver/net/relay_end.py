"""One end of a relay (`net.relay`): the protocol of the client's or the target's transport."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from npserver.errors import reason_of
from npserver.net.socket_stream import SocketStream
from npserver.net.splice import Splice
from npserver.net.unread import borrowed, read_unread

if TYPE_CHECKING:
    from npserver.runtime.context import Context

BULK_READ = 32 << 10  # bytes of a read that counts as bulk data
BULK_READS = 16  # bulk reads after which the rest is spliced

_LINGER_ZERO = struct.pack("ii", 1, 0)
_AF_UNIX = getattr(socket, "AF_UNIX", None)


class RelayOwner(Protocol):
    """A relay as its ends see it: `net.relay.Relay`."""

    client: End
    target: End
    context: Context
    deadline: float  # of the relay's present state
    buffer_size: int
    preface: bytes  # sent to the target first
    reason: str  # why the relay has ended
    splices: bool  # whether bulk data may be spliced
    is_joined: bool
    is_lingering: bool
    is_over: bool

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper."""

    def end_made(self) -> None:
        """Called when an end is connected."""

    def end_lost(self) -> None:
        """Called when an end's transport is closed."""

    def linger(self, *, resets: bool = False) -> None:
        """Give the remaining peer time to read the last data; `resets`: its connection is then reset."""


class _Over:
    """Stands in for a relay that is over, for an end that has still to be closed."""

    is_over = is_lingering = True
    is_joined = splices = False


_OVER = cast("RelayOwner", _Over())


class End(asyncio.Protocol):
    """One end of a relay: the protocol of its transport."""

    __slots__ = ("_bulk_reads", "_early", "_is_held", "_received", "_splice", "_stream", "is_at_eof", "is_open",
                 "name", "other", "relay", "transport", "write")  # fmt: skip

    other: End
    transport: asyncio.Transport
    write: Callable[[bytes], Any]  # gets received data: the other transport's `write`, once joined

    def __init__(self, relay: RelayOwner, name: str) -> None:
        self.relay = relay
        self.name = name
        self._received = 0
        self.is_open = False  # it has a transport
        self.is_at_eof = False  # the peer has closed its side
        self.write = self._keep_early
        self._early: list[bytes] = []
        self._is_held = False  # the other end's write buffer is full
        self._bulk_reads = 0
        self._splice: Splice | None = None
        self._stream: SocketStream | None = None  # if it passes small pieces on by itself

    def __repr__(self) -> str:
        state = "eof" if self.is_at_eof else "open" if self.is_open else "closed"
        return f"<{self.name} {state} received={self.received}>"

    # ── called by the loop ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the transport is connected."""
        self.transport = transport  # type: ignore[assignment]
        self.is_open = True
        if self.relay.is_over:  # the client has gone in the meantime
            asyncio.get_running_loop().call_soon(self.transport.abort)  # the transport is not complete yet
            return
        self.transport.set_write_buffer_limits(self.relay.buffer_size)
        self.relay.end_made()

    def data_received(self, data: bytes) -> None:  # hot: tcp-messages
        """Called by asyncio with received data: pass it on."""
        size = len(data)
        self._received += size
        write = self.write
        write(data)
        if size >= BULK_READ:
            self._bulk_read()

    def eof_received(self) -> bool:
        """Called by asyncio when the peer has closed its side: close the other end's write side."""
        self.is_at_eof = True
        if self.relay.is_lingering:
            return False
        if self.relay.is_joined:
            self.other.finish()
        return self.transport.can_write_eof()

    def pause_writing(self) -> None:
        """Called by asyncio when the write buffer passes its high-water mark: pause the other end."""
        other = self.other
        other._is_held = True
        if other.is_open:
            other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Called by asyncio when the write buffer has drained below its low-water mark."""
        other = self.other
        other._is_held = False
        other.resume()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio when the transport is closed: close the other end in the same way."""
        self.is_open = False
        relay = self.relay
        if not relay.is_over and (self is relay.client or self is relay.target):
            is_done = error is None and self.is_at_eof and self.other.is_at_eof and relay.is_joined  # see `finish`
            if not (is_done or relay.is_lingering):  # lingering: it has failed before
                self.fail(error)
            relay.end_lost()

    # ── called by the relay and the other end ──

    @property
    def received(self) -> int:
        """The number of bytes received from the peer."""
        stream = self._stream
        return self._received + (stream.passed_bytes if stream is not None else 0)

    def join(self) -> None:
        """Send the data held so far to the other end, and from now on all data received."""
        self.write = self.other.transport.write
        if isinstance(self.transport, SocketStream) and isinstance(self.other.transport, SocketStream):
            self._stream = self.transport
            self._stream.join(self.other.transport)
        if self._early:
            self.write(b"".join(self._early))
            self._early.clear()
            if self.received > self.relay.buffer_size:  # see `_keep_early`
                self.resume()
        if self.is_at_eof:
            self.other.finish()

    def resume(self) -> None:
        """Resume reading, unless the other end is full or the data is spliced."""
        if self.is_open and not (self.is_at_eof or self._is_held or self._splice is not None):
            self.transport.resume_reading()

    def fail(self, error: Exception | None) -> None:
        """Close the other end as this one was closed: by an error, or in order."""
        relay, other = self.relay, self.other
        self.stop_splicing()
        other.stop_splicing()
        self.write = other.write = _discard
        for end in (self, other):
            if end._stream is not None:
                end._stream.join(None)
        rescued = read_unread(self.transport, error)[0] if error is not None and not self.is_at_eof else b""
        self._received += len(rescued)
        # EPIPE: the peer had closed its side before it reset the connection because of further data (tcp(7))
        is_orderly = error is None or self.is_at_eof or isinstance(error, BrokenPipeError)
        if not relay.reason:
            relay.reason = f"closed by {self.name}" if is_orderly else _describe(error, self.name)
        if other.is_open:
            if rescued:
                other.transport.write(rescued)
            if error is None:
                other.close()
            elif is_orderly:
                other.linger()
            elif rescued:
                relay.linger(resets=True)
                other.resume()
            else:
                other.reset()

    def leave(self) -> None:
        """Break the reference cycles of a relay that is over, so that the garbage collector has no work."""
        self.write = _discard
        if self.is_used() and not self.is_open:
            del self.other, self.relay
        else:
            self.relay = _OVER  # its transport may still be connected, and then aborted

    def finish(self) -> None:
        """Close the write side, because the other peer has closed its side; close both ends once both have."""
        if not self.is_open:
            return
        if self.is_at_eof and self.other.is_at_eof:
            self.relay.reason = self.relay.reason or f"closed by {self.name}"
            self.other.close()
            self.close()
        else:
            self._write_eof()

    def close(self) -> None:
        """Close once the write buffer is sent."""
        if self.is_open:
            if self._splice is not None:
                self.stop_splicing()
            self.transport.close()

    def linger(self) -> None:
        """Close the write side, and the connection once the peer has closed its side.

        Closing immediately with unread data of the peer would reset the connection, and the peer could lose the last
        data sent to it (RFC 9112 §9.6 says the same of HTTP).
        """
        if not self.is_at_eof and self._write_eof():
            self.relay.linger()
            self.resume()
        else:
            self.close()

    def abort(self) -> None:
        """Close immediately, dropping buffered data."""
        if self.is_open:
            self.stop_splicing()
            self.transport.abort()

    def reset(self) -> None:
        """Reset the connection (RFC 9293 §3.5.3), as the other peer has reset its own."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family != _AF_UNIX and sock.fileno() >= 0:
            with borrowed(sock.fileno()) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.abort()

    def is_used(self) -> bool:
        """Return whether it has or had a transport."""
        return hasattr(self, "transport")

    def pending_bytes(self) -> int:
        """Return the number of bytes in the write buffer."""
        return self.transport.get_write_buffer_size() if self.is_open else 0

    def stop_splicing(self) -> None:
        """Stop splicing, and read with the transport again."""
        if (splice := self._splice) is not None:
            self._splice = None
            self._bulk_reads = 0
            if (left := splice.stop()) and self.other.is_open:
                self.other.transport.write(left)
            self.resume()

    # ── private ──

    def _write_eof(self) -> bool:
        """Close the write side if possible. Return whether that worked: asyncio's loop raises if the peer has gone."""
        try:
            if self.transport.can_write_eof():
                self.transport.write_eof()
                return True
        except OSError:
            pass
        return False

    def _keep_early(self, data: bytes) -> None:
        self._early.append(data)
        if self.received > self.relay.buffer_size and self.is_open:
            self.transport.pause_reading()

    def _bulk_read(self) -> None:
        self._bulk_reads += 1
        relay, other = self.relay, self.other
        if self._bulk_reads < BULK_READS or not relay.splices or not relay.is_joined or self._splice is not None:
            return
        if not (self.is_open and other.is_open) or other.pending_bytes():
            return
        if is_tls(self.transport) or is_tls(other.transport):
            relay.splices = False
            return
        self._splice = Splice.between(relay.context.loop, self.transport, other.transport, self)
        if self._splice is None:
            relay.splices = False
        else:
            self.transport.pause_reading()

    # ── called by the splice ──

    def spliced(self, size: int) -> None:
        """Called when `size` bytes have been moved in the kernel."""
        self._received += size

    def splice_ended(self, error: OSError | None, *, by_receiver: bool) -> None:
        """Called when the peer has closed its side, or one of the connections failed."""
        self._splice = None
        if error is None:
            self.is_at_eof = True
            self.other.finish()
            return
        failed = self.other if by_receiver else self
        failed.fail(error)
        failed.abort()


def is_tls(transport: asyncio.BaseTransport) -> bool:
    """Return whether the transport is encrypted: its socket carries other bytes."""
    return transport.get_extra_info("sslcontext") is not None


def _discard(data: bytes) -> None:
    """Drop data for a closed connection."""


def _describe(error: BaseException | None, name: str) -> str:
    return (
        f"reset by {name}"
        if isinstance(error, ConnectionError)
        else f"{name}: {reason_of(error) if error else 'closed'}"
    )
