"""A connection to a resolver over TCP or TLS (RFC 7766, RFC 7858): a 2-byte length precedes each message.

Each question has a random id that no other on the connection has, those that nobody waits for any more included: their
answers may still come.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, cast

from npserver.dns.message.header import HEADER_BYTES
from npserver.errors import reason_of
from npserver.nameserver.resolver.roles import DialledConnection
from npserver.runtime.deadlines import NEVER

if TYPE_CHECKING:
    from npserver.nameserver.resolver.roles import ChannelRole, Exchange
    from npserver.runtime.context import Context

IDLE_S = 15.0  # then the connection is closed: many servers close theirs after 20 or 30 s
MAX_IDS = 2000  # questions sent and not answered, on one connection
MAX_STRAYS = 20  # messages that answer no question, after which the connection is closed


class StreamConnection(DialledConnection):
    """One connection of a `nameserver.resolver.channel.Channel`."""

    def __init__(self, context: Context, channel: ChannelRole) -> None:
        self.heard_at = 0.0
        self.deadline = NEVER
        self.is_closed = False
        self._context = context
        self._channel: ChannelRole | None = channel
        self._transport: asyncio.Transport
        self._buffer = b""
        self._exchanges: dict[int, Exchange | None] = {}  # by id; None: nobody waits for the answer any more
        self._strays = 0

    def __repr__(self) -> str:
        return f"<StreamConnection {'closed' if self.is_closed else 'open'} {len(self._exchanges)}>"

    def start(self) -> None:
        """Offer the connection to its channel."""
        if self._channel is not None:
            self._context.sweeper.watched.add(self)
            self._rest()
            self._channel.opened(self)

    # ── called by the loop ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the connection is open and any TLS handshake is complete."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with bytes of the resolver: give each complete message to its question."""
        self.heard_at = self._context.loop.time()
        buffer = self._buffer + data if self._buffer else data
        position = 0
        while len(buffer) - position >= 2 and not self.is_closed:
            start = position + 2
            end = start + int.from_bytes(buffer[position:start], "big")
            if end - start < HEADER_BYTES:
                self._lose("a message shorter than a header")
                return
            if end > len(buffer):
                break
            self._take(buffer[start:end])
            position = end
        self._buffer = buffer[position:]
        self._rest()

    def eof_received(self) -> bool:
        """Called by asyncio when the resolver has closed its side: the transport closes."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio when the connection is closed."""
        self._lose(f"connection closed ({reason_of(error)})" if error is not None else "connection closed")

    # ── called by the channel ──

    def has_room(self) -> bool:
        """Whether another question may be sent."""
        return len(self._exchanges) < MAX_IDS

    def send(self, exchange: Exchange) -> None:
        """Send a question."""
        number = secrets.randbits(16)
        while number in self._exchanges:
            number = secrets.randbits(16)
        self._exchanges[number] = exchange
        exchange.sent = number.to_bytes(2, "big") + exchange.sent[2:]
        self.deadline = NEVER
        self._transport.write(len(exchange.sent).to_bytes(2, "big") + exchange.sent)

    def forget(self, exchange: Exchange) -> None:
        """Await the answer to a question no more."""
        number = int.from_bytes(exchange.sent[:2], "big")
        if self._exchanges.get(number) is exchange:
            self._exchanges[number] = None
        self._rest()

    def close(self) -> None:
        """Close the connection. Its channel is told nothing."""
        self._channel = None
        self._lose("")

    # ── called by the sweeper ──

    def expire(self, now: float) -> None:
        """Called when the connection has been idle for `IDLE_S`."""
        self._lose("idle")

    # ── private ──

    def _take(self, data: bytes) -> None:
        channel = self._channel
        number = int.from_bytes(data[:2], "big")
        if number not in self._exchanges or channel is None:
            is_answer = False
        else:
            exchange = self._exchanges[number]
            is_answer = exchange is None or channel.answered(exchange, data)
            if is_answer:
                self._exchanges.pop(number, None)
        if is_answer:
            channel.proceed() if channel is not None else None
            return
        self._strays += 1
        if self._strays >= MAX_STRAYS:
            self._lose("answers do not match the questions")

    def _rest(self) -> None:
        """Start the idle timeout if nobody waits for an answer."""
        if not any(self._exchanges.values()):
            self.deadline = self._context.loop.time() + (0.0 if self._context.draining else IDLE_S)

    def _lose(self, reason: str) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self.deadline = NEVER
        self._context.sweeper.watched.discard(self)
        self._exchanges.clear()
        self._buffer = b""
        channel, self._channel = self._channel, None
        if reason == "idle":
            self._transport.close()
        else:
            self._transport.abort()
        if channel is not None:
            channel.lost(self, reason)
