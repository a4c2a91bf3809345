"""Two joined transports: what one end receives the other sends, until both are done.

Used by stream forwards (`serve.forward`) and by the proxy's tunnels (`serve.tunnel`). A relay keeps half-closes (an end
that has sent all may still receive), delivers what is in flight before it closes, passes a reset on as a reset, and
lets each end be read only as fast as the other takes it. Bulk data moves to `net.splice` where the system has it.

    client ── End ──┐        ┌── End ── target
                    └─ Relay ┘

An established relay's cost per read is `End.data_received`: a count and the other transport's `write`. Silence is
found by looking at the counts from time to time, so that a deadline costs nothing per read.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from npserver.net.splice import Splice, can_splice

if TYPE_CHECKING:
    from npserver.serve.context import Context

BULK_READ = 32 << 10  # a read of so many bytes is one of bulk data
BULK_READS = 16  # so many of them and the rest is spliced
RESCUE_READ = 256 << 10
LINGER_S = 2.0
LOOKS = 4  # looks at the counts within the time of silence that ends a relay: it may live a quarter longer

_LINGER_ZERO = struct.pack("ii", 1, 0)
_AF_UNIX = getattr(socket, "AF_UNIX", None)


class Relay:
    """Two ends. `client.received` and `target.received` are the bytes each has sent us.

    The transports come by `adopt`, or each end is given to the loop as a protocol (`client`, then what `make_target`
    gives); the ends are joined when both are connected.
    """

    __slots__ = ("_idle_since", "_seen", "buffer_size", "client", "context", "deadline", "is_joined",
                 "is_lingering", "is_over", "on_end", "preface", "reason", "splices", "target", "timeout_s")  # fmt: skip

    def __init__(
        self,
        context: Context,
        *,
        timeout_s: float,
        buffer_size: int,
        on_end: Callable[[Any], None],
        splices: bool = True,
    ) -> None:
        """Make the ends. `on_end` is called once with the relay, when both transports are gone; `reason` says why."""
        self.context = context
        self.timeout_s = timeout_s
        self.buffer_size = buffer_size
        self.on_end = on_end
        self.splices = splices and can_splice()
        self.preface = b""  # sent to the target before all else
        self.reason = ""
        self.is_joined = False
        self.is_lingering = False
        self.is_over = False
        self.deadline = float("inf")
        self._idle_since = 0.0
        self._seen: tuple[int, ...] = ()
        self.client = self.make_client()
        self.target = self.make_target()

    def __repr__(self) -> str:
        return f"<Relay {self.client!r} {self.target!r} {self.reason or 'open'}>"

    def make_client(self) -> End:
        """Make the client's end; what else it shall do is up to subclasses."""
        return End(self, "client")

    def make_target(self) -> End:
        """Make the target's end anew: the protocol of the next attempt to connect."""
        self.target = target = End(self, "target")
        target.other = self.client
        self.client.other = target
        return target

    def adopt(
        self, client: asyncio.Transport, target: asyncio.Transport, early_client: bytes = b"", early_target: bytes = b""
    ) -> None:
        """Take over two connected transports; the early bytes are what their former owners had read too much."""
        for end, transport, early in ((self.client, client, early_client), (self.target, target, early_target)):
            transport.set_protocol(end)
            if early:
                end.data_received(early)
            end.connection_made(transport)
        client.resume_reading()
        target.resume_reading()

    def abort(self, reason: str) -> None:
        """End both sides now. What a peer has not taken yet is lost."""
        self.reason = self.reason or reason
        self.client.abort()
        self.target.abort()

    def expire(self, now: float) -> None:
        """Look whether anything has moved; called by the sweeper."""
        if self.is_lingering:
            self.abort("closed")
            return
        client, target = self.client, self.target
        seen = (client.received, target.received, client.pending_bytes(), target.pending_bytes())
        if seen != self._seen:
            self._seen = seen
            self._idle_since = now
        elif now - self._idle_since >= self.timeout_s - 0.001:
            self.reason = self.reason or "timeout"
            for end in (client, target):
                if end.pending_bytes():
                    end.abort()
                else:
                    end.close()
        else:
            client.stop_splicing()
            target.stop_splicing()
        self.deadline = now + self.timeout_s / LOOKS

    # ── called by the ends ──

    def end_made(self) -> None:
        """An end is connected: once both are, pass on what has come so far, and from now on everything at once."""
        client, target = self.client, self.target
        if not (client.is_open and target.is_open):
            return
        self.is_joined = True
        now = self._idle_since = self.context.loop.time()
        self.deadline = now + self.timeout_s / LOOKS
        self.context.sweeper.watched.add(self)
        if self.preface:
            target.transport.write(self.preface)
        client.join()
        target.join()

    def linger(self) -> None:
        """One side is gone, the other has a little time to take the last bytes."""
        self.is_lingering = True
        self.deadline = self.context.loop.time() + LINGER_S

    def end_lost(self) -> None:
        """An end's transport is gone."""
        if not (self.client.is_open or self.target.is_open or self.is_over):
            self.is_over = True
            self.context.sweeper.watched.discard(self)
            self.on_end(self)
            self.client.leave()
            self.target.leave()


