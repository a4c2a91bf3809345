"""DNS over TCP and TLS (RFC 7766, RFC 7858): a 2-byte length precedes each message.

Clients may pipeline queries. Queries about our zones are answered in order, those for resolvers when the resolver has
answered. A connection is closed if it is idle for `timeout`, sends a malformed message, or reads nothing of its answers
for `timeouts.write`; as long as it reads or awaits an answer, it is not idle.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from npserver.nameserver.stream_front import ConnectionCount, DnsStreamFront, StreamSettings
from npserver.net.unread import unsent_bytes
from npserver.networks import plain_ip
from npserver.runtime.deadlines import NEVER

if TYPE_CHECKING:
    from npserver.nameserver.access_policy import AccessPolicy
    from npserver.nameserver.query_processor import QueryProcessor
    from npserver.runtime.context import Context
    from npserver.runtime.front import Live

log = logging.getLogger("npserver.dns")

MAX_WAITING = 32  # queries of a connection that await a resolver; reading pauses until one is answered
TURN_S = 0.005  # for which a zone is sent before others have their turn
SHORT_AT = 0.9  # of `limits.max_connections`: from there on connections may idle for `SHORT_IDLE_S` alone
SHORT_IDLE_S = 2.0
MAX_JOINED_BYTES = 64 << 10  # replies are written together up to this size


class DnsOverStream(DnsStreamFront):
    """The front of a `tcp` or `ssl` listener with handler `dns`."""

    def __init__(self, policy: AccessPolicy[QueryProcessor], transport: str, settings: StreamSettings) -> None:
        super().__init__(policy, transport, settings)
        self.idle_s = settings.timeout_s
        policy.options.set_idle_timeout(self.idle_s)

    def connections_changed(self, total: int) -> None:
        """Shorten the idle timeout while connections run short, and tell clients so (RFC 7828 §3.3.2)."""
        settings = self.settings
        is_short = total >= SHORT_AT * settings.max_connections
        idle_s = min(SHORT_IDLE_S, settings.timeout_s) if is_short else settings.timeout_s
        if idle_s != self.idle_s:
            self.idle_s = idle_s
            self.policy.options.set_idle_timeout(idle_s)

    def accept(self, live: Live, alpn: str | None = None) -> asyncio.Protocol:
        """Create the protocol of a new connection."""
        return DnsConnection(self, live)


class DnsConnection(asyncio.Protocol):
    """The DNS connection of one client."""

    def __init__(self, front: DnsOverStream, listener: Live) -> None:
        self.listener = listener
        self.awaits_request = True
        self._front = front
        self._context: Context = front.server.context
        # connection
        self.deadline = NEVER
        self.transport: asyncio.Transport
        self._client = ""
        self._proxied = ""
        self._count: ConnectionCount | None = None
        self._buffer = b""
        self._is_closing = False  # answer the queries received, then close
        self._is_choked = False  # the write buffer is full
        self._unsent: int | None = None  # bytes that the client had not read at `_read_at`; None: not measured yet
        self._read_at = 0.0  # loop time
        self._is_paused = False  # reading from the client is paused
        self._is_proceeding = False
        self._waiting = 0
        self._transfer: Iterator[bytes] | None = None

    def __repr__(self) -> str:
        return f"<DnsConnection {self._client} waiting={self._waiting}>"

    # ── the connection's life ──

    def proxied(self, source: tuple[str, int], destination: tuple[str, int]) -> None:
        """Take the client address of a PROXY header; called before `connection_made`."""
        self._proxied = source[0]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio for a new client: count it and start its idle timeout."""
        self.transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._client = self._proxied or (plain_ip(peer[0]) if isinstance(peer, tuple) and peer else "")
        self._count = ConnectionCount(self._front, self._client)
        if self._count.is_over(self._client):
            self.transport.abort()
            return
        self._context.connections.add(self)
        self._context.sweeper.watched.add(self)
        self._set_deadline()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio when the connection has closed."""
        self._context.connections.discard(self)
        self._context.sweeper.watched.discard(self)
        self._transfer = None
        self._buffer = b""
        self._is_closing = True
        if self._count is not None:
            self._count.release()

    def eof_received(self) -> bool:
        """Called by asyncio when the client half-closes: answer the queries received, then close."""
        self._is_closing = True
        self._end_if_idle()
        return True  # the connection stays open until it is idle

    def shut_down(self) -> None:
        """Close at shutdown, after the queries received are answered."""
        self._is_closing = True
        self._end_if_idle()

    def expire(self, now: float) -> None:
        """Close an idle connection, or one whose client does not read its answers; called by the deadline sweeper."""
        if self._waiting:  # for a resolver, which is given up after `dns_forward.total_timeout`
            self._set_deadline()
            return
        unsent, before = unsent_bytes(self.transport), self._unsent
        if not unsent and before:  # the client has read all of it since
            self._set_deadline()
        elif unsent and (before is None or unsent < before):
            self._await_reader(now, unsent)
        elif unsent and now < self._read_at + self._front.settings.write_timeout_s:
            self._await_reader(self._read_at, unsent)
        else:
            if unsent:
                log.info("closing connection from %s: client read nothing for %g s (timeouts.write)", self._client,
                         self._front.settings.write_timeout_s)  # fmt: skip
            self.transport.abort()

    def pause_writing(self) -> None:
        """Called by asyncio when the write buffer passes its high-water mark: answer no further queries."""
        self._is_choked = True
        self._await_reader(self._context.loop.time(), unsent_bytes(self.transport))

    def resume_writing(self) -> None:
        """Called by asyncio when the write buffer has drained below its low-water mark: answer queries again."""
        self._is_choked = False
        self._set_deadline()
        self._proceed()

    # ── queries ──

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with the client's bytes: answer each complete query."""
        self.awaits_request = False
        self._buffer = self._buffer + data if self._buffer else data
        self._proceed()

    def _proceed(self) -> None:
        """Answer the complete queries received, as far as the client reads its answers."""
        if self._is_proceeding:
            return
        self._is_proceeding = True
        try:
            self._send_transfer()
            self._answer_buffered()
        finally:
            self._is_proceeding = False
        if not self.transport.is_closing() and self._is_paused != self._must_wait():
            self._is_paused = not self._is_paused
            (self.transport.pause_reading if self._is_paused else self.transport.resume_reading)()
        self._end_if_idle()

    def _answer_buffered(self) -> None:
        buffer, position, size = self._buffer, 0, len(self._buffer)
        replies = bytearray()
        while size - position >= 2 and not self._must_wait():
            end = position + 2 + (buffer[position] << 8 | buffer[position + 1])
            if end > size:
                break
            reply = self._answer(buffer[position + 2 : end])
            position = end
            if reply is None:
                self._is_closing = True
                position = size
            elif reply:
                replies += len(reply).to_bytes(2, "big") + reply
            if len(replies) > MAX_JOINED_BYTES or self._transfer is not None:
                self._write(bytes(replies))
                replies.clear()
                self._send_transfer()
        self._buffer = buffer[position:]
        if position:
            self._set_deadline()
        self._write(bytes(replies))

    def _must_wait(self) -> bool:
        return self._is_choked or self._transfer is not None or self._waiting >= MAX_WAITING

    def _answer(self, data: bytes) -> bytes | None:
        """Return the reply; empty if it follows later; None to close the connection."""
        front = self.listener.front
        if not isinstance(front, DnsOverStream):  # a reload gave the listener to another handler
            return None
        self._front = front
        return front.answer(data, self._client, self)

    def wait(self) -> None:
        """A resolver is asked."""
        self._waiting += 1

    def deliver(self, reply: bytes) -> None:
        """Send a resolver's answer to the client."""
        self._waiting -= 1
        if self.transport.is_closing():
            return
        self._write(len(reply).to_bytes(2, "big") + reply)
        self._set_deadline()
        self._proceed()

    def transfer(self, messages: Iterator[bytes]) -> None:
        """Send a zone, as fast as the client reads it."""
        self._transfer = messages

    def _send_transfer(self) -> None:
        """Send messages of a zone; others have their turn after a while, as messages may have to be signed."""
        loop = self._context.loop
        until = loop.time() + TURN_S
        while self._transfer is not None and not self._is_choked and not self.transport.is_closing():
            message = next(self._transfer, None)
            if message is None:
                self._transfer = None
                return
            self._write(len(message).to_bytes(2, "big") + message)
            if loop.time() > until:
                loop.call_soon(self._proceed)
                return

    # ── private ──

    def _set_deadline(self) -> None:
        """Start the idle timeout, unless the client has to read first."""
        if not self._is_choked:
            self._unsent = None
            self.deadline = self._context.loop.time() + self._front.idle_s

    def _await_reader(self, read_at: float, unsent: int) -> None:
        """Look again later whether the client, last seen to read at `read_at`, has read some of `unsent` bytes."""
        settings = self._front.settings
        self._unsent, self._read_at = unsent, read_at
        now = self._context.loop.time()
        self.deadline = min(now + settings.timeout_s, max(now, read_at + settings.write_timeout_s))

    def _write(self, data: bytes) -> None:
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def _end_if_idle(self) -> None:
        if self._is_closing and not self._waiting and not self._must_wait() and not self.transport.is_closing():
            self.transport.close()