class End(asyncio.Protocol):
    """One side of a relay, and its transport's protocol."""

    __slots__ = ("_bulk_reads", "_early", "_is_held", "_splice", "is_at_eof", "is_open", "name", "other", "received",
                 "relay", "transport", "write")  # fmt: skip

    other: End
    transport: asyncio.Transport
    write: Callable[[bytes], Any]  # where what we receive goes: the other transport's `write`, once joined

    def __init__(self, relay: Relay, name: str) -> None:
        self.relay = relay
        self.name = name
        self.received = 0
        self.is_open = False  # it has a transport
        self.is_at_eof = False  # it has sent all it will
        self.write = self._keep_early
        self._early: list[bytes] = []
        self._is_held = False  # the other side cannot take more
        self._bulk_reads = 0
        self._splice: Splice | None = None

    def __repr__(self) -> str:
        state = "eof" if self.is_at_eof else "open" if self.is_open else "closed"
        return f"<{self.name} {state} received={self.received}>"

    # ── called by the loop ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there."""
        self.transport = transport  # type: ignore[assignment]
        self.is_open = True
        if self.relay.is_over:  # the client did not wait for the target
            self.relay.context.loop.call_soon(self.transport.abort)  # the loop has not finished making it yet
            return
        self.transport.set_write_buffer_limits(self.relay.buffer_size)
        self.relay.end_made()

    def data_received(self, data: bytes) -> None:  # hot: forward.small, forward.bulk
        """Pass `data` on."""
        size = len(data)
        self.received += size
        self.write(data)
        if size >= BULK_READ:
            self._bulk_read()

    def eof_received(self) -> bool:
        """The peer has sent all: tell the other side, and go on sending to this one where the transport can."""
        self.is_at_eof = True
        if self.relay.is_lingering:
            return False
        if self.relay.is_joined:
            self.other.finish()
        return self.transport.can_write_eof()

    def pause_writing(self) -> None:
        """Our peer takes less than the other sends."""
        other = self.other
        other._is_held = True
        if other.is_open:
            other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Our peer has caught up."""
        other = self.other
        other._is_held = False
        other.go_on()

    def connection_lost(self, error: Exception | None) -> None:
        """The transport is gone: finish the other one the same way."""
        self.is_open = False
        relay = self.relay
        if not relay.is_over and (self is relay.client or self is relay.target):
            self.fail(error)
            relay.end_lost()

    # ── called by the relay and the other end ──

    def join(self) -> None:
        """Send the other side what was kept, and from now on all that comes."""
        self.write = self.other.transport.write
        if self._early:
            self.write(b"".join(self._early))
            self._early.clear()
            self.go_on()
        if self.is_at_eof:
            self.other.finish()

    def go_on(self) -> None:
        """Read on, if nothing is against it."""
        if self.is_open and not (self.is_at_eof or self._is_held or self._splice is not None):
            self.transport.resume_reading()

    def fail(self, error: Exception | None) -> None:
        """Nothing more comes or goes here, because of `error` or because it is closed: end the other side the same way."""
        relay, other = self.relay, self.other
        self.stop_splicing()
        other.stop_splicing()
        self.write = other.write = _discard
        rescued = self._rescue() if error is not None and not self.is_at_eof else b""
        # EPIPE: its end had come before it reset the connection because of what we sent (tcp(7))
        is_orderly = error is None or self.is_at_eof or bool(rescued) or isinstance(error, BrokenPipeError)
        if not relay.reason:
            relay.reason = f"closed by {self.name}" if is_orderly else _describe(error, self.name)
        if other.is_open:
            if rescued:
                other.transport.write(rescued)
            if error is None:
                other.close()
            elif is_orderly:
                other.linger()
            else:
                other.reset()

    def leave(self) -> None:
        """It is over: let go of each other, so that nothing is left for the garbage collector to find."""
        if self.is_used():  # else its transport may still come, to be told that it is over
            del self.other, self.relay, self.write

    def finish(self) -> None:
        """The other side has sent all: so say here; close once both have."""
        if not self.is_open:
            return
        if self.is_at_eof and self.other.is_at_eof:
            self.relay.reason = self.relay.reason or f"closed by {self.name}"
            self.other.close()
            self.close()
        elif self.transport.can_write_eof():
            self.transport.write_eof()

    def close(self) -> None:
        """Close when all is sent."""
        if self.is_open:
            self.stop_splicing()
            self.transport.close()

    def linger(self) -> None:
        """Say that nothing more comes, and close once the peer has taken note: closing at once, with bytes of its unread,
        would reset the connection and could take from it what was sent last (RFC 9112 §9.6 has the same for HTTP)."""
        if not self.is_at_eof and self.transport.can_write_eof():
            self.transport.write_eof()
            self.relay.linger()
            self.go_on()
        else:
            self.close()

    def abort(self) -> None:
        """Close now."""
        if self.is_open:
            self.stop_splicing()
            self.transport.abort()

    def reset(self) -> None:
        """Close so that the peer sees a reset (RFC 9293 §3.5.3), as the other side did to us."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family != _AF_UNIX and sock.fileno() >= 0:
            with socket.fromfd(sock.fileno(), sock.family, sock.type) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.abort()

    def is_used(self) -> bool:
        """Whether it has or had a transport."""
        return hasattr(self, "transport")

    def pending_bytes(self) -> int:
        """Bytes on their way to the peer that the kernel has not taken."""
        return self.transport.get_write_buffer_size() if self.is_open else 0

    def stop_splicing(self) -> None:
        """Go back to passing on what the transport reads."""
        if (splice := self._splice) is not None:
            self._splice = None
            self._bulk_reads = 0
            if (left := splice.stop()) and self.other.is_open:
                self.other.transport.write(left)
            self.go_on()

    # ── private ──

    def _keep_early(self, data: bytes) -> None:
        self._early.append(data)
        if self.is_open:
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

    def _rescue(self) -> bytes:
        """What the peer had sent before the connection failed under our writing (it may have closed early)."""
        sock = self.transport.get_extra_info("socket")
        pieces: list[bytes] = []
        if sock is not None and sock.fileno() >= 0 and not is_tls(self.transport):
            with socket.fromfd(sock.fileno(), sock.family, sock.type) as same:
                same.setblocking(False)
                try:
                    while piece := same.recv(RESCUE_READ):
                        pieces.append(piece)
                except OSError:
                    pass
        rescued = b"".join(pieces)
        self.received += len(rescued)
        return rescued

    # ── called by the splice ──

    def spliced(self, size: int) -> None:
        """So many bytes have been moved past us."""
        self.received += size

    def splice_ended(self, error: OSError | None, *, by_receiver: bool) -> None:
        """The peer has sent all, or one of the connections failed."""
        self._splice = None
        if error is None:
            self.is_at_eof = True
            self.other.finish()
            return
        failed = self.other if by_receiver else self
        failed.fail(error)
        failed.abort()


def is_tls(transport: asyncio.BaseTransport) -> bool:
    """Whether the bytes on the wire are others than those of the transport."""
    return transport.get_extra_info("sslcontext") is not None


def _discard(data: bytes) -> None:
    """Where bytes for a closed connection go."""


def _describe(error: BaseException | None, name: str) -> str:
    return f"reset by {name}" if isinstance(error, ConnectionError) else f"{name}: {error}"
